"""`policy=[none,fastv]`: several policies in one command, which is a sweep over them."""

from __future__ import annotations

from .command_line import CommandLine

KEY = "policy"


def with_policies_swept(command: CommandLine) -> list[str] | None:
    """The arguments, a list of policies written as a sweep; `--multirun` is added where it lacks.

    None where there is no list of policies.

    Raises:
        ValueError: the list is empty, holds anything but names, or something else is swept too
            without --multirun.
    """
    override = command.last(KEY)
    names = None if override is None or override.is_sweep_override() else override.value()
    if override is None or not isinstance(names, list):
        return None
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"{override.input_line} must list names of policies: for example "
            f"{KEY}=[none,ivc_prune]; `ivcprune job=list job.group=policy` shows them"
        )
    swept = f"{override.get_key_element()}={','.join(map(str, names))}"
    given = command.arguments
    changed = [swept if argument == override.input_line else argument for argument in given]
    if command.is_multirun or len(names) == 1:
        return changed
    _check_nothing_else_is_swept(command)
    return ["--multirun", *changed]


def _check_nothing_else_is_swept(command: CommandLine) -> None:
    """Commas in another setting are a mistake where nobody asked for a sweep."""
    others = [o.input_line for o in command.overrides if o.is_sweep_override()]
    if others:
        raise ValueError(f"{others[0]} has several values: add --multirun to run all of them")
