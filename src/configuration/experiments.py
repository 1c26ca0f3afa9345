"""What one command stands for: the runs of an experiment, and the members of data groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType, ValueType
from omegaconf import BooleanNode, DictConfig
from omegaconf.errors import ValidationError

from .command_line import CommandLine, choices_of, read, values_of
from .data_groups import data_groups
from .policy_files import with_policy_files
from .policy_lists import with_policies_swept
from .sweep import AXES, Sweep, settings_of, sweeps_of

EXPERIMENT = "experiment"
SMOKE = "smoke"
FOLDER = "experiment_name"
PREDICTING = ("predict", "select_layer")
"""Jobs that compute the runs of an experiment; the others read them, or have none."""


def commands_of(arguments: Sequence[str]) -> list[list[str]]:
    """The commands for Hydra that the arguments of one command line stand for.

    Raises:
        ValueError: they cannot be read, or stand for runs that they would not start.
    """
    return [expand_groups(command) for command in expand_experiment(arguments)]


def expand_experiment(arguments: Sequence[str]) -> list[list[str]]:
    """One command for Hydra for each sweep of the experiment; else the arguments as they are.

    `model=`, `data=` and `policy=` restrict the experiment to those of its runs. `smoke=true` keeps
    its results, and the report's, in a folder of their own.

    Raises:
        ValueError: an experiment of several runs without --multirun, or a restriction that leaves
            nothing of it.
    """
    command = read(arguments)
    if command.only_shows or command.has_other_root:
        return [list(arguments)]
    if (named := with_policy_files(command)) is not None:
        return expand_experiment(named)
    if (swept := with_policies_swept(command)) is not None:
        return expand_experiment(swept)
    names = [str(name) for name in _values(command, EXPERIMENT) if name is not None]
    if command.is_multirun and len(names) > 1:
        # In one command Hydra would see neither the lists of sweeps nor what each file sweeps over.
        commands = [_replaced(command, EXPERIMENT, f"{EXPERIMENT}={name}") for name in names]
        return [expanded for one in commands for expanded in expand_experiment(one)]
    name = names[0] if len(names) == 1 else ""
    settings = settings_of(name, command.search_path) if name else {}
    smoke = _is_trial(command, settings)
    if "sweeps" in settings:
        return _of_sweeps(command, name, settings, smoke)
    if smoke and _is_predicting(command):
        raise ValueError(
            f"{SMOKE}=true is for experiments with a list of sweeps, such as tab1, which it runs "
            "with the bundled model: for a trial of anything else choose model=tiny data=scenes"
        )
    _check_own_sweep(command, name, settings)
    return [list(arguments)]


def expand_groups(arguments: Sequence[str]) -> list[str]:
    """The arguments, groups in `data=a,b` replaced by their members.

    Raises:
        ValueError: a group without --multirun.
    """
    command = read(arguments)
    expanded = {o.input_line: _expanded(o, command) for o in command.of("data")}
    return [expanded.get(argument) or argument for argument in arguments]


def check_expanded(cfg: DictConfig) -> None:
    """Fails where a run still has a list of sweeps, which `expand_experiment` takes away.

    Raises:
        ValueError: the run would be none of those that the list names.
    """
    if "sweeps" in cfg:
        raise ValueError(
            f"experiment {cfg.experiment_name!r} has `sweeps`, but was not found where they are "
            "read: put it in the folder `experiment` of ivcprune's own conf, of a plugin's, or of "
            "the one that --config-dir names, and add --multirun"
        )


def _of_sweeps(
    command: CommandLine, name: str, settings: Mapping[str, Any], smoke: bool
) -> list[list[str]]:
    """The commands for an experiment with a list of sweeps."""
    folder = []
    if smoke and command.last(FOLDER) is None:
        folder = [f"{FOLDER}={settings[FOLDER]}-smoke"]
    if not _is_predicting(command):
        return [[*_spelt_out(command, smoke), *folder]]
    if not command.is_multirun:
        raise ValueError(_advice(name, command))
    found = sweeps_of(name, command.search_path)
    if not found:
        raise ValueError(_advice(name, command))
    chosen = {axis: _chosen(name, axis, command, found) for axis in AXES if command.of(axis)}
    sweeps = [s for sweep in found if (s := sweep.restricted(chosen))]
    if not sweeps:
        raise ValueError(_nothing_left(name, chosen, found))
    restricting = {override.input_line for axis in AXES for override in command.of(axis)}
    others = [
        argument
        for argument in _spelt_out(command, smoke, hydra_only=True)
        if argument not in restricting
    ]
    # Without the list of sweeps the configuration of a run is that of this run alone.
    common = [*command.hydra_flags(), *others, *folder, "~sweeps"]
    return [[*common, *sweep.arguments(smoke)] for sweep in sweeps]


def _spelt_out(command: CommandLine, smoke: bool, hydra_only: bool = False) -> list[str]:
    """The arguments, `smoke` in the spelling that the configuration has.

    Args:
        hydra_only: the overrides without the flags.
    """
    spelling = {o.input_line: f"{SMOKE}={str(smoke).lower()}" for o in command.of(SMOKE)}
    given = [str(o.input_line) for o in command.overrides] if hydra_only else command.arguments
    return [spelling.get(argument, argument) for argument in given]


def _is_trial(command: CommandLine, settings: Mapping[str, Any]) -> bool:
    """Whether `smoke` is true, in any spelling that Hydra's configurations have for that."""
    values = _values(command, SMOKE) or [settings.get(SMOKE, False)]
    if len(values) > 1:
        raise ValueError(f"{SMOKE} is {values}: a trial and the real runs are two commands")
    try:
        return bool(BooleanNode(values[0])._value())
    except ValidationError:
        raise ValueError(f"{SMOKE} is {values[0]!r}: it must be true or false") from None


def _is_predicting(command: CommandLine) -> bool:
    """Whether the command would compute runs; what jobs experiments choose themselves do so."""
    jobs = _values(command, "job")
    return not jobs or any(job in PREDICTING for job in jobs)


def _check_own_sweep(command: CommandLine, name: str, settings: Mapping[str, Any]) -> None:
    """Fails where Hydra would run one job of an experiment that lists several, without a word.

    Raises:
        ValueError: without --multirun, and without a choice of each setting that is swept.
    """
    hydra = settings.get("hydra") or {}
    axes = dict((hydra.get("sweeper") or {}).get("params") or {})
    open_ones = [axis for axis in axes if command.last(axis) is None]
    is_sweep = command.is_multirun or str(hydra.get("mode")).upper() == "MULTIRUN"
    if is_sweep or not open_ones or not _is_predicting(command):
        return
    runs = prod(len(choices_of(f"{axis}={values}")) for axis, values in axes.items())
    chosen = " ".join(f"{axis}=<one of them>" for axis in open_ones)
    raise ValueError(
        f"experiment={name} stands for {runs} runs: add --multirun, or choose one with {chosen}"
    )


def _chosen(name: str, axis: str, command: CommandLine, sweeps: Sequence[Sweep]) -> list[str]:
    """The values that an axis of the experiment is restricted to, data groups resolved.

    Raises:
        ValueError: it is given twice, of which Hydra's sweeps drop one, is no name, or names
            something that the experiment does not have.
    """
    given = command.of(axis)
    if len(given) > 1:
        lines = " ".join(str(override.input_line) for override in given)
        raise ValueError(f"{axis} is given {len(given)} times: write {lines} as one list")
    (override,) = given
    values = values_of(override, command.search_path)
    is_pattern = override.value_type is ValueType.GLOB_CHOICE_SWEEP
    if override.type is not OverrideType.CHANGE or not all(isinstance(v, str) for v in values):
        raise ValueError(
            f"{override.input_line} restricts no experiment: name what to run with "
            f"{axis}=<name>,<name>"
        )
    groups = data_groups() if axis == "data" else {}
    offered = {value for sweep in sweeps for value in sweep.axes[axis]}
    members = {value: groups.get(value, [value]) for value in values}
    foreign = [value for value, names in members.items() if offered.isdisjoint(names)]
    if foreign and not is_pattern:
        raise ValueError(_nothing_left(name, {axis: foreign}, sweeps))
    return [member for names in members.values() for member in names]


def _expanded(override: Override, command: CommandLine) -> str | None:
    """The override with members in the place of groups; None where it names no group."""
    groups, names = data_groups(), values_of(override, command.search_path)
    named = [name for name in names if name in groups]
    if not named:
        return None
    if not command.is_multirun:
        raise ValueError(
            f"data={named[0]} stands for {len(groups[named[0]])} benchmarks, each a run of its "
            "own: add --multirun"
        )
    members = dict.fromkeys(str(m) for name in names for m in groups.get(name, [name]))
    return f"{override.get_key_element()}={','.join(members)}"


def _values(command: CommandLine, key: str) -> list[Any]:
    override = command.last(key)
    return [] if override is None else values_of(override, command.search_path)


def _replaced(command: CommandLine, key: str, override: str) -> list[str]:
    """The arguments with one override in the place of those of `key`."""
    lines = {other.input_line for other in command.of(key)}
    return [override if argument in lines else argument for argument in command.arguments]


def _advice(name: str, command: CommandLine) -> str:
    runs = sum(sweep.size for sweep in sweeps_of(name, command.search_path))
    if not runs:
        return f"experiment={name} needs no run: draw it with job=report experiment={name}"
    return f"experiment={name} stands for {runs} runs: add --multirun"


def _nothing_left(name: str, chosen: Mapping[str, Sequence[str]], sweeps: Sequence[Sweep]) -> str:
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
