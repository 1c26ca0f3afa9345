"""From a question to its result: loads the model, compares all candidates, and chooses."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.datamodule import PredictData
from ..evaluation.progress import progress_bar
from ..models.decoding import Decoding
from ..models.loading import ModelSpec
from ..runs.directory import RunDirectory
from .budgets import settled
from .candidates import Candidate, Draft, Refusal
from .choice import Interval, chosen_of, outcomes_of
from .comparison import Comparison
from .page import Result
from .probe import probe
from .rows import REFERENCE, Findings
from .target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """What is asked, checked before weights are loaded.

    Attributes:
        attention: how it is computed, see `ModelSpec.load_model`.
        shared: whether all candidates go through the data together.
        budgets: average tokens that are tried beside the largest within the target.
        refused: what is not tried.
        folder: of what is found.
        config: the whole configuration as YAML, which is noted there.
    """

    spec: ModelSpec
    data: PredictData
    decoding: Decoding
    device: torch.device
    attention: str
    shared: bool
    target: Target
    budgets: Sequence[float]
    drafts: Sequence[Draft]
    refused: Sequence[Refusal]
    folder: Path
    config: str


def answer(question: Question) -> Result:
    """Loads the model, and compares."""
    begin = time.process_time()
    RunDirectory(question.folder).write_text("config.yaml", question.config)
    findings = Findings(question.folder)
    model: Any = question.spec.load_model(attention=question.attention, device=question.device)
    prefills, sizes = probe(model, question.data)
    candidates: list[Candidate] = []
    refused = list(question.refused)
    for draft in question.drafts:
        found = settled(draft, question.target, question.budgets, prefills, sizes)
        if isinstance(found, Refusal):
            tell([found])
            refused.append(found)
        else:
            candidates += found
    if not candidates:
        raise ValueError(nothing_left(question.target, refused))
    comparison = Comparison(
        model,
        question.data.collate.processor,
        question.data.collate,
        question.decoding,
        prefills,
        findings,
        shared=question.shared,
    )
    try:
        _go_through(question.data, comparison, candidates, question.shared)
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
        task = bar.add_task("autotune", total=data.total * len(passes), rate=0.0)
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


def tell(refused: Sequence[Refusal]) -> None:
    for one in refused:
        log.warning("not tried: %s: %s", one.label, one.reason)


def nothing_left(target: Target, refused: Sequence[Refusal]) -> str:
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
