"""The command line: `ivcprune model=tiny data=scenes policy=ivc_prune`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from . import __version__
from .configuration.build import build_job, completed, compose
from .configuration.command_line import choices_of, read
from .configuration.experiments import commands_of
from .configuration.help import own_help
from .configuration.hydra_app import CONFIG_MODULE, VERSION_BASE, register_plugin_configs
from .runs.storage import StorageError

MISTAKES = (ValueError, FileNotFoundError, BlockingIOError, StorageError)
"""What our components raise where the user can put it right: reported without traceback."""

FAILED = 1
REFUSED = 2
"""Exit code where the command has to be changed first; that of an unknown flag as well."""
INTERRUPTED = 130
TERMINATED = 143
"""Exit codes after Ctrl-C and SIGTERM, as shells give them: the same command goes on."""


def main() -> None:
    """Runs the job of the composed configuration; `job=list` shows the choices."""
    if "--version" in sys.argv[1:]:
        print(f"ivcprune {__version__}")
        return
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(own_help())
        return
    register_plugin_configs()
    try:
        commands = commands_of(sys.argv[1:])
        _check(commands[0])  # those of an experiment differ in what it lists, which is tested
    except ValueError as error:
        _refuse(error)
    try:
        failures = [code for command in commands if (code := _exit_code(command))]
    except KeyboardInterrupt:
        print("stopped: the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if failures:
        sys.exit(failures[0])


def _exit_code(command: list[str]) -> str | int | None:
    """Hands one command to Hydra; a failed one does not keep the next from running.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, which are meant for all commands.
    """
    sys.argv[1:] = command  # where Hydra reads its overrides
    try:
        _run()
    except SystemExit as exit_:
        if isinstance(exit_.__context__, KeyboardInterrupt):  # Lightning leaves by exit code 1
            raise KeyboardInterrupt from None
        if exit_.code == TERMINATED:
            raise
        return exit_.code
    return None


@hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name="config", version_base=VERSION_BASE)
def _run(cfg: DictConfig) -> None:
    try:
        cfg = completed(cfg, HydraConfig.get().overrides.task)
        build_job(cfg)(cfg)
    except MISTAKES as error:
        hydra_cfg = HydraConfig.get()
        if hydra_cfg.verbose or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if hydra_cfg.mode == RunMode.MULTIRUN:
            # Not SystemExit: the other jobs of the sweep shall run.
            raise CompactHydraException(str(error)) from error
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    command_is_fine = isinstance(error, StorageError | BlockingIOError)  # another time, it works
    sys.exit(FAILED if command_is_fine else REFUSED)


def _check(arguments: list[str]) -> None:
    """Composes before Hydra does: its own messages are long, and it checks a sweep job by job.

    Raises:
        ValueError: an override, or one of the values that a sweep gives it, does not fit.
    """
    command = read(arguments)
    if command.only_shows or command.has_other_root:
        return  # left to Hydra
    place = command.search_path
    given = [str(override.input_line) for override in command.overrides]
    choices = [choices_of(o, place) if command.is_multirun else [o] for o in given]
    first = [options[0] for options in choices if options]
    compose(first, place)
    for i, options in enumerate(choices):
        for option in options[1:]:
            compose([*first[:i], option, *first[i + 1 :]], place)
