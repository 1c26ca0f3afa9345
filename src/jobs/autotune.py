"""`job=autotune`: layer, budget and method for a target, by agreement with the unpruned model."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.table import Table

from ..autotune.candidates import (
    Candidate,
    Draft,
    Refusal,
    check_before_loading,
    drafts_of,
    settled,
)
from ..autotune.choice import Interval, chosen_of, outcomes_of
from ..autotune.comparison import Comparison
from ..autotune.page import COLUMNS, Result, cells_of, write
from ..autotune.probe import probe
from ..autotune.rows import REFERENCE, Findings
from ..autotune.target import Target
from ..checks import check_each_at_least, check_share
from ..configuration.build import (
    build_decoding,
    build_model_spec,
    build_source,
    build_trainer,
)
from ..configuration.waiting import SHARED
from ..data.datamodule import PredictData
from ..data.prompts import QUESTION, check_prompts, for_benchmark
from ..data.unlabelled import AS_IT_STANDS, Unlabelled
from ..evaluation.preparation import settle_process
from ..evaluation.progress import progress_bar
from ..evaluation.silence import silence_libraries
from ..models.decoding import Decoding
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..report.console import table_console
from ..runs.directory import RunDirectory
from ..runs.key import run_key
from .select_layer import of_subset

log = logging.getLogger(__name__)

NAME = "autotune"
PRINTED = ("Candidate", "Average tokens", "Prefill", "KL (10⁻³)", "Same answers", "Target")
"""Columns on the terminal; the page has all."""


@dataclass(frozen=True)
class Question:
    """What is asked, checked before weights are loaded.

    Attributes:
        folder: of what is found.
        refused: what is not tried.
    """

    spec: ModelSpec
    data: PredictData
    decoding: Decoding
    device: torch.device
    target: Target
    drafts: Sequence[Draft]
    refused: Sequence[Refusal]
    folder: Path


def run(
    cfg: DictConfig,
    target: Mapping[str, Any],
    policies: Sequence[str],
    output_dir: str,
    layers: Sequence[int] | None = None,
    budgets: Sequence[float] = (),
    limit: int = 100,
    subset_seed: int = 0,
) -> None:
    """Compares every candidate with the unpruned model; writes a page, JSON, a plot and a policy.

    What is found lies in a folder of its own for each question (model, data and all else but the
    candidates), sample by sample: the same command goes on where it was stopped, and other
    candidates or another target compute what is new alone. The results for a target lie below it.

    Args:
        cfg: the root configuration; `model`, `data`, `batch_size` and `sweep` say what runs.
        target: see `Target`.
        policies: names or files, with the published settings of the model's family.
        output_dir: where the folder goes.
        layers: 0-based decoder layers; None = all where a method finds what it asks for.
        budgets: further average tokens to try.
        limit, subset_seed: the subset, where `data.limit` and `data.subset_seed` are null.

    Raises:
        ValueError, FileNotFoundError: something in `cfg` or in these does not fit, or the target
            cannot be reached; before weights are loaded where that is certain by then.
    """
    question = _question(
        cfg, Target.of(target), policies, output_dir, layers, budgets, limit, subset_seed
    )
    with RunDirectory(question.folder).lock(0):
        result = _answer(cfg, question, budgets)
        folder = question.folder / question.target.file_name
        file = write(folder, result)
    _print(result)
    log.info("results: %s", folder)
    if file is None:
        raise ValueError(
            f"{result.verdict} {folder / 'autotune.html'} has what each candidate costs: "
            "raise job.target, or try other job.policies or job.layers"
        )
    print(f"use it: policy={file}")


def _question(
    cfg: DictConfig,
    target: Target,
    policies: Sequence[str],
    output_dir: str,
    layers: Sequence[int] | None,
    budgets: Sequence[float],
    limit: int,
    subset_seed: int,
) -> Question:
    silence_libraries()
    cfg = of_subset(cfg, limit, subset_seed)
    _check_lists(policies, layers, budgets)
    settle_process(cfg)
    spec, decoding = build_model_spec(cfg), build_decoding(cfg)
    if decoding.do_sample:
        raise ValueError(
            "generation.do_sample is True, but policies are compared on the likeliest answer: "
            "leave it out"
        )
    spec.check()
    _check_depth(layers, spec)
    drafts, refused = drafts_of(policies, layers, spec)
    drafts, missed = _reachable(drafts, target)
    trainer = build_trainer(cfg, [])
    if trainer.world_size > 1:
        raise ValueError("job=autotune uses one device: choose trainer=gpu or trainer=cpu")
    device = trainer.strategy.root_device
    spec.check_attention(cfg.attention, device)
    _tell([*refused, *missed])
    if not drafts:
        raise ValueError(_nothing_left(target, [*refused, *missed]))
    data = _data(cfg, spec)
    folder = Path(output_dir).expanduser() / _key(cfg, spec)
    return Question(spec, data, decoding, device, target, drafts, [*refused, *missed], folder)


def _check_lists(
    policies: Sequence[str], layers: Sequence[int] | None, budgets: Sequence[float]
) -> None:
    named = isinstance(policies, list | tuple) and all(isinstance(name, str) for name in policies)
    if not named or not policies:
        raise ValueError(
            f"job.policies is {policies!r}: give a list of names, for example [ivc_prune]"
        )
    if layers is not None:
        check_each_at_least("job.layers", layers, 0)
    if not isinstance(budgets, list | tuple):
        raise ValueError(f"job.budgets is {budgets!r}: give a list, for example [0.25, 0.33]")
    for budget in budgets:
        check_share("job.budgets", budget)


def _check_depth(layers: Sequence[int] | None, spec: ModelSpec) -> None:
    depth = spec.config().get_text_config().num_hidden_layers
    if layers is not None and max(layers) >= depth:
        raise ValueError(
            f"job.layers has {max(layers)}, but model {spec.name!r} has {depth} decoder layers: "
            f"choose 0 to {depth - 1}"
        )


def _reachable(drafts: Sequence[Draft], target: Target) -> tuple[list[Draft], list[Refusal]]:
    checked = [(draft, check_before_loading(draft, target)) for draft in drafts]
    possible = [draft for draft, refusal in checked if refusal is None]
    return possible, [refusal for _, refusal in checked if refusal is not None]


def _tell(refused: Sequence[Refusal]) -> None:
    for one in refused:
        log.warning("not tried: %s: %s", one.label, one.reason)


def _nothing_left(target: Target, refused: Sequence[Refusal]) -> str:
    near = [
        f"{name} {100 * min(found):.1f} %"
        for name in ("kv", "prefill")
        if getattr(target, name) is not None
        and (found := [one.nearest[name] for one in refused if name in one.nearest])
    ]
    nearest = f"; the nearest that any can come to is {' and '.join(near)}" if near else ""
    return (
        f"job.target ({target}) is within no candidate's reach{nearest}: raise it, or try other "
        f"job.policies or job.layers; the first reason is that of {refused[0].label}: "
        f"{refused[0].reason}"
    )


def _data(cfg: DictConfig, spec: ModelSpec) -> PredictData:
    source = Unlabelled(build_source(cfg))
    prompts = for_benchmark({AS_IT_STANDS: QUESTION, **spec.prompts}, source.name)
    data = PredictData(
        source=source,
        family=family_named(spec.family),
        processor=spec.load_processor(),
        prompts=prompts,
        batch_size=cfg.batch_size,
        cache_dir=Path(cfg.paths.cache_dir).expanduser(),
        limit=cfg.data.limit,
        subset_seed=cfg.data.subset_seed,
        num_workers=cfg.num_workers,
    )
    data.setup()
    check_prompts(prompts, data.tasks, spec.name)
    return data


def _key(cfg: DictConfig, spec: ModelSpec) -> str:
    """That of a run, but for its policy: candidates have keys of their own."""
    asked = cfg.copy()
    OmegaConf.update(asked, "policy", {"name": NAME}, merge=False, force_add=True)
    return run_key(asked, spec.fingerprint())


def _answer(cfg: DictConfig, question: Question, budgets: Sequence[float]) -> Result:
    """Loads the model, and compares."""
    begin = time.process_time()
    RunDirectory(question.folder).write_text("config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    findings = Findings(question.folder)
    model: Any = question.spec.load_model(attention=cfg.attention, device=question.device)
    prefills, sizes = probe(model, question.data)
    candidates: list[Candidate] = []
    refused = list(question.refused)
    for draft in question.drafts:
        found = settled(draft, question.target, budgets, prefills, sizes)
        if isinstance(found, Refusal):
            _tell([found])
            refused.append(found)
        else:
            candidates += found
    if not candidates:
        raise ValueError(_nothing_left(question.target, refused))
    comparison = Comparison(
        model,
        question.data.collate.processor,
        question.data.collate,
        question.decoding,
        prefills,
        findings,
        shared=cfg.sweep == SHARED,
    )
    try:
        _go_through(question.data, comparison, candidates, cfg.sweep == SHARED)
    finally:
        findings.close()
    seconds = time.process_time() - begin
    return _result(question, candidates, comparison, findings, refused, seconds)


def _go_through(
    data: PredictData, comparison: Comparison, candidates: Sequence[Candidate], shared: bool
) -> None:
    """All candidates in one pass over the data; else one pass for each."""
    passes = [list(candidates)] if shared else [[candidate] for candidate in candidates]
    with progress_bar() as bar:
        task = bar.add_task(NAME, total=data.total * len(passes), rate=0.0)
        start = time.monotonic()
        for together in passes:
            for batch in data.predict_dataloader():
                comparison.compare(batch.to(comparison.device), together)
                bar.advance(task, len(batch.samples) + len(batch.failures))
                done = bar.tasks[task].completed
                bar.update(task, rate=done / max(time.monotonic() - start, 1e-9))


def _result(
    question: Question,
    candidates: Sequence[Candidate],
    comparison: Comparison,
    findings: Findings,
    refused: Sequence[Refusal],
    seconds: float,
) -> Result:
    """Of the samples that were asked, and of the candidates that were compared on all of them."""
    asked = [name for name in question.data.ids if name not in comparison.unread]
    keys = [REFERENCE, *(candidate.key for candidate in candidates)]
    rows = findings.of(keys, asked)
    whole = [one for one in candidates if len(rows[one.key]) == len(asked) and asked]
    if not whole:
        reasons = [*comparison.failed.items(), *comparison.unread.items()]
        raise ValueError(
            f"no candidate was compared on all samples; the first reason is that of "
            f"{reasons[0][0]}: {reasons[0][1]}"
        )
    outcomes = outcomes_of(whole, rows, question.target)
    return Result(
        model=question.spec.name,
        data=question.data.source.name,
        target=question.target,
        outcomes=outcomes,
        chosen=chosen_of(outcomes),
        noise=Interval.of([row.kl for row in rows[REFERENCE]]),
        refused=refused,
        failed=comparison.failed,
        unread=comparison.unread,
        ids=asked,
        seconds=seconds,
    )


def _print(result: Result) -> None:
    """The best candidates in a table."""
    title = f"{result.model} on {len(result.ids)} samples of {result.data}, labels not read"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in PRINTED:
        table.add_column(name, justify="left" if name == COLUMNS[0] else "right", no_wrap=True)
    for one in result.outcomes:
        cells = dict(zip(COLUMNS, cells_of(one), strict=True))
        printed = [cells[name] for name in PRINTED]
        table.add_row(*printed, style="bold" if one is result.chosen else None)
    console = table_console()
    console.print(table)
    console.print(result.verdict, highlight=False, markup=False, soft_wrap=True)
