"""Weights and inputs that all sides read: random, from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from safetensors.torch import save_file

from ivcprune.configuration.build import compose
from ivcprune.efficiency.subjects import Subject

from .plan import TEXT, Case

WEIGHTS = "model.safetensors"


def write(folder: Path, cases: Iterable[Case]) -> None:
    """The mid-size model of `job=efficiency` for both generations of transformers, and inputs.

    What is there already stays: it follows from the same seed.
    """
    complete = folder / "complete"
    if complete.exists():
        return
    subject: Subject = instantiate(compose(["job=efficiency"]).job.model, _convert_="all")
    model, old = folder / "model", folder / "model_of_4"
    loaded = subject.load("sdpa")
    loaded.generation_config.eos_token_id = None
    loaded.save_pretrained(model)
    old.mkdir(exist_ok=True)
    for name in (WEIGHTS, "generation_config.json"):
        (old / name).unlink(missing_ok=True)
        (old / name).symlink_to(Path("..") / "model" / name)
    config = config_of_4(json.loads((model / "config.json").read_text()))
    (old / "config.json").write_text(json.dumps(config, indent=1))
    for case in cases:
        inputs = subject.inputs(case.visual, TEXT, case.samples)
        save_file(inputs, folder / f"inputs_{case.visual}.safetensors")
    complete.touch()


def config_of_4(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of transformers 5 as 4.51 reads it: the text's part among the rest."""
    text = dict(config["text_config"])
    rope = text.pop("rope_parameters")
    flat = {name: value for name, value in config.items() if name != "text_config"}
    vision = config["vision_config"]
    return (
        text
        | flat
        | {
            "rope_theta": rope["rope_theta"],
            "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
            "vision_config": vision | {"in_chans": vision["in_channels"]},
        }
    )
