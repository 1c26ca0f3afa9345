"""What a policy must cost at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import check_choice, check_share

SLACK = 0.01
"""By so much a measured share may miss its target: budgets are whole tokens of each picture."""


@dataclass(frozen=True)
class Target:
    """Shares of the unpruned model's cost; None where a cost does not matter.

    Attributes:
        kv: visual tokens in the caches of all layers, the paper's Average Tokens.
        prefill: FLOPs of the language model's layers in the prefill.
    """

    kv: float | None = None
    prefill: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                check_share(f"job.target.{name}", value)
        if self.kv is None and self.prefill is None:
            raise ValueError(
                "job.target is empty: give a share that the policy may cost at most, for example "
                "job.target.kv=0.5 or job.target.prefill=0.7, or both"
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Target:
        """A target as a configuration has it.

        Raises:
            ValueError: a cost that is not known, no share, or nothing at all.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"job.target is {given!r}: give a share by name, job.target.kv=0.5")
        for name in given:
            check_choice("job.target", name, [field.name for field in fields(cls)])
        return cls(**given)

    def is_met_by(self, kv: float, prefill: float) -> bool:
        """Whether measured shares are within the target, but for `SLACK`."""
        asked = ((self.kv, kv), (self.prefill, prefill))
        return all(most is None or share <= most + SLACK for most, share in asked)

    @property
    def asked(self) -> dict[str, float]:
        """The costs that matter, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def file_name(self) -> str:
        """For example "kv50_prefill70"."""
        return "_".join(f"{name}{100 * value:g}" for name, value in self.asked.items())

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * value:g} %" for name, value in self.asked.items())
