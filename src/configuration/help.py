"""What `ivcprune --help` prints."""

from __future__ import annotations

from importlib.resources import files

from omegaconf import OmegaConf

from .hydra_app import CONFIG_MODULE


def own_help() -> str:
    """The text of `hydra/help/ivcprune.yaml`.

    Hydra prints the same, but first lists the choices of every group, twice, for texts that show
    them. This one does not, and the listing takes longer than all else with every further group.
    """
    text = (files(CONFIG_MODULE) / "hydra" / "help" / "ivcprune.yaml").read_text("utf-8")
    root = OmegaConf.create({"hydra": {"help": OmegaConf.create(text)}})
    return str(root.hydra.help.template)
