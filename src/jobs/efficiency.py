"""`ivcprune job=efficiency`: what pruning saves, against vanilla and against the limit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from ..api import bind
from ..checks import check_at_least, check_each_at_least
from ..efficiency.measure import Count, Reading, count, take_turns
from ..efficiency.record import draw, facts_of, write
from ..efficiency.result import Cell, PolicyResult
from ..efficiency.subjects import Subject
from ..efficiency.tables import tables_of
from ..efficiency.variants import (
    Variant,
    bound_layers,
    loaded_variants,
    renamed,
    variants_of,
)
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..report.console import table_console
from ..runs.read import VANILLA

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig,
    model: Subject,
    output_dir: str,
    policies: Sequence[str],
    visual_tokens: Sequence[int],
    text_tokens: int,
    batch_sizes: Sequence[int],
    new_tokens: Sequence[int],
    warm_up: int,
    rounds: int,
    seconds: float,
    bare: bool = True,
    average_tokens: Sequence[float] = (),
    ivc: Sequence[bool] = (False,),
) -> None:
    """Measures every size, prints tables, and writes `efficiency.json`, `README.md` and plots.

    Args:
        cfg: the root configuration; `attention` and `threads` are taken from it.
        model: what is measured.
        output_dir: where the files go; they are written anew after every size.
        policies: names, beside vanilla.
        visual_tokens, text_tokens: of a sample.
        batch_sizes: samples.
        new_tokens: generated tokens; 1 is the prefill alone.
        warm_up, rounds, seconds: see `measure.take_turns`.
        bare: also measure the bare model on the lengths of each policy.
        average_tokens: each policy is brought to each of these shares; empty: as it is.
        ivc: each policy without and with the coordinates. What a policy refuses is named and left
            out.

    Raises:
        ValueError: a number or the name of a policy does not fit (before the model is made), or
            one of its stages.
    """
    _check_numbers(visual_tokens, batch_sizes, new_tokens, text_tokens, warm_up, rounds)
    variants = [Variant(VANILLA), *variants_of(policies, average_tokens, ivc)]
    asked = loaded_variants(variants, model.family)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    loaded = model.load(cfg.attention)
    layers = bound_layers(asked, partial(_layers, model=model, loaded=loaded))
    used = [renamed(variant, asked[variant]) for variant in layers]
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    protocol = {"warm_up": warm_up, "rounds": rounds, "seconds": seconds}
    facts = facts_of(model.name, loaded, protocol)
    cells: list[Cell] = []
    console = table_console()
    for n_visual, batch, n_new in product(visual_tokens, batch_sizes, new_tokens):
        log.info("%d visual tokens, batch %d, %d new tokens", n_visual, batch, n_new)
        inputs = _on_device(model.inputs(n_visual, text_tokens, batch), loaded)
        counts = [count(loaded, inputs, policy) for policy in used]
        lengths = {p.name: c.lengths for p, c in zip(used, counts, strict=True) if p.stages}
        taken = take_turns(
            loaded, inputs, used, n_new, warm_up, rounds, seconds, lengths if bare else None
        )
        cells.append(_cell(inputs, n_new, layers, asked, counts, taken))
        for grid in tables_of(cells[-1]):
            console.print(grid.rich())
        write(folder, facts, cells)
        draw(folder, cells, model.name)
    log.info("results: %s", folder)


def _cell(
    inputs: Mapping[str, Any],
    new_tokens: int,
    layers: Mapping[Variant, dict[str, int]],
    policies: Mapping[Variant, PruningPolicy],
    counts: Sequence[Count],
    taken: Mapping[str, Sequence[Reading]],
) -> Cell:
    """All that was measured on these inputs; layers, counts and readings in the same order."""
    batch, length = inputs["input_ids"].shape
    results = {
        name: PolicyResult(
            stages, counted, readings, policies[variant].name, variant.average_tokens
        )
        for (name, readings), (variant, stages), counted in zip(
            taken.items(), layers.items(), counts, strict=True
        )
    }
    n_visual = counts[0].n_visual
    return Cell(n_visual, length - n_visual, batch, new_tokens, results)


def _check_numbers(
    visual_tokens: Sequence[int],
    batch_sizes: Sequence[int],
    new_tokens: Sequence[int],
    text_tokens: int,
    warm_up: int,
    rounds: int,
) -> None:
    lists = {
        "job.visual_tokens": visual_tokens,
        "job.batch_sizes": batch_sizes,
        "job.new_tokens": new_tokens,
    }
    for name, values in lists.items():
        check_each_at_least(name, values, 1)
    check_at_least("job.text_tokens", text_tokens, 1)
    check_at_least("job.warm_up", warm_up, 0)
    check_at_least("job.rounds", rounds, 1)


def _layers(policy: PruningPolicy, model: Subject, loaded: Any) -> dict[str, int]:
    return bind(policy, family_named(model.family), loaded.config).layers


def _on_device(inputs: dict[str, Any], model: Any) -> dict[str, Any]:
    """On the model's device, floats in its dtype."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
