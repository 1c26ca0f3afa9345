"""Finished runs, read from their run directories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from ..configuration.swaps import named_by_swaps
from ..metrics.aggregate import Summary
from .fields import read_json
from .samples import read_table
from .schema import Environment, Judgement, Metrics, Reading

TRIAL = "TRIAL of the wiring: bundled model, built-in samples, no result of the models named"
"""What reports say of runs under `smoke=true`."""
SELECT_LAYER = "select_layer"
"""Folder in an experiment's for the runs that a layer was chosen by."""
VANILLA = "none"
"""Name of the policy that prunes nothing."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """A score with its 95 % interval, in percent or in its own unit (None where n = 0)."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Figures:
    """Scores, and scores by category."""

    scores: Mapping[str, Score]
    categories: Mapping[str, Mapping[str, Score]]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: its run directory, named by the run key.
        policy: its name; of one whose selector was swapped, see `named_by_swaps`.
        n: number of samples, failed ones included.
        errors: how many of them failed.
        average_tokens: measured share of the visual tokens in the KV cache, in [0, 1]; None
            where no sample has any.
        kv_bytes: size of the KV cache after the prefill, mean over samples; None where all failed.
        scores: by task, and by metric of the benchmark where it has its own.
        headline: names of the scores that comparisons show.
        units: of the scores that are not in percent.
        categories: scores by task or metric of the benchmark, then by category.
        published: the same scores and categories to the letter of the published evaluation; None in
            runs that are older than the two readings.
        unread: replies that nobody could read; None likewise.
        reads_as_published: whether scores, categories and samples are those of `published`.
        judge: what a judge was asked; None without one.
        config: the resolved configuration.
        environment: what the run was computed with.
        layers: at which decoder layer each stage acted.
        overrides: what the command line set.
        seconds: spent on predicting; None where that was not noted.
    """

    folder: Path
    policy: str
    model: str
    data: str
    n: int
    errors: int
    average_tokens: float | None
    kv_bytes: float | None
    scores: dict[str, Score]
    config: dict[str, Any]
    environment: Environment
    headline: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    judge: Judgement | None = None
    categories: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    published: Figures | None = None
    unread: int | None = None
    reads_as_published: bool = False
    seconds: float | None = None

    def as_published(self) -> Run:
        """The run with the figures and rows that tables of the paper compare with.

        A run that is older than the two readings stays as it is.
        """
        if self.published is None:
            return self
        scores, categories = dict(self.published.scores), self.published.categories
        return replace(self, scores=scores, categories=categories, reads_as_published=True)

    @property
    def shown(self) -> dict[str, Score]:
        """The scores that comparisons show: the headline ones, else all."""
        names = self.headline or tuple(self.scores)
        return {name: self.scores[name] for name in names if name in self.scores}

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> float:
        """When `metrics.json` was written, in seconds since the epoch."""
        return (self.folder / "metrics.json").stat().st_mtime

    @property
    def is_vanilla(self) -> bool:
        return self.policy == VANILLA

    @property
    def is_trial(self) -> bool:
        """Whether it only tries the wiring: the bundled model or built-in samples, renamed."""
        model, data = self.config.get("model") or {}, self.config.get("data") or {}
        is_stand_in = model.get("path") == "bundled:tiny" and self.model != "tiny"
        is_built_in = str(data.get("_target_", "")).endswith("ScenesSource")
        return is_stand_in or (is_built_in and self.data != "scenes")

    def samples(self) -> list[Row]:
        """All rows of `samples.parquet`."""
        rows: list[Row] = read_table(self.folder)
        if not self.reads_as_published:
            return rows
        return [
            row | {"score": row["published_score"], "parsed": row["published_parsed"]}
            for row in rows
        ]

    def token_maps(self) -> dict[str, Row]:
        """By sample id, in dataset order: the entries of `tokens.json`; empty without that file."""
        path = self.folder / "tokens.json"
        entries = json.loads(path.read_text("utf-8")) if path.exists() else []
        return {entry["sample_id"]: entry for entry in entries}


def load_run(folder: Path) -> Run:
    """The finished run in `folder`.

    Raises:
        ValueError: a file is not what this version or an older one writes; names file and field.
    """
    metrics = read_metrics(folder)
    config = _read_config(folder / "config.yaml")
    overrides = _read_lines(folder / "overrides.txt")
    environment = folder / "env.json"
    return Run(
        folder=folder,
        policy=_name(metrics["policy"], config, overrides),
        model=metrics["model"],
        data=metrics["data"],
        n=metrics["n"],
        errors=metrics["errors"],
        average_tokens=metrics["average_tokens"],
        kv_bytes=metrics["kv_bytes_per_sample"],
        scores=_scores(metrics["scores"]),
        config=config,
        environment=read_json(environment, Environment) if environment.exists() else {},
        headline=tuple(metrics.get("headline", ())),
        units=metrics.get("units") or {},
        judge=metrics.get("judge"),
        categories=scores_by_category(metrics.get("categories") or {}),
        layers=metrics.get("layers") or {},
        overrides=overrides,
        published=_published(metrics.get("published")),
        unread=metrics.get("unread"),
        seconds=metrics.get("seconds"),
    )


def read_metrics(folder: Path) -> Metrics:
    """`metrics.json` of the run in `folder`.

    Raises:
        ValueError: it is not what this version or an older one writes; names the field.
    """
    path = folder / "metrics.json"
    try:
        return read_json(path, Metrics)
    except ValueError as error:
        raise ValueError(
            f"{path} is not a valid metrics file ({error.__cause__}): delete this run directory "
            "and run the command again"
        ) from error


def _name(policy: str, config: Mapping[str, Any], overrides: tuple[str, ...]) -> str:
    """The policy's name, with the selectors that were put into it: older runs lack these in it."""
    configured = config.get("policy") or {}
    if policy != configured.get("name"):
        return policy  # the run knew better than its configuration
    return named_by_swaps(policy, configured.get("stages") or (), overrides)


def scores_by_category(
    categories: Mapping[str, Mapping[str, Summary]],
) -> dict[str, dict[str, Score]]:
    """`categories` of `metrics.json` as scores."""
    return {name: _scores(of_metric) for name, of_metric in categories.items()}


def _scores(figures: Mapping[str, Summary]) -> dict[str, Score]:
    return {name: Score(**score) for name, score in figures.items()}


def _published(figures: Reading | None) -> Figures | None:
    if figures is None:
        return None
    return Figures(_scores(figures["scores"]), scores_by_category(figures["categories"]))


def load_runs(experiment: Path) -> list[Run]:
    """All finished runs directly under `experiment`, in the order of their keys."""
    return [load_run(path.parent) for path in sorted(experiment.glob("*/metrics.json"))]


def load_layer_runs(experiment: Path) -> list[Run]:
    """All finished runs of `job=select_layer` in `experiment`, which are none of its results."""
    folders = sorted((experiment / SELECT_LAYER).glob("*"))
    return [run for folder in folders for run in load_runs(folder)]


def unfinished_runs(experiment: Path) -> list[str]:
    """Keys of the runs under `experiment` that have started and not finished."""
    started = sorted(path.parent for path in experiment.glob("*/config.yaml"))
    return [folder.name for folder in started if not (folder / "metrics.json").exists()]


def _read_lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text("utf-8").splitlines()) if path.exists() else ()


def _read_config(path: Path) -> dict[str, Any]:
    """The saved configuration; its interpolations were resolved when it was written."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    except YAMLError as error:
        raise ValueError(f"{path} is no YAML ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no mapping")
    return {str(name): value for name, value in config.items()}
