"""What a server is asked for: `--hf-overrides '{"ivcprune": {"policy": "divprune", ...}}'`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...api import load_policy
from ...policy import PruningPolicy

KEY = "ivcprune"
"""Of the settings in the model's configuration."""


@dataclass(frozen=True)
class Settings:
    """A policy of `conf/policy/` and what is changed of it.

    Attributes:
        policy: its name.
        average_tokens: share of the visual tokens that stay, in (0, 1]; None: as its file says.
        layer: the decoder layer at whose entry its selection is made, on a scout pass through the
            layers before, which turns it into one with `cache: recomputed`; None: as its file says.
        overrides: more of them, as for `load_policy`.
    """

    policy: str
    average_tokens: float | None = None
    layer: int | None = None
    overrides: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Any) -> Settings | None:
        """The settings in a model's configuration; None where there are none.

        Raises:
            ValueError: they are not what they should be.
        """
        given = getattr(config, KEY, None)
        if given is None:
            return None
        names = [item.name for item in fields(cls)]
        example = '{"policy": "divprune", "average_tokens": 0.5}'
        if not isinstance(given, Mapping) or "policy" not in given:
            raise ValueError(f"{KEY} is {given!r} in --hf-overrides: give a mapping like {example}")
        if unknown := sorted(set(given) - set(names)):
            raise ValueError(
                f"{KEY} has the unknown settings {', '.join(unknown)} in --hf-overrides: allowed "
                f"are {', '.join(names)}"
            )
        layer = given.get("layer")
        if layer is not None and (isinstance(layer, bool) or not isinstance(layer, int)):
            raise ValueError(f"{KEY}.layer is {layer!r}: it must be a whole number of a layer")
        overrides = given.get("overrides") or ()
        if isinstance(overrides, str):
            raise ValueError(f"{KEY}.overrides is {overrides!r}: it must be a list of overrides")
        return cls(**{**given, "overrides": tuple(overrides)})

    def load(self, family: str) -> PruningPolicy:
        """The policy; with a `layer`, its only stage there and its caches as if recomputed.

        Raises:
            ValueError: an unknown name or override, or a layer for a policy of several stages.
        """
        overrides = list(self.overrides)
        if self.average_tokens is not None:
            overrides.append(f"average_tokens={self.average_tokens}")
        if self.layer is not None:
            stages = list(load_policy(self.policy, *self.overrides, family=family).stages)
            if len(stages) != 1:
                raise ValueError(
                    f"{KEY}.layer is {self.layer}, but the policy {self.policy!r} has "
                    f"{len(stages)} stages: a server makes one selection; use a policy with one"
                )
            overrides.append(f"stages.{stages[0]}.layer={self.layer}")
            if self.layer:
                overrides += ["cache=recomputed", f"name={self.policy}_recomputed"]
        return load_policy(self.policy, *overrides, family=family)

    def as_text(self) -> str:
        """As given, for messages."""
        return json.dumps({item.name: getattr(self, item.name) for item in fields(self)})
