"""What a measurement leaves behind: figures with all that they depend on, tables and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs.environment import timing_environment
from .plots import draw_share, draw_time
from .result import Cell
from .tables import tables_of

EXPLANATION = """\
Times are medians over rounds in which all policies take turns; ratios are medians, with quartiles,
of vanilla's time through the policy's in the same round. The limit is the ratio of the FLOPs of the
language model's prefill by PyTorch's counter, without those of the selection; the causal limit
counts only the half of attention that a causal kernel computes. Bare is the same model without the
pruner, its layers fed as many tokens as the policy leaves them: what it misses of the limit is lost
in the kernels, what the policy misses of it ("of bare") in pruning. Pruning is all that the pruner
does: finding the tokens, selecting, compacting, masks."""


def facts_of(name: str, loaded: Any, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Model, machine, versions and protocol."""
    return {
        "model": _model_facts(name, loaded),
        "environment": timing_environment(loaded.device),
        "protocol": dict(protocol),
    }


def _model_facts(name: str, loaded: Any) -> dict[str, Any]:
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in loaded.parameters()),
        "layers": loaded.config.get_text_config().num_hidden_layers,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "attention": loaded.config._attn_implementation,
    }


def write(folder: Path, facts: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """`efficiency.json` with every reading, and `README.md` with the tables."""
    content = {**facts, "cells": [cell.as_json() for cell in cells]}
    (folder / "efficiency.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    about = "\n".join(
        f"- {part}: " + ", ".join(f"{name} {value}" for name, value in facts[part].items())
        for part in ("model", "environment", "protocol")
    )
    tables = "\n".join(grid.markdown() for cell in cells for grid in tables_of(cell))
    plots = "\n".join(
        f"![{kind}]({kind}_{ending})" for ending in _endings(cells) for kind in ("time", "share")
    )
    parts = [f"# Efficiency of `{facts['model']['name']}`", about, EXPLANATION, tables, plots]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def draw(folder: Path, cells: Sequence[Cell], name: str) -> None:
    """Two plots for each batch size and number of new tokens."""
    for ending, some in _endings(cells).items():
        title = f"{name}, batch {some[0].batch}, {some[0].text_tokens} text tokens"
        draw_time(some, title).savefig(folder / f"time_{ending}", dpi=150)
        draw_share(some, title).savefig(folder / f"share_{ending}", dpi=150)


def _endings(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells of each plot, by ascending size, by how the plot's file name ends."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.visual_tokens):
        groups.setdefault(f"batch{cell.batch}_new{cell.new_tokens}.png", []).append(cell)
    return groups
