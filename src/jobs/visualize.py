"""`ivcprune job=visualize`: what a policy keeps of a picture of your own, and why."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console

from ..api import prune, resolve_layers
from ..configuration.build import build_model_spec, build_policy
from ..data.batch import Batch, Collate
from ..data.prompts import check_prompts
from ..data.sample import FEATURES
from ..metrics.boxes import parse_box
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..report.own_picture import Answer, draw_answers
from ..runs.read import VANILLA

log = logging.getLogger(__name__)

GROUNDING = "grounding"
"""The task whose replies are boxes."""
DPI = 130


def run(cfg: DictConfig, image: str | None, prompt: str | None, task: str, output_dir: str) -> None:
    """Asks about the picture with all tokens and under `policy`; prints and draws what was kept.

    Args:
        cfg: the root configuration; `model` and `policy` say what runs.
        image: file of the picture.
        prompt: the question, or what to locate.
        task: which prompt template of the model asks it.
        output_dir: where the picture goes.

    Raises:
        ValueError, FileNotFoundError: something is missing or does not fit; says which.
    """
    if image is None or prompt is None:
        raise ValueError(
            "job=visualize needs a picture and a question: job.image=photo.jpg job.prompt='...'"
        )
    path = Path(image).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"job.image={image!r}: there is no such file")
    policy, spec = build_policy(cfg), build_model_spec(cfg)
    spec.check()
    resolve_layers(policy, spec)
    check_prompts(spec.prompts, [task], spec.name)
    processor = spec.load_processor()
    collate = Collate(family_named(spec.family), processor, spec.prompts)
    batch = collate([[_row(path, prompt, task)]])
    if batch.failures:
        raise ValueError(f"job.image={image!r} cannot be used: {batch.failures[0].message}")
    model = spec.load_model(attention=cfg.attention)
    whole, pruned = (
        _ask(model, processor, batch, chosen, spec)
        for chosen in (PruningPolicy(name=VANILLA), policy)
    )
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{path.stem}-{policy.name}-{spec.name}.png"
    shown = batch.samples[0].images[0]
    area = family_named(spec.family).visible_area(processor, shown.size, 1)
    title = f"{spec.name}: {prompt}"
    draw_answers(shown, whole, pruned, title, area).savefig(picture, dpi=DPI)
    _print([whole, pruned])
    log.info("picture: %s", picture)


def _row(path: Path, prompt: str, task: str) -> dict[str, Any]:
    empty: dict[str, Any] = {
        name: [] if hasattr(f, "feature") else "" for name, f in FEATURES.items()
    }
    return empty | {
        "id": path.stem,
        "task": task,
        "images": [{"path": str(path), "bytes": None}],
        "question": prompt,
    }


def _ask(
    model: Any, processor: Any, batch: Batch, policy: PruningPolicy, spec: ModelSpec
) -> Answer:
    inputs = batch.to(model.device).inputs
    with prune(model, policy) as run, torch.inference_mode():
        run.identify([sample.id for sample in batch.samples])
        ids = model.generate(**inputs, max_new_tokens=spec.max_new_tokens, do_sample=False)
    if run.stats is None:
        raise RuntimeError("generate() ended without a prefill, so nothing was measured")
    new = ids[0, inputs["input_ids"].shape[1] :]
    reply = processor.decode(new, skip_special_tokens=True)
    sample = batch.samples[0]
    box = None
    if sample.task == GROUNDING:
        size = (sample.width, sample.height)
        box = parse_box(reply, spec.box_format, batch.input_sizes[0], size)
    return Answer(policy.name, reply, run.stats, box)


def _print(answers: list[Answer]) -> None:
    console = Console(highlight=False)
    for answer in answers:
        size = f"{answer.stats.kv_bytes / 1024:.0f} KiB of cache"
        console.print(f"{answer.policy}: {answer.reply!r}  ({answer.kept}; {size})")
