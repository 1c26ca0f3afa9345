"""`ivcprune job=attention_mass`: how much attention the coordinates draw, against controls."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from ..analysis.attention_mass import Mass, check_sets, probing_policy
from ..analysis.densities import Summary, draw_densities, summarise
from ..api import prune, readable_layers
from ..evaluation.preparation import Plan, prepare
from ..models.registry import family_of_model
from ..selectors import Selector

log = logging.getLogger(__name__)

UNIT = "average visual token of the sample = 1"
"""Of densities; `mass`, `visual` and `size` are shares in [0, 1]."""


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
    summaries = summarise(measure(prepare(cfg), sets))
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps([asdict(summary) for summary in summaries], indent=1)
    (folder / "attention_mass.json").write_text(content + "\n", "utf-8")
    draw_densities(summaries, folder / "attention_mass.png")
    _print(summaries)
    log.info("results: %s", folder)


def measure(plan: Plan, sets: Mapping[str, Selector]) -> list[Mass]:
    """Runs the prompts of all samples once, without generating."""
    model = plan.spec.load_model(attention=plan.attention)
    layers = readable_layers(family_of_model(model), model.config)
    policy, found = probing_policy(sets, layers)
    with prune(model, policy) as run, torch.inference_mode():
        for batch in plan.data.predict_dataloader():
            if batch.samples:
                run.identify([sample.id for sample in batch.samples])
                model(**batch.to(model.device).inputs)
    return found


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
