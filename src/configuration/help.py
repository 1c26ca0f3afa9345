"""What `ivcprune --help` prints, without composing the configuration as Hydra's own help does."""

from __future__ import annotations

from importlib.resources import files

from omegaconf import OmegaConf

from .command_line import CommandLine
from .hydra_app import CONFIG_MODULE

TEXT = "hydra/help/ivcprune.yaml"
"""Below our configurations; its template names no group and no setting, so nothing is composed."""


def asks_for_help_alone(command: CommandLine) -> bool:
    """Whether nothing on the command line can change what the help says."""
    return command.flags == {"help": True} and not command.overrides


def help_text() -> str:
    """What Hydra prints for `--help`: listing every group, which our template has no place for,
    takes it four times as long as all the rest."""
    text = files(CONFIG_MODULE).joinpath(*TEXT.split("/")).read_text(encoding="utf-8")
    filled = OmegaConf.create({"hydra": {"help": OmegaConf.create(text)}})
    return str(filled.hydra.help.template)
