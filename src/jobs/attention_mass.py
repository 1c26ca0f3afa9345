"""`ivcprune job=attention_mass`: how much attention the coordinates draw, against controls."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from ..analysis.attention_mass import Mass, check_sets, probing_policy
from ..analysis.plot import draw_densities
from ..api import prune
from ..evaluation.preparation import prepare
from ..selectors import Selector

log = logging.getLogger(__name__)

RESAMPLES = 2000
UNIT = "average visual token of the sample = 1"
"""Of densities; `mass`, `visual` and `size` are shares in [0, 1]."""


@dataclass(frozen=True)
class Summary:
    """Mean over samples, with the 95 % bootstrap interval of the density."""

    layer: int
    asking: str
    tokens: str
    n: int
    size: float
    mass: float
    visual: float
    density: float
    low: float
    high: float


def run(cfg: DictConfig, sets: Mapping[str, Selector], output_dir: str) -> None:
    """Measures, prints a table, writes `attention_mass.json` and `attention_mass.png`.

    Args:
        cfg: the root configuration; `model`, `data` and `batch_size` say what runs.
        sets: the token sets to compare, by name.
        output_dir: where the files go.

    Raises:
        TypeError, ValueError: a set is no selector by position, or the configuration cannot work.
    """
    check_sets(sets)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    summaries = summarise(measure(cfg, sets))
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(summary) for summary in summaries], indent=1)
    (folder / "attention_mass.json").write_text(content + "\n", "utf-8")
    draw_densities(summaries, folder / "attention_mass.png")
    _print(summaries)
    log.info("results: %s", folder)


def measure(cfg: DictConfig, sets: Mapping[str, Selector]) -> list[Mass]:
    """Runs the prompts of all samples once, without generating."""
    plan = prepare(cfg)
    model = plan.spec.load_model(attention=cfg.attention)
    depth = model.config.get_text_config().num_hidden_layers
    policy, found = probing_policy(sets, depth)
    with prune(model, policy) as run, torch.inference_mode():
        for batch in plan.data.predict_dataloader():
            if batch.samples:
                run.identify([sample.id for sample in batch.samples])
                model(**batch.to(model.device).inputs)
    return found


def summarise(masses: Sequence[Mass], seed: int = 0) -> list[Summary]:
    """One summary for each layer, asking tokens and set; samples are resampled together."""
    groups: dict[tuple[int, str, str], list[Mass]] = defaultdict(list)
    for mass in masses:
        groups[mass.layer, mass.asking, mass.tokens].append(mass)
    summaries = []
    for (layer, asking, tokens), group in groups.items():
        density = np.array([mass.density for mass in group])
        draws = np.random.default_rng(seed).integers(len(group), size=(RESAMPLES, len(group)))
        low, high = np.quantile(density[draws].mean(axis=1), [0.025, 0.975])
        summaries.append(
            Summary(
                layer=layer,
                asking=asking,
                tokens=tokens,
                n=len(group),
                size=_mean(group, "size"),
                mass=_mean(group, "mass"),
                visual=_mean(group, "visual"),
                density=float(density.mean()),
                low=float(low),
                high=float(high),
            )
        )
    return summaries


def _mean(group: Sequence[Mass], name: str) -> float:
    return float(np.mean([getattr(mass, name) for mass in group]))


def _print(summaries: Sequence[Summary]) -> None:
    """Attention per token relative to the average visual token, a row per layer."""
    names = list(dict.fromkeys(summary.tokens for summary in summaries))
    for asking in dict.fromkeys(summary.asking for summary in summaries):
        chosen = [summary for summary in summaries if summary.asking == asking]
        title = f"attention per token, {UNIT}; asked by: {asking}"
        table = Table(title=title, title_justify="left")
        table.add_column("layer", justify="right")
        table.add_column("attention to all visual tokens", justify="right")
        for name in names:
            table.add_column(name, justify="right")
        for layer in dict.fromkeys(summary.layer for summary in chosen):
            row: dict[str, Any] = {s.tokens: s for s in chosen if s.layer == layer}
            cells = [f"{row[n].density:.2f} ({row[n].low:.2f}-{row[n].high:.2f})" for n in names]
            table.add_row(str(layer), f"{100 * row[names[0]].visual:.1f} %", *cells)
        Console(width=max(Console().width, 100)).print(table)
