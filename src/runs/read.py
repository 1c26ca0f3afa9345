"""Finished runs, read from their run directories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from omegaconf import OmegaConf

from .swaps import named_by_swaps

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
        judge: what a judge was asked, as in `metrics.json`; None without one.
        config: the resolved configuration.
        environment: `env.json`, what the run was computed with.
        layers: at which decoder layer each stage acted.
        overrides: what the command line set.
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
    environment: dict[str, Any]
    headline: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    judge: Mapping[str, Any] | None = None
    categories: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    published: Figures | None = None
    unread: int | None = None
    reads_as_published: bool = False

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
        rows: list[Row] = pq.read_table(self.folder / "samples.parquet").to_pylist()
        if not self.reads_as_published:
            return rows
        return [
            row | {"score": row["published_score"], "parsed": row["published_parsed"]}
            for row in rows
        ]

    def token_maps(self) -> dict[str, Row]:
        """By sample id, in dataset order: the entries of `tokens.json`; empty without that file."""
        entries = _read_json(self.folder / "tokens.json", default=[])
        return {entry["sample_id"]: entry for entry in entries}


def load_run(folder: Path) -> Run:
    """The finished run in `folder`.

    Raises:
        ValueError: `metrics.json` is not what this version writes.
    """
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text())
        config = _read_config(folder / "config.yaml")
        overrides = _read_lines(folder / "overrides.txt")
        return Run(
            folder=folder,
            policy=named_by_swaps(metrics["policy"], config, overrides),
            model=metrics["model"],
            data=metrics["data"],
            n=metrics["n"],
            errors=metrics["errors"],
            average_tokens=metrics["average_tokens"],
            kv_bytes=metrics["kv_bytes_per_sample"],
            scores=_scores(metrics["scores"]),
            config=config,
            environment=_read_json(folder / "env.json", default={}),
            headline=tuple(metrics.get("headline", ())),
            units=metrics.get("units") or {},
            judge=metrics.get("judge"),
            categories=scores_by_category(metrics.get("categories") or {}),
            layers=metrics.get("layers") or {},
            overrides=overrides,
            published=_published(metrics.get("published")),
            unread=metrics.get("unread"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a valid metrics file ({type(error).__name__}: {error}): "
            "delete this run directory and run the command again"
        ) from error


def scores_by_category(
    categories: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Score]]:
    """`categories` of `metrics.json` as scores."""
    return {name: _scores(of_metric) for name, of_metric in categories.items()}


def _scores(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Score]:
    return {name: Score(**score) for name, score in figures.items()}


def _published(figures: Mapping[str, Any] | None) -> Figures | None:
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


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text("utf-8")) if path.exists() else default


def _read_lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text("utf-8").splitlines()) if path.exists() else ()


def _read_config(path: Path) -> dict[str, Any]:
    """The saved configuration; its interpolations were resolved when it was written."""
    config = OmegaConf.to_container(OmegaConf.load(path)) if path.exists() else {}
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} holds no mapping")
    return {str(name): value for name, value in config.items()}
