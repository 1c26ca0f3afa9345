"""The command line: `ivcprune model=tiny data=scenes policy=ivc_prune`."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig

from . import __version__
from .checks import one_line
from .configuration.build import build_job, build_policy, completed, compose
from .configuration.command_line import choices_of, read
from .configuration.experiments import commands_of
from .configuration.help import own_help
from .configuration.hydra_app import CONFIG_MODULE, VERSION_BASE, register_plugin_configs
from .configuration.waiting import WaitingJob, can_wait, together
from .evaluation.repeated import told_finished
from .runs.storage import StorageError

MISTAKES = (ValueError, FileNotFoundError, BlockingIOError, StorageError)
"""What our components raise where the user can put it right: reported without traceback."""

TOGETHER = {"ivcprune.jobs.predict.run": "ivcprune.jobs.side_by_side.run"}
"""What computes several configurations of a job in one pass."""

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
    waiting: list[WaitingJob] = []
    # A job that failed does not keep those that wait from running.
    codes = [_code_of(app(waiting)), _code_of(partial(_run_together, waiting))]
    return next((code for code in codes if code), None)


def _code_of(action: Callable[[], object]) -> str | int | None:
    try:
        action()
    except SystemExit as exit_:
        if isinstance(exit_.__context__, KeyboardInterrupt):  # Lightning leaves by exit code 1
            raise KeyboardInterrupt from None
        if exit_.code == TERMINATED:
            raise
        return exit_.code
    return None


def app(waiting: list[WaitingJob]) -> Callable[[], object]:
    """The Hydra app.

    Args:
        waiting: gets the jobs of a sweep that are to be computed together.
    """

    @hydra.main(
        config_path=f"pkg://{CONFIG_MODULE}", config_name="config", version_base=VERSION_BASE
    )
    def run(cfg: DictConfig) -> None:
        hydra_cfg = HydraConfig.get()
        with _told(hydra_cfg):
            job = completed(cfg, hydra_cfg.overrides.task)
            if job.job._target_ in TOGETHER:
                if told_finished(job):
                    return
                if hydra_cfg.mode == RunMode.RUN:
                    build_policy(job)  # what it refuses is told before Lightning is imported
            if can_wait(job, TOGETHER):
                waiting.append(WaitingJob(job, hydra_cfg))
            else:
                build_job(job)(job)

    return run


@contextmanager
def _told(hydra_cfg: HydraConf) -> Iterator[None]:
    """What a user can put right is one line, unless everything is asked for."""
    try:
        yield
    except MISTAKES as error:
        if _wants_all(hydra_cfg):
            raise
        if hydra_cfg.mode == RunMode.MULTIRUN:
            # Not SystemExit: the other jobs of the sweep shall run.
            raise CompactHydraException(str(error)) from error
        _refuse(error)


def _wants_all(hydra_cfg: HydraConf) -> bool:
    return bool(hydra_cfg.verbose) or os.environ.get("HYDRA_FULL_ERROR") == "1"


def _run_together(waiting: list[WaitingJob]) -> None:
    """Runs the jobs that waited, in as few passes as they can be.

    Raises:
        SystemExit: one of them failed.
    """
    passes = together(waiting)
    failed = False
    for jobs in passes:
        for error in _errors_of(jobs, only=len(passes) == 1):
            failed = True
            if _wants_all(jobs[0].hydra):
                traceback.print_exception(error)
            else:
                kind = "" if isinstance(error, MISTAKES) else f"{type(error).__name__}: "
                print(f"error: {kind}{one_line(error)}", file=sys.stderr)
    if failed:
        sys.exit(FAILED)


def _errors_of(jobs: Sequence[WaitingJob], only: bool) -> list[Exception]:
    run_side_by_side = get_method(TOGETHER[jobs[0].cfg.job._target_])
    try:
        with jobs[0].surroundings():
            errors = run_side_by_side(
                [job.cfg for job in jobs], [job.overrides for job in jobs], only
            )
    except Exception as error:
        return [error]
    return [error for error in errors if error is not None]


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
