"""What was measured, and what follows from it: ratios, paired by round, and the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .measure import Count, Reading


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class PolicyResult:
    """One policy in a cell.

    Attributes:
        layers: 0-based decoder layer of each stage.
        readings: one for each round.
        policy: its name, where that of the result also tells a share.
        asked_average_tokens: the share that it was brought to.
    """

    layers: Mapping[str, int]
    count: Count
    readings: Sequence[Reading]
    policy: str = ""
    asked_average_tokens: float | None = None

    def series(self, field: str) -> list[float]:
        """A field of `Reading`, round by round; empty where it does not exist."""
        values = [getattr(reading, field) for reading in self.readings]
        return [value for value in values if value is not None]

    def spread(self, field: str) -> Spread | None:
        values = self.series(field)
        return Spread.of(values) if values else None


@dataclass(frozen=True)
class Cell:
    """All policies on the same inputs.

    Attributes:
        visual_tokens, text_tokens: of a sample, as the model has them.
        batch: samples.
        new_tokens: generated tokens.
        policies: by name, vanilla first.
    """

    visual_tokens: int
    text_tokens: int
    batch: int
    new_tokens: int
    policies: Mapping[str, PolicyResult]

    @property
    def vanilla(self) -> PolicyResult:
        return next(iter(self.policies.values()))

    def speed_up(self, policy: str, field: str) -> Spread | None:
        """Vanilla's time through the policy's in the same round."""
        pairs = zip(self.vanilla.series(field), self.policies[policy].series(field), strict=True)
        ratios = [before / after for before, after in pairs]
        return Spread.of(ratios) if ratios else None

    def overhead(self, policy: str) -> Spread:
        """What pruning takes, as a share of vanilla's prefill in the same round."""
        pairs = zip(
            self.policies[policy].series("pruning_ms"),
            self.vanilla.series("prefill_ms"),
            strict=True,
        )
        return Spread.of([pruning / prefill for pruning, prefill in pairs])

    def limit(self, policy: str) -> float:
        """Vanilla's FLOPs of the language model through the policy's, selection left out."""
        return self.vanilla.count.language.total / self.policies[policy].count.language.total

    def causal_limit(self, policy: str) -> float:
        """The same with only the half of attention that a causal kernel computes."""
        return self.vanilla.count.language.causal / self.policies[policy].count.language.causal

    def share_of_limit(self, policy: str, *, causal: bool = False) -> Spread:
        """Speed-up of the language model's prefill through its limit."""
        limit = self.causal_limit(policy) if causal else self.limit(policy)
        reached = self.speed_up(policy, "language_ms")
        assert reached is not None
        return Spread(reached.median / limit, reached.low / limit, reached.high / limit)

    def share_of_bare(self, policy: str) -> Spread | None:
        """The bare model's time through the pruned one's, both on the policy's lengths."""
        result = self.policies[policy]
        pairs = [(r.bare_ms, r.language_ms) for r in result.readings if r.bare_ms is not None]
        return Spread.of([bare / pruned for bare, pruned in pairs]) if pairs else None

    def kv_bytes(self, policy: str) -> float:
        """Keys and values of a sample right after the prefill."""
        return self.policies[policy].readings[0].kv_bytes / self.batch

    def kv_saving(self, policy: str) -> float:
        return self.kv_bytes(next(iter(self.policies))) / self.kv_bytes(policy)

    def as_json(self) -> dict[str, Any]:
        """Every reading, and the figures that the tables show."""
        return {
            "visual_tokens": self.visual_tokens,
            "text_tokens": self.text_tokens,
            "batch": self.batch,
            "new_tokens": self.new_tokens,
            "policies": {name: self._policy_json(name) for name in self.policies},
        }

    def _policy_json(self, name: str) -> dict[str, Any]:
        result = self.policies[name]
        times = (
            *("prefill_ms", "vision_ms", "language_ms", "bare_ms"),
            *("pruning_ms", "decode_ms", "total_ms"),
        )
        ratios = ("prefill_ms", "language_ms", "decode_ms", "total_ms")
        return {
            "policy": result.policy or name,
            "asked_average_tokens": result.asked_average_tokens,
            "layers": dict(result.layers),
            "average_tokens": result.count.average_tokens,
            "kv_bytes_per_sample": self.kv_bytes(name),
            "flops": {
                part: asdict(getattr(result.count, part))
                for part in ("vision", "language", "pruning")
            },
            "limit": self.limit(name),
            "limit_causal": self.causal_limit(name),
            "share_of_limit": asdict(self.share_of_limit(name)),
            "share_of_limit_causal": asdict(self.share_of_limit(name, causal=True)),
            "share_of_bare": _as_json(self.share_of_bare(name)),
            "overhead_of_vanilla_prefill": asdict(self.overhead(name)),
            "speed_up": {field: _as_json(self.speed_up(name, field)) for field in ratios},
            "times": {field: _as_json(result.spread(field)) for field in times},
            "readings": [asdict(reading) for reading in result.readings],
        }


def _as_json(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)
