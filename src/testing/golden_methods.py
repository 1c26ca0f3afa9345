"""Which of our policies is which authors' method, and what their parameters are called here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..api import load_policy
from ..policy import PruningPolicy, Stage
from ..selectors import Selector

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """How the authors' parameters become ours.

    Attributes:
        policy: name of our policy.
        family: whose overlay it takes.
        stages: from the parameters the layer of each stage, and settings of its selector.
    """

    policy: str
    stages: Callable[[Settings], Sequence[tuple[int, Settings]]]
    family: str = "llava"

    def policy_of(self, params: Settings) -> PruningPolicy:
        """The default policy with a case's numbers; further stages are like its last one."""
        default = load_policy(self.policy, family=self.family)
        own = list(default.stages.values())
        stages = {
            f"stage_{i}": Stage(layer, _with_settings(own[min(i, len(own) - 1)].selector, settings))
            for i, (layer, settings) in enumerate(self.stages(params))
        }
        return replace(default, stages=stages)


METHODS: Mapping[str, Method] = {
    "dart": Method(
        "dart",
        lambda p: [
            (
                p["K"],
                {
                    "keep": 1 - p["reduction"],
                    "image_pivots": p["pi"],
                    "text_pivots": p["pt"],
                },
            )
        ],
    ),
    "divprune": Method("divprune", lambda p: [(0, {"keep": p["ratio"]})]),
    "fastv": Method("fastv", lambda p: [(p["K"], {"keep": 1 - p["R"]})]),
    "feather": Method(
        "feather",
        lambda p: [
            (layer, {"keep": (1 - p["ratio"]) ** (i + 1), "stride": p["stride"]})
            for i, layer in enumerate(p["layers"])
        ],
    ),
    "pdrop": Method(
        "pdrop",
        lambda p: [
            (layer, {"keep": ratio}) for layer, ratio in zip(p["layers"], p["ratios"], strict=True)
        ],
    ),
    "sparsevlm": Method(
        "sparsevlm",
        lambda p: [
            (layer + 1, {"keep": n, "merge": p["merge"]})
            for layer, n in zip(p["layers"], p["counts"], strict=True)
        ],
    ),
    "vscan_llava": Method(
        "vscan", lambda p: [(0, {"keep": p["T"]}), (p["layer"], {"keep": p["T2"]})]
    ),
    "vscan_qwen": Method(
        "vscan",
        lambda p: [(0, {"keep": p["ratio"], "window": p["window"]})],
        family="qwen2_5_vl",
    ),
}
"""By the name that the folder gives them."""


def _with_settings(selector: Selector, settings: Settings) -> Selector:
    """A composition in which each selector takes those of the settings that it has."""
    changes: dict[str, Any] = {}
    for item in fields(selector):
        value = getattr(selector, item.name)
        if item.name in settings:
            changes[item.name] = settings[item.name]
        elif isinstance(value, Selector):
            changes[item.name] = _with_settings(value, settings)
        elif isinstance(value, dict):
            changes[item.name] = {name: _with_settings(x, settings) for name, x in value.items()}
    return replace(selector, **changes)
