"""What the files of a run hold, for those who write them and those who read them.

`samples/rank*.jsonl` and `samples.parquet`: `SampleRow`; `metrics.json`: `Metrics`; `env.json`:
`Environment`; `status.json`: `Status`. Fields that older runs lack are those with a default, or of
the classes with `total=False`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from ..metrics.aggregate import Summary

State = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is; `status.json`.

    Attributes:
        done: samples with a row, failed ones included.
        errors: how many of them failed.
        started, updated: ISO 8601, UTC; `started` is of the first start.
        seconds: spent on predicting, over all starts.
        samples_per_second: of the latest start.
    """

    state: State
    done: int
    total: int
    errors: int
    started: str
    updated: str
    seconds: float = 0.0
    samples_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What one sample came to; a row of `samples/rank*.jsonl` and of `samples.parquet`.

    Attributes:
        asked: see `ivcprune.data.asked`; "" where it is not known.
        parsed: what was read from `prediction`: a box as JSON, or the normalised answer; "" where
            it is unread.
        target: the true box as JSON, or the accepted answers separated by " | ".
        score: in [0, 1]; None where the sample failed, or only a judge could have told.
        n_visual, n_kept: visual tokens before pruning, and after the last stage.
        kept_by_stage: JSON, visual tokens left after each stage by its name.
        average_tokens: share of the visual tokens in the KV cache, mean over layers.
        kv_bytes: size of this sample's part of the KV cache after the prefill.
        settled: False where the prediction is unread.
        published_parsed, published_score, published_settled: the same to the letter of the
            published evaluation.
        judge: name of the judge that gave a verdict, in the readings that are not settled; "" where
            none did.
        error: why the sample failed; None where it did not.
        rank: of the process that computed it.
    """

    sample_id: str
    task: str
    rank: int
    category: str = ""
    question: str = ""
    prediction: str = ""
    parsed: str = ""
    target: str = ""
    score: float | None = None
    n_visual: int | None = None
    n_kept: int | None = None
    kept_by_stage: str = "{}"
    average_tokens: float | None = None
    kv_bytes: int | None = None
    settled: bool = True
    published_parsed: str = ""
    published_score: float | None = None
    published_settled: bool = True
    judge: str = ""
    error: str | None = None
    asked: str = ""

    @property
    def is_unread(self) -> bool:
        """Whether neither a rule nor a judge could tell what the reply says."""
        return self.error is None and not self.settled and not self.judge

    def as_published(self) -> SampleRow:
        """The row with the published reading in the place of a person's."""
        return replace(
            self,
            parsed=self.published_parsed,
            score=self.published_score,
            settled=self.published_settled,
        )


class JudgedCases(TypedDict):
    """What a judge was asked of a run.

    Attributes:
        name: of the judge.
        cases: how many replies a reading left open that a judge can tell and the metric depends on.
        settled: how many of them the judge settled. The others are wrong; of open answers, they
            are left out.
    """

    name: str
    cases: int
    settled: int


class Judgement(JudgedCases, total=False):
    """`judge` of `metrics.json`.

    Attributes:
        obstacle: why the judge was not asked; None where it was, or there is none.
    """

    obstacle: str | None


class Reading(TypedDict):
    """Scores by task or metric, and then by category: in percent, or in the metric's own unit."""

    scores: dict[str, Summary]
    categories: dict[str, dict[str, Summary]]


class Costs(TypedDict):
    """What is counted of a run, beside its scores.

    Attributes:
        n: samples, failed ones included.
        errors: how many of them failed.
        average_tokens: share of the visual tokens in the KV cache, mean over the samples that have
            any; None where none has.
        kv_bytes_per_sample: of the KV cache after the prefill; None where all failed.
    """

    n: int
    errors: int
    average_tokens: float | None
    kv_bytes_per_sample: float | None


class FiguresAdded(TypedDict, total=False):
    """What versions added to `metrics.json` one after the other.

    Attributes:
        categories: see `Reading`.
        units: of the scores that are not in percent.
        headline: names of the scores that a table over benchmarks quotes.
        published: the figures to the letter of the published evaluation; None where rows are older
            than this reading.
        unread, unread_by_task: replies that nobody could read.
        judge: what the judge was asked; None without one.
        seconds: spent on predicting.
        samples_per_second: of the latest start.
    """

    categories: dict[str, dict[str, Summary]]
    units: dict[str, str]
    headline: list[str]
    published: Reading | None
    unread: int
    unread_by_task: dict[str, int]
    judge: Judgement | None
    seconds: float
    samples_per_second: float | None


class RunFigures(Costs, FiguresAdded):
    """The figures of `metrics.json`."""

    scores: dict[str, Summary]


class NamesAdded(TypedDict, total=False):
    """As `FiguresAdded`.

    Attributes:
        layers: the decoder layer at which each stage acted.
    """

    layers: dict[str, int]


class Metrics(RunFigures, NamesAdded):
    """`metrics.json`: the names of what ran, and the figures."""

    policy: str
    model: str
    data: str


class Checkout(TypedDict):
    """The commit that the package is of, and whether its files differ from it.

    None where the package is in no checkout, or git cannot say.
    """

    commit: str | None
    dirty: bool | None


Environment = TypedDict(
    "Environment",
    {
        "ivcprune": str,
        "commit": str | None,
        "dirty": bool | None,
        "python": str,
        "torch": str,
        "transformers": str,
        "lightning": str,
        "hydra-core": str,
        "datasets": str,
        "platform": str,
        "gpus": list[str],
        "cpu_threads": int,
        "world_size": int,
        "command": list[str],
        "weights": str,
        "code": dict[str, str],
    },
    total=False,
)
"""`env.json`, what a run was computed with: versions, commit, machine, command line; `weights`, a
fingerprint of them; `code`, a digest of every module that its results depend on."""
