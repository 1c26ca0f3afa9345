"""The command line, read once and by Hydra's own parsers: its flags and its overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import OverrideParseException

from .explain import explain
from .hydra_app import own_hydra

SHOWING = ("help", "hydra_help", "cfg", "info", "shell_completion")
"""Flags of Hydra under which nothing runs."""
OTHER_ROOT = ("config_path", "config_name", "experimental_rerun")
"""Flags of Hydra that put another configuration in the place of ours."""
MULTIRUN = "multirun"


@dataclass(frozen=True)
class CommandLine:
    """What follows the name of the program.

    Attributes:
        arguments: as they were given.
        flags: those that are set, by the name that Hydra's parser has for them.
        overrides: in their order.
    """

    arguments: tuple[str, ...]
    flags: Mapping[str, str | bool]
    overrides: tuple[Override, ...]

    @property
    def only_shows(self) -> bool:
        return any(name in self.flags for name in SHOWING)

    @property
    def has_other_root(self) -> bool:
        return any(name in self.flags for name in OTHER_ROOT)

    @property
    def is_multirun(self) -> bool:
        """Whether Hydra goes through all values with commas: by its flag, or by its mode."""
        mode = self.last("hydra.mode")
        return MULTIRUN in self.flags or (
            mode is not None and str(mode.value()).upper() == MULTIRUN.upper()
        )

    @property
    def search_path(self) -> tuple[str, ...]:
        """Where else configurations are looked for, in Hydra's notation."""
        folder, given = self.flags.get("config_dir"), self.last("hydra.searchpath")
        own = [] if folder is None else [f"file://{Path(str(folder)).absolute()}"]
        value = None if given is None else given.value()
        return (*own, *(map(str, value) if isinstance(value, list) else ()))

    def of(self, key: str) -> list[Override]:
        """The overrides that give `key` a value, with `+` and `++` as well."""
        return [
            override
            for override in self.overrides
            if override.key_or_group == key
            and override.package is None
            and override.type is not OverrideType.DEL
        ]

    def last(self, key: str) -> Override | None:
        """The override of `key` that counts; None without one, or where it is deleted after."""
        found = None
        for override in self.overrides:
            if override.key_or_group == key and override.package is None:
                found = None if override.type is OverrideType.DEL else override
        return found

    def hydra_flags(self) -> list[str]:
        """The flags as arguments, multirun first; Hydra reads overrides in one piece after them."""
        others = {name: value for name, value in self.flags.items() if name != MULTIRUN}
        multirun = ["-m"] if MULTIRUN in self.flags else []
        return [*multirun, *(_flag(name, value) for name, value in others.items())]


def read(arguments: Sequence[str]) -> CommandLine:
    """Reads arguments as Hydra does; flags may stand anywhere.

    Raises:
        ValueError: an unknown flag, an override that cannot be read, or a folder of
            configurations that does not exist.
    """
    # intermixed: `policy=none -m seed=1,2` would lose what follows the flag
    known, unknown = get_args_parser().parse_known_intermixed_args(list(arguments))
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} is no flag: settings are written key=value, and `ivcprune "
            "--hydra-help` lists the flags"
        )
    texts: list[str] = known.overrides
    flags = {k: v for k, v in vars(known).items() if k != "overrides" and v not in (None, False)}
    _check_help(flags, texts)
    _check_folder(flags.get("config_dir"))
    command = CommandLine(tuple(arguments), flags, _parsed(texts))
    _check_search_path(command)
    return command


def choices_of(override: str, search_path: Sequence[str] = ()) -> list[str]:
    """The single overrides that a sweep such as "policy=none,fastv" goes through.

    Args:
        search_path: where patterns such as `glob(ivc*)` look beside our own configurations.

    Raises:
        ValueError: it cannot be read.
    """
    (parsed,) = _parsed([override])
    if not parsed.is_sweep_override():
        return [override]
    key = parsed.get_key_element()
    with own_hydra(search_path) as hydra:
        parsed.config_loader = hydra.config_loader
        return [f"{key}={value}" for value in parsed.sweep_string_iterator()]


def values_of(override: Override, search_path: Sequence[str] = ()) -> list[Any]:
    """The values that an override gives, quotes taken off; several for a sweep.

    Raises:
        ValueError: a sweep without an end, such as interval(0, 1).
    """
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_discrete_sweep():
        raise ValueError(
            f"{override.input_line} has no list of values: write them with commas, or with "
            "choice(...) or range(...)"
        )
    with own_hydra(search_path) as hydra:
        override.config_loader = hydra.config_loader
        return [v.text if isinstance(v, QuotedString) else v for v in override.sweep_iterator()]


def _parsed(texts: Sequence[str]) -> tuple[Override, ...]:
    try:
        return tuple(OverridesParser.create().parse_overrides(list(texts)))
    except OverrideParseException as error:
        raise ValueError(explain(error)) from error


def _flag(name: str, value: str | bool) -> str:
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag}={value}"


def _check_help(flags: Mapping[str, Any], texts: Sequence[str]) -> None:
    words = [text for text in texts if "=" not in text and not text.startswith("~")]
    if "help" in flags and words:
        raise ValueError(
            f"--help takes no {words[0]!r}: `ivcprune job=list job.group={words[0]}` lists the "
            "choices of a group, and `ivcprune --help` explains the rest"
        )


def _check_folder(folder: str | None) -> None:
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(
            f"--config-dir is {folder!r}, which is no folder: give the one that holds your "
            "configuration groups, for example policy/mine.yaml"
        )


def _check_search_path(command: CommandLine) -> None:
    for place in command.search_path:
        schema, _, path = place.rpartition("://")
        if schema == "file" and not Path(path).is_dir():
            raise ValueError(
                f"hydra.searchpath has {place!r}, which is no folder: give the one that holds your "
                "configuration groups"
            )
