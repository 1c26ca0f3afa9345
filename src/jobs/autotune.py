"""`job=autotune`: layer, budget and method for a target, by agreement with the unpruned model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.table import Table

from ..autotune.budgets import check_before_loading
from ..autotune.candidates import Draft, Refusal, drafts_of
from ..autotune.page import COLUMNS, Result, cells_of, write
from ..autotune.target import Target
from ..autotune.tuning import Question, answer, nothing_left, tell
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
from ..evaluation.silence import silence_libraries
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
        cfg: the root configuration; `model`, `data`, `ivc`, `batch_size` and `sweep` say what runs.
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
    silence_libraries()
    _check_no_policy()
    asked = Target.of(target)
    cfg = of_subset(cfg, limit, subset_seed)
    question = _question(cfg, asked, policies, output_dir, layers, budgets)
    with RunDirectory(question.folder).lock(0):
        result = answer(question)
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
) -> Question:
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
    drafts, refused = drafts_of(policies, layers, spec, cfg.ivc)
    drafts, missed = _reachable(drafts, target)
    trainer = build_trainer(cfg, [])
    if trainer.world_size > 1:
        raise ValueError("job=autotune uses one device: choose trainer=gpu or trainer=cpu")
    device = trainer.strategy.root_device
    spec.check_attention(cfg.attention, device)
    tell([*refused, *missed])
    if not drafts:
        raise ValueError(nothing_left(target, [*refused, *missed]))
    data = _data(cfg, spec)
    folder = Path(output_dir).expanduser() / _key(cfg, spec)
    return Question(
        spec=spec,
        data=data,
        decoding=decoding,
        device=device,
        attention=cfg.attention,
        shared=cfg.sweep == SHARED,
        target=target,
        budgets=budgets,
        drafts=drafts,
        refused=[*refused, *missed],
        folder=folder,
        config=OmegaConf.to_yaml(cfg, resolve=True),
    )


def _check_no_policy() -> None:
    """A policy that is set would be taken for one that is tried."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for override in given:
        setting = override.lstrip("+~").partition("=")[0]
        if setting.partition("@")[2].startswith("policy.") or setting.split(".")[0] == "policy":
            raise ValueError(
                f"{override} has no part in job=autotune, which tries job.policies: leave it out, "
                "and name what to try there, for example job.policies=[fastv]; a file of your own "
                "may hold any settings"
            )


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
