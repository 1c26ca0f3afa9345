"""Experiments as their files have them: products of models, benchmarks and policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from omegaconf import OmegaConf

from .command_line import choices_of
from .data_groups import data_groups
from .hydra_app import own_hydra

AXES = ("model", "data", "policy")
TRIAL = ("model=tiny", "data=scenes", "data.limit=2", "judge=none")
"""What `smoke=true` puts in the place of every model and every benchmark."""


@dataclass(frozen=True)
class Sweep:
    """One product of an experiment.

    Attributes:
        axes: the values of model, data and policy; data groups are resolved.
        overrides: settings of all its runs.
    """

    axes: Mapping[str, tuple[str, ...]]
    overrides: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of runs."""
        return prod(len(values) for values in self.axes.values()) * prod(
            len(choices_of(override)) for override in self.overrides
        )

    def restricted(self, chosen: Mapping[str, Sequence[str]]) -> Sweep | None:
        """The runs whose values are among `chosen`; None where there are none."""
        axes = {
            axis: tuple(v for v in values if axis not in chosen or v in chosen[axis])
            for axis, values in self.axes.items()
        }
        return Sweep(axes, self.overrides) if all(axes.values()) else None

    def arguments(self, smoke: bool) -> list[str]:
        """Overrides for Hydra.

        Args:
            smoke: run the bundled model on built-in samples, under the names of the real ones.
        """
        joined = {axis: ",".join(values) for axis, values in self.axes.items()}
        policy = f"policy={joined['policy']}"
        if smoke:
            names = [f"{axis}.name={joined[axis]}" for axis in ("model", "data")]
            return [*TRIAL, *names, policy, *self.overrides]
        return [f"model={joined['model']}", f"data={joined['data']}", policy, *self.overrides]


def sweeps_of(experiment: str, search_path: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """The entries under `sweeps` of an experiment; none for one that has no such list."""
    entries = settings_of(experiment, search_path).get("sweeps", ())
    return tuple(_sweep(content) for content in entries)


def settings_of(experiment: str, search_path: Sequence[str] = ()) -> dict[str, Any]:
    """The content of an experiment's file; empty where Hydra will find none, and say so.

    Args:
        search_path: where experiments are looked for after ours and those of plugins.
    """
    with own_hydra(search_path) as hydra:
        for source in hydra.config_loader.get_sources():
            name = f"experiment/{experiment}"
            if source.available() and source.is_config(name):
                content = OmegaConf.to_container(source.load_config(name).config)
                return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}
    return {}


def _sweep(content: Mapping[str, Any]) -> Sweep:
    axes = {axis: tuple(_names(content[axis])) for axis in AXES}
    groups = data_groups()
    axes["data"] = tuple(member for name in axes["data"] for member in groups.get(name, [name]))
    return Sweep(axes, tuple(content.get("overrides", ())))


def _names(value: str | Sequence[str]) -> Iterator[str]:
    yield from [value] if isinstance(value, str) else value
