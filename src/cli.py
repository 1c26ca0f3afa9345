"""The command line: `ivcprune model=tiny data=scenes policy=ivc_prune`."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from .build import (
    CONFIG_MODULE,
    VERSION_BASE,
    build_job,
    choices_of,
    compose,
    register_plugin_configs,
)
from .groups import expand_groups

MISTAKES = (ValueError, FileNotFoundError, BlockingIOError)
"""What our components raise where the user can put it right: reported without traceback."""


def main() -> None:
    """Runs the job of the composed configuration; `job=list` shows the choices."""
    register_plugin_configs()
    try:
        sys.argv[1:] = expand_groups(sys.argv[1:])  # where Hydra reads its overrides
        _check(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
    _run()


@hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name="config", version_base=VERSION_BASE)
def _run(cfg: DictConfig) -> None:
    try:
        build_job(cfg)(cfg)
    except MISTAKES as error:
        hydra_cfg = HydraConfig.get()
        if hydra_cfg.verbose or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if hydra_cfg.mode == RunMode.MULTIRUN:
            # Not SystemExit: the other jobs of the sweep shall run.
            raise CompactHydraException(str(error)) from error
        sys.exit(f"error: {error}")


def _check(arguments: list[str]) -> None:
    """Composes before Hydra does: its own messages are long, and it checks a sweep job by job.

    Raises:
        ValueError: an override, or one of the values that a sweep gives it, does not fit.
    """
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    flags = {argument for argument in arguments if argument.startswith("-")}
    if flags - {"-m", "--multirun"}:
        return  # help, or other configuration folders: left to Hydra
    choices = [choices_of(o) if flags else [o] for o in overrides]
    first = [options[0] for options in choices]
    compose(first)
    for i, options in enumerate(choices):
        for option in options[1:]:
            compose([*first[:i], option, *first[i + 1 :]])
