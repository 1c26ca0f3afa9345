"""`policy=FOLDER/policy/NAME.yaml`: a policy in a file of its own, such as job=autotune writes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, QuotedString

from .command_line import CommandLine, values_of

ENDING = ".yaml"
GROUP = "policy"
SEARCH_PATH = "hydra.searchpath"


def is_file_name(name: object) -> bool:
    """Whether a policy is named by a file."""
    return isinstance(name, str) and name.endswith(ENDING)


def place_of(name: str) -> tuple[str, str]:
    """The name of a policy and where Hydra looks for it, from the name of its file.

    Raises:
        ValueError: there is no such file, it does not lie in a folder `policy`, where Hydra looks
            for policies, or it has the name of one of ours, which would be taken in its place.
    """
    file = Path(name).expanduser()
    if not file.is_file():
        raise ValueError(
            f"{GROUP}={name} is no file: give the one that job=autotune wrote, or the name of a "
            f"policy without {ENDING}"
        )
    folder = file.absolute().parent
    if folder.name != GROUP:
        raise ValueError(
            f"{GROUP}={name} lies in a folder {folder.name!r}: put it into one called {GROUP!r}, "
            f"for example {folder / GROUP / file.name}"
        )
    if (files("ivcprune.conf") / GROUP / file.name).is_file():
        raise ValueError(
            f"{GROUP}={name} has the name of a policy that comes with the package and would be "
            "taken for it: call the file something else"
        )
    return file.stem, f"file://{folder.parent}"


def with_policy_files(command: CommandLine) -> list[str] | None:
    """The arguments, files of policies replaced by their names; None where there are none.

    Raises:
        ValueError: see `place_of`.
    """
    changed: dict[str | None, str] = {}
    places: list[str] = []
    for override in command.of(GROUP):
        names, is_list = _names_of(override, command.search_path)
        if not any(map(is_file_name, names)):
            continue
        told = [place_of(name) if is_file_name(name) else (str(name), "") for name in names]
        places += [place for _, place in told if place]
        values = ",".join(name for name, _ in told)
        value = f"[{values}]" if is_list else values
        changed[override.input_line] = f"{override.get_key_element()}={value}"
    if not changed:
        return None
    return _searching(command, [changed.get(a, a) for a in command.arguments], places)


def _names_of(override: Override, search_path: Sequence[str]) -> tuple[list[Any], bool]:
    """The values of an override, and whether they are written as one list."""
    if override.is_sweep_override() or not isinstance(override.value(), list):
        return values_of(override, search_path), False
    members: Any = override.value()
    return [m.text if isinstance(m, QuotedString) else m for m in members], True


def _searching(command: CommandLine, arguments: Sequence[str], places: Sequence[str]) -> list[str]:
    """The arguments, with these places among those where configurations are looked for."""
    given = command.last(SEARCH_PATH)
    known = [] if given is None else [str(place) for place in given.value()]  # type: ignore[union-attr]
    others = [a for a in arguments if given is None or a != given.input_line]
    quoted = ",".join(_quoted(place) for place in dict.fromkeys([*known, *places]))
    return [*others, f"{SEARCH_PATH}=[{quoted}]"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
