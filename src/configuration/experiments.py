"""`--multirun experiment=tab1`: an experiment whose runs are no single product of choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .build import choices_of
from .data_groups import KEY as DATA
from .data_groups import MULTIRUN, data_groups, expand_groups

EXPERIMENT = "experiment="
JOB = "job="
FOLDER = "experiment_name="
SMOKE = "smoke=true"
CONFIG_DIR = ("--config-dir", "-cd")
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
        size = 1
        for values in self.axes.values():
            size *= len(values)
        return size

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
        return [f"model={joined['model']}", f"{DATA}{joined['data']}", policy, *self.overrides]


def sweeps_of(experiment: str, arguments: Sequence[str] = ()) -> tuple[Sweep, ...]:
    """The entries under `sweeps` of an experiment; none for one that has no such list.

    Args:
        arguments: of the command line; `--config-dir` names a folder with further experiments.
    """
    return tuple(map(_sweep, _settings(experiment, arguments).get("sweeps", ())))


def check_expanded(cfg: DictConfig) -> None:
    """Fails where a run still has a list of sweeps, which `expand_experiment` takes away.

    Raises:
        ValueError: the run would be none of those that the list names.
    """
    if "sweeps" in cfg:
        raise ValueError(
            f"experiment {cfg.experiment_name!r} has `sweeps`, but was not found where they are "
            "read: put it in the folder `experiment` of ivcprune's own conf, or of the one that "
            "--config-dir names, and add --multirun"
        )


def expand_experiment(arguments: Sequence[str]) -> list[list[str]]:
    """One command for Hydra for each sweep of the experiment; else the arguments as they are.

    `model=`, `data=` and `policy=` restrict the experiment to those of its runs. `smoke=true` keeps
    its results, and the report's, in a folder of their own.

    Raises:
        ValueError: an experiment of several runs without --multirun, or a restriction that leaves
            nothing of it.
    """
    name = _value_of(EXPERIMENT, arguments)
    settings = _settings(name, arguments) if name else {}
    if "sweeps" not in settings:
        _check_own_sweep(str(name), settings, arguments)
        return [list(arguments)]
    smoke = SMOKE in arguments
    folder = []
    if smoke and _value_of(FOLDER, arguments) is None:
        folder = [f"{FOLDER}{settings['experiment_name']}-smoke"]
    if not any(flag in arguments for flag in MULTIRUN):
        if _value_of(JOB, arguments) is None:
            raise ValueError(_advice(str(name), arguments))
        return [[*arguments, *folder]]
    chosen, others = _restriction(arguments)
    sweeps = [s for sweep in sweeps_of(str(name), arguments) if (s := sweep.restricted(chosen))]
    if not sweeps:
        raise ValueError(_nothing_left(str(name), chosen, arguments))
    # Hydra reads overrides in one piece, and without the list of sweeps the configuration of a run
    # is that of this run alone.
    common = [MULTIRUN[0], *others, *folder, "~sweeps"]
    return [[*common, *sweep.arguments(smoke)] for sweep in sweeps]


def _check_own_sweep(name: str, settings: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Fails where Hydra would run one job of an experiment that lists several, without a word.

    Raises:
        ValueError: without --multirun, and without a choice of each setting that is swept.
    """
    sweeper = (settings.get("hydra") or {}).get("sweeper") or {}
    axes = dict(sweeper.get("params") or {})
    given = {argument.partition("=")[0] for argument in arguments}
    is_meant = any(flag in given for flag in MULTIRUN) or JOB.removesuffix("=") in given
    if is_meant or not axes.keys() - given:
        return
    runs = prod(len(choices_of(f"{key}={values}")) for key, values in axes.items())
    chosen = " ".join(f"{key}=<one of them>" for key in axes.keys() - given)
    raise ValueError(
        f"experiment={name} stands for {runs} runs: add --multirun, or choose one with {chosen}"
    )


def _restriction(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Values of model, data and policy that are asked for, and all others but --multirun."""
    chosen: dict[str, list[str]] = {}
    others = []
    for argument in arguments:
        axis = argument.partition("=")[0]
        if axis in AXES:
            resolved = expand_groups([*MULTIRUN, argument])[-1]
            chosen[axis] = resolved.partition("=")[2].split(",")
        elif argument not in MULTIRUN:
            others.append(argument)
    return chosen, others


def _advice(name: str, arguments: Sequence[str]) -> str:
    runs = sum(sweep.size for sweep in sweeps_of(name, arguments))
    if not runs:
        return f"experiment={name} needs no run: draw it with job=report experiment={name}"
    return f"experiment={name} stands for {runs} runs: add --multirun"


def _nothing_left(name: str, chosen: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> str:
    sweeps = sweeps_of(name, arguments)
    if not sweeps:
        return _advice(name, arguments)
    asked = " ".join(f"{axis}={','.join(values)}" for axis, values in chosen.items())
    choices = {
        axis: ",".join(dict.fromkeys(value for sweep in sweeps for value in sweep.axes[axis]))
        for axis in chosen
    }
    offered = " and ".join(f"{axis}={values}" for axis, values in choices.items())
    return (
        f"experiment={name} has no run with {asked}: choose from {offered}, "
        "or leave the restriction out"
    )


def _sweep(content: Mapping[str, Any]) -> Sweep:
    axes = {axis: tuple(_names(content[axis])) for axis in AXES}
    groups = data_groups()
    axes["data"] = tuple(member for name in axes["data"] for member in groups.get(name, [name]))
    return Sweep(axes, tuple(content.get("overrides", ())))


def _names(value: str | Sequence[str]) -> Iterator[str]:
    yield from [value] if isinstance(value, str) else value


def _value_of(key: str, arguments: Sequence[str]) -> str | None:
    """The last value that `key` is given; None without one."""
    values = [a.removeprefix(key) for a in arguments if a.startswith(key)]
    return values[-1] if values else None


def _settings(experiment: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The content of an experiment; empty for one of a plugin, which Hydra will find or refuse."""
    for folder in (*_config_folders(arguments), files("ivcprune.conf")):
        file = folder / "experiment" / f"{experiment}.yaml"
        if file.is_file():
            content = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")))
            return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}
    return {}


def _config_folders(arguments: Sequence[str]) -> Iterator[Path]:
    """The folder that Hydra's flag names, whose files come before those of the same name here."""
    for flag, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, separator, value = flag.partition("=")
        if name in CONFIG_DIR:
            yield Path(value if separator else following).expanduser()
