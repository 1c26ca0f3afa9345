"""What a run is called beside others: its policy, and the settings in which it differs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..runs.read import Run
from ..runs.settings import canonical, choices_of

RUN = "run"
"""Stands for a setting where nothing else tells two runs apart."""
SELECTOR = re.compile(r"(stages\.[^.]+\.selector)(?:\..+)?")
SCAFFOLD = ("stages", "selector")
"""Parts of a setting's dotted name that tell a reader nothing."""


@dataclass(frozen=True)
class RunLabel:
    """The name of a run among comparable ones.

    Attributes:
        policy: of the run.
        settings: by dotted name, those that tell it from other runs of that policy.
        short: their names, as far as they are needed.
    """

    policy: str
    settings: Mapping[str, Any]
    short: Mapping[str, str]

    @property
    def text(self) -> str:
        """For example "ivc_prune (layer=2)"."""
        return self.without()

    def without(self, name: str | None = None, note: str = "") -> str:
        """As `text`, but for the setting `name`, and with a note."""
        shown = [f"{self.short[n]}={value}" for n, value in self.settings.items() if n != name]
        told = ", ".join([*shown, *filter(None, [note])])
        return f"{self.policy} ({told})" if told else self.policy


def label_runs(runs: Sequence[Run]) -> dict[str, RunLabel]:
    """By run key, a label of its own for each run."""
    by_policy: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_policy[run.policy].append(run)
    labels: dict[str, RunLabel] = {}
    for members in by_policy.values():
        labels |= _label_policy(members)
    return labels


def _label_policy(runs: Sequence[Run]) -> dict[str, RunLabel]:
    """Labels of runs of one policy: selectors of other classes first, then what else differs."""
    choices = {run.key: choices_of(run) for run in runs}
    swapped = _swapped_places(list(choices.values()))
    kinds: dict[str, list[Run]] = defaultdict(list)
    selectors = {}
    for run in runs:
        stages = (run.config.get("policy") or {}).get("stages") or {}
        selectors[run.key] = {
            place: describe_selector(stages[place.split(".")[1]]["selector"])
            for place in swapped
            if place.split(".")[1] in stages
        }
        kinds[canonical(selectors[run.key])].append(run)
    labels = {}
    for alike in kinds.values():
        names = [
            name
            for name in _differing([choices[run.key] for run in alike])
            if "_target_" not in name
        ]
        short = short_names([*swapped, *names], _stages(alike[0]))
        for run in alike:
            values = selectors[run.key] | {name: choices[run.key].get(name) for name in names}
            labels[run.key] = RunLabel(run.policy, values, short)
    return _told_apart(labels)


def _told_apart(labels: Mapping[str, RunLabel]) -> dict[str, RunLabel]:
    """The labels; those that are equal, such as of runs of other code, get the end of their key."""
    texts = [label.text for label in labels.values()]
    return {
        key: label
        if texts.count(label.text) == 1
        else RunLabel(
            label.policy,
            {**label.settings, RUN: key.rpartition("-")[2]},
            {**label.short, RUN: RUN},
        )
        for key, label in labels.items()
    }


def _differing(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for choice in choices for name in choice)
    return [name for name in names if len({canonical(c.get(name)) for c in choices}) > 1]


def _swapped_places(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Stages' selectors that are made of other classes in some of the runs."""
    differing = [name for name in _differing(choices) if name.endswith("_target_")]
    return list(dict.fromkeys(m[1] for name in differing if (m := SELECTOR.fullmatch(name))))


def _stages(run: Run) -> int:
    return len((run.config.get("policy") or {}).get("stages") or {})


def describe_selector(config: Any) -> str:
    """A selector's configuration in words: its classes, such as "TopUp(Seed, Refine)".

    What only says over which tokens a selector ranks (`Per`) is passed over.
    """
    parts = _components(config)
    if not isinstance(config, Mapping) or "_target_" not in config:
        return ", ".join(parts)
    name = str(config["_target_"]).rpartition(".")[2]
    if name == "Per" and len(parts) == 1:
        return parts[0]
    name = name.removesuffix("Selector") or name
    return f"{name}({', '.join(parts)})" if parts else name


def _components(config: Any) -> list[str]:
    """Descriptions of the selectors that a configuration holds."""
    values: Iterable[Any] = ()
    if isinstance(config, Mapping):
        values = config.values()
    elif isinstance(config, list):
        values = config
    return [
        words for v in values if isinstance(v, Mapping | list) and (words := describe_selector(v))
    ]


def short_names(names: Sequence[str], stages: int) -> dict[str, str]:
    """By dotted name, as little of its end as tells it from the others.

    Args:
        stages: of the policy; of several, a setting keeps the name of its stage.
    """
    parts = {name: _telling(name, stages) for name in names}
    short = {}
    for name in names:
        for length in range(1, len(parts[name]) + 1):
            end = parts[name][-length:]
            if sum(other[-length:] == end for other in parts.values()) == 1:
                break
        else:
            end = name.split(".")
        staged = stages > 1 and name.startswith("stages.") and end[0] != parts[name][0]
        short[name] = ".".join([parts[name][0], *end] if staged else end)
    return short


def _telling(name: str, stages: int) -> list[str]:
    parts = name.split(".")
    if SELECTOR.fullmatch(name) and parts[-1] == "selector":
        return [parts[1], "selector"]
    return [part for part in parts if part not in SCAFFOLD] or parts
