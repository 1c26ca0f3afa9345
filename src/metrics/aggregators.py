"""The metrics that benchmarks define over several samples, by the name `metrics:` gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from . import hallusion, multiple_choice, video, yes_no_benchmarks
from .figures import Aggregator, ScoredSample
from .ocr_bench import OCRBENCH
from .strings import STRINGS

MEAN = "mean"
"""No metric beside the mean score of each task, which every run has."""

AGGREGATORS: Mapping[str, Aggregator] = {
    "category_mean": multiple_choice.CATEGORY_MEAN,
    "circular": multiple_choice.CIRCULAR,
    "hallusion": hallusion.HALLUSION,
    "hallusion_by_category": hallusion.HALLUSION_BY_CATEGORY,
    "mlvu": video.MLVU,
    "mlvu_generation": video.MLVU_GENERATION,
    "mme": yes_no_benchmarks.MME,
    "ocrbench": OCRBENCH,
    "pooled": multiple_choice.POOLED,
    "pope_f1": yes_no_benchmarks.POPE,
    "strings": STRINGS,
    "video_mme": video.VIDEO_MME,
}
"""What `metrics:` of a data configuration may name beside "mean"."""


def aggregator_named(name: str) -> Aggregator:
    """The benchmark's metrics; "mean" has none of its own and must not be asked for.

    Raises:
        ValueError: unknown name.
    """
    if name not in AGGREGATORS:
        raise ValueError(f"data.metrics is {name!r}: choose one of {sorted([MEAN, *AGGREGATORS])}")
    return AGGREGATORS[name]


def unscorable(name: str, samples: Iterable[ScoredSample]) -> dict[str, str]:
    """By id, the samples that the metric cannot take, and why; call it before a run.

    Raises:
        ValueError: unknown name, or the metric can take none of the samples: a category that it
            does not know, or metadata that it needs missing.
    """
    if name == MEAN:
        return {}
    aggregator = aggregator_named(name)
    problems = {sample.id: _problem(name, aggregator, sample) for sample in samples}
    reasons = {sample_id: reason for sample_id, reason in problems.items() if reason}
    if reasons and len(reasons) == len(problems):
        raise ValueError(next(iter(reasons.values())))
    return reasons


def _problem(name: str, aggregator: Aggregator, sample: ScoredSample) -> str:
    try:
        aggregator.cluster(sample)
        aggregator.tally([replace(sample, score=0.0)])
    except KeyError as error:
        return (
            f"data.metrics={name} needs {error} in the metadata of every sample: map it in the "
            "data configuration, or use data.metrics=mean"
        )
    except ValueError as error:
        return str(error)
    return ""
