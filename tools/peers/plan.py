"""What is compared: cases, and in each the runs that take turns."""

from __future__ import annotations

from dataclasses import dataclass

LAYER = 8
"""Tokens are chosen at the entry of this layer, 0-based, of 14."""
NEW_TOKENS = 32
TEXT = 60
"""Text tokens of a sample, markers included."""


@dataclass(frozen=True)
class Run:
    """One way to answer the samples of a case.

    Attributes:
        side: whose code, a name in `sides.SIDES`.
        variant: "none" for the model as it is, else a way to prune.
        batch: samples at once.
    """

    side: str
    variant: str
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.side} {self.variant} x{self.batch}"


@dataclass(frozen=True)
class Case:
    """Samples of one size, and the runs that answer them in turns.

    Attributes:
        visual: visual tokens of a sample.
        samples: of a round.
    """

    name: str
    visual: int
    samples: int
    runs: tuple[Run, ...]


def _both(batch: int) -> tuple[Run, ...]:
    """Ours and the published code, each pruned and as it is; ours at a batch of its own."""
    ours = tuple(Run("ours", variant, batch) for variant in ("ivc_prune", "none"))
    return (*ours, Run("published", "ivc_prune"), Run("published", "none"))


_SDPA_TOWER = tuple(Run("published", f"{variant} sdpa tower") for variant in ("ivc_prune", "none"))
_PRESSES = tuple(Run("kvpress", variant) for variant in ("knorm", "streaming_llm", "none"))
CASES = {
    case.name: case
    for case in (
        Case("long", 2304, 1, (*_both(1), *_SDPA_TOWER)),
        Case("batch", 256, 8, _both(8)),
        Case("presses", 1024, 1, (*_both(1), *_PRESSES)),
    )
}
