"""Metrics over yes/no questions: MME, POPE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from .figures import Aggregator, Counts, Figure, ScoredSample, share
from .multiple_choice import category_names, pooled

PERCEPTION = (
    *("OCR", "artwork", "celebrity", "color", "count"),
    *("existence", "landmark", "position", "posters", "scene"),
)
COGNITION = (
    *("code_reasoning", "commonsense_reasoning"),
    *("numerical_calculation", "text_translation"),
)


def _tally_mme(questions: Sequence[ScoredSample]) -> Counts:
    category = questions[0].category
    if category not in (*PERCEPTION, *COGNITION):
        raise ValueError(
            f"MME has no category {category!r}: data.metrics=mme knows {[*PERCEPTION, *COGNITION]}"
        )
    scores = [question.score for question in questions if question.score is not None]
    counts: dict[Hashable, float] = defaultdict(float)
    counts["n", category] = len(scores)
    counts["right", category] = sum(score == 1.0 for score in scores)
    if scores:
        counts["images", category] = 1
        counts["all_right", category] = int(all(score == 1.0 for score in scores))
    return counts


def _mme_figures(counts: Counts) -> list[Figure]:
    categories = {
        name: Figure("mme", _mme_score(counts, name), int(counts["n", name]), category=name)
        for name in category_names(counts, "n")
        if counts["n", name]
    }
    sums = [
        _sum("mme", categories, PERCEPTION + COGNITION),
        _sum("mme_perception", categories, PERCEPTION),
        _sum("mme_cognition", categories, COGNITION),
    ]
    return [*sums, *categories.values()]


def _mme_score(counts: Counts, name: str) -> float:
    right = counts.get(("right", name), 0) / counts["n", name]
    both = counts.get(("all_right", name), 0) / counts["images", name]
    return 100 * (right + both)


def _sum(metric: str, figures: dict[str, Figure], names: Sequence[str]) -> Figure:
    present = [figures[name] for name in names if name in figures]
    values = [figure.value or 0.0 for figure in present]
    return Figure(metric, sum(values) if values else None, sum(figure.n for figure in present))


MME = Aggregator(
    cluster=lambda sample: (sample.category, sample.group_id),
    tally=_tally_mme,
    figures=_mme_figures,
    units={
        "mme": "points of 2800 (categories: of 200)",
        "mme_perception": "points of 2000",
        "mme_cognition": "points of 800",
    },
)
"""MME (Fu et al. 2023). A category scores 100 (accuracy + share of images both of whose questions
are answered right). mme: the sum over all 14, as in the paper's tables (inferred from values above
2000). A group holds the questions on one image; a reply that is neither yes nor no is wrong."""


def _tally_pope(questions: Sequence[ScoredSample]) -> Counts:
    counts: dict[Hashable, float] = defaultdict(float)
    for question in questions:
        if question.score is None:
            continue
        is_yes = [answer.strip().lower() for answer in question.answers] == ["yes"]
        outcome = ("true" if is_yes == _says_yes(question) else "false") + (
            "_yes" if _says_yes(question) else "_no"
        )
        # The de-duplicated file names every setting that a question belongs to.
        for category in question.category.split(","):
            counts[outcome, category.strip()] += 1
            counts["right", category.strip()] += question.score == 1.0
            counts["n", category.strip()] += 1
    return counts


def _says_yes(question: ScoredSample) -> bool:
    return question.parsed.lower() == "yes"


def _pope_figures(counts: Counts) -> list[Figure]:
    names = category_names(counts, "n")
    figures = _confusion_figures(counts, names, None)
    for name in names:
        figures += _confusion_figures(counts, [name], name)
    return figures


def _confusion_figures(counts: Counts, names: Sequence[str], category: str | None) -> list[Figure]:
    true_yes, false_yes, true_no, false_no = (
        pooled(counts, outcome, names)
        for outcome in ("true_yes", "false_yes", "true_no", "false_no")
    )
    n = true_yes + false_yes + true_no + false_no
    f1 = 200 * true_yes / max(2 * true_yes + false_yes + false_no, 1) if n else None
    return [
        Figure("pope_f1", f1, int(n), category=category),
        share("pope_accuracy", pooled(counts, "right", names), n, category),
        share("pope_precision", true_yes, true_yes + false_yes, category),
        share("pope_recall", true_yes, true_yes + false_no, category),
        share("pope_yes_rate", true_yes + false_yes, n, category),
    ]


POPE = Aggregator(cluster=lambda sample: sample.group_id, tally=_tally_pope, figures=_pope_figures)
"""POPE (Li et al. 2023). "yes" is the positive answer, and for precision, recall and F1 every reply
but a clear yes counts as "no"; for the accuracy an unread reply is wrong. pope_f1, pooled over the
three settings, is the figure of the paper's tables (inferred); the mean of the settings' F1 differs
from it. A group holds the questions on one image."""
