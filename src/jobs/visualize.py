"""`ivcprune job=visualize`: what a policy keeps of a picture of your own, and why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image
from PIL.Image import Image as PILImage
from rich.console import Console

from ..api import prune, resolve_layers
from ..configuration.build import build_decoding, build_model_spec, build_policy
from ..data.batch import Batch, Collate
from ..data.prompts import check_prompts
from ..data.sample import FEATURES
from ..models.blocks import WHOLE, Area
from ..models.decoding import Decoding
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..pruning.statistics import PrefillStatistics
from ..report.overlay import dim_dropped
from ..selectors import IVCSelector
from ..selectors.coordinates import coordinate_scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the model said under a policy."""

    policy: str
    reply: str
    stats: PrefillStatistics


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
    policy, spec, decoding = build_policy(cfg), build_model_spec(cfg), build_decoding(cfg)
    spec.check()
    resolve_layers(policy, spec)
    check_prompts(spec.prompts, [task], spec.name)
    processor = spec.load_processor()
    collate = Collate(family_named(spec.family), processor, spec.prompts)
    batch = collate([[_row(path, prompt, task)]])
    if batch.failures:
        raise ValueError(f"job.image={image!r} cannot be used: {batch.failures[0].message}")
    model = spec.load_model(attention=cfg.attention)
    answers = [
        _ask(model, processor, batch, chosen, decoding)
        for chosen in (PruningPolicy(name="none"), policy)
    ]
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{path.stem}-{policy.name}-{spec.name}.png"
    shown = batch.samples[0].images[0]
    area = family_named(spec.family).visible_area(processor, shown.size, 1)
    draw(shown, answers[-1].stats, prompt, picture, area)
    _print(answers)
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
    model: Any, processor: Any, batch: Batch, policy: PruningPolicy, decoding: Decoding
) -> Answer:
    inputs = batch.to(model.device).inputs
    sample_ids = [sample.id for sample in batch.samples]
    with prune(model, policy) as run, decoding.of(model, sample_ids), torch.inference_mode():
        run.identify(sample_ids)
        ids = model.generate(**inputs)
    if run.stats is None:
        raise RuntimeError("generate() ended without a prefill, so nothing was measured")
    new = ids[0, inputs["input_ids"].shape[1] :]
    return Answer(policy.name, processor.decode(new, skip_special_tokens=True), run.stats)


def _print(answers: list[Answer]) -> None:
    console = Console(highlight=False)
    for answer in answers:
        stats = answer.stats
        left = len(stats.kept[0]) + stats.n_added[0]
        console.print(
            f"{answer.policy}: {answer.reply!r}  "
            f"({left} of {stats.n_visual[0]} visual tokens at the end, "
            f"{100 * stats.average_tokens:.1f} % on average, "
            f"{stats.kv_bytes / 1024:.0f} KiB of cache)"
        )


def draw(
    image: PILImage, stats: PrefillStatistics, prompt: str, path: Path, area: Area = WHOLE
) -> None:
    """The picture, what is kept of it, and V(m) and U(m) with the coordinates (paper Fig. 4).

    Of a picture that is cut into tiles, the thumbnail is shown.

    Args:
        area: what the model sees of the picture.
    """
    before = stats.before
    if before is None:
        raise ValueError("the prompt held no visual tokens, so there is nothing to draw")
    row = next((i for i, r in enumerate(before.rows) if r.kind != "tile"), 0)
    grid, count = before.rows[row].grid, before.count[row]
    cells = before.cell[row, :count].cpu()
    chosen = IVCSelector().select(before)
    real, imaginary = coordinate_scores(before.positions, before.inv_freq)

    def on_grid(values: torch.Tensor) -> np.ndarray[Any, Any]:
        table = np.full(grid, np.nan)
        table[cells[:, 0], cells[:, 1]] = values[row, :count].float().cpu().numpy()
        return table

    kept = stats.kept_maps()[row].keep.numpy()
    shown = image.convert("RGB")
    shown.thumbnail((640, 640), Image.Resampling.LANCZOS)
    height = 3.1 * shown.height / shown.width + 0.7
    figure = Figure(figsize=(13, min(height, 7.0)), layout="constrained")
    panels = [figure.add_subplot(1, 4, number + 1) for number in range(4)]
    _show(panels[0], shown, prompt)
    _show(panels[1], dim_dropped(shown, kept, area), f"kept: {int(kept.sum())} of {kept.size}")
    left, top, right, bottom = area
    seen = (shown.height * (bottom - top)) / (shown.width * (right - left))
    for axes, values, name in ((panels[2], real, "V"), (panels[3], imaginary, "U")):
        axes.imshow(on_grid(values), cmap="viridis", aspect=seen * grid[1] / grid[0])
        lines, columns = np.nonzero(on_grid(chosen.float()) == 1)
        axes.plot(columns, lines, "s", ms=3, mfc="none", mec="#d55e00")
        _without_ticks(axes, f"{name}(m); squares: coordinates")
    figure.savefig(path, dpi=130)


def _show(axes: Axes, image: PILImage, title: str) -> None:
    axes.imshow(np.asarray(image))
    _without_ticks(axes, title)


def _without_ticks(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=9, wrap=True)
    axes.set_xticks([])
    axes.set_yticks([])
