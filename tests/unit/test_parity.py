"""The published reading against the figures that the published evaluations' own code computed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ivcprune.data.sample import Sample
from ivcprune.metrics.aggregators import aggregator_named
from ivcprune.metrics.figures import BenchmarkScores, ScoredSample, evaluate
from ivcprune.metrics.published_letters import published_letter
from ivcprune.metrics.scoring import Conventions, Reading, published_reading
from ivcprune.metrics.vqa import normalise_vqa
from ivcprune.metrics.yes_no import published_yes_no

FOLDER = Path(__file__).parents[1] / "data" / "published_figures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
ANYWHERE = Conventions("plain", (1, 1))

Row = dict[str, Any]


def recorded(name: str) -> Row:
    content: Row = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return content


def is_empty(row: Row) -> bool:
    """The published code counts some empty replies as right, and we none."""
    return not row["reply"].strip()


def differing(rows: Iterable[Row], ours: Callable[[Row], Any], key: str) -> list[Row]:
    return [row | {"ours": ours(row)} for row in rows if ours(row) != pytest.approx(row[key])]


def reading(
    task: str, row: Row, answers: list[str], conventions: Conventions = ANYWHERE, **about: Any
) -> Reading:
    return published_reading(
        Sample("a", task, [], "?", answers=answers, **about), row["reply"], conventions
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_replies_or_more_and_where_their_figures_are_from(name: str) -> None:
    record = recorded(name)
    assert len(record["samples"]) >= 100
    assert len({row["reply"] for row in record["samples"]}) >= 20
    for source in record["sources"]:
        assert source["repository"].startswith("https://github.com/")
        assert len(source["commit"]) == 40
        assert source["functions"]


@pytest.mark.parametrize("version", ["fork", "upstream"])
def test_multiple_choice(version: str) -> None:
    record = recorded("multiple_choice")

    def letter(row: Row) -> str | None:
        return published_letter(row["reply"], row.get("choices", record["choices"]), version)

    assert differing(record["samples"], letter, version) == []


def test_yes_no() -> None:
    rows = recorded("yes_no")["samples"]
    assert differing(rows, lambda row: published_yes_no(row["reply"]), "says") == []


@pytest.mark.parametrize("parser", ["mvbench", "video_mme", "mlvu"])
def test_video_multiple_choice(parser: str) -> None:
    record = recorded("video")
    conventions = Conventions("plain", (1, 1), parser)

    def score(row: Row) -> float | None:
        return reading(
            *("video_multiple_choice", row, [row["answer"]], conventions), choices=record["choices"]
        ).score

    differ = differing(record["samples"], score, parser)
    assert all(row["ours"] == 0.0 for row in differ)
    # MVBench's rule takes a part of "(a)" for the answer A, also one that holds no letter.
    expected = {"", "(", ".", " ."} if parser == "mvbench" else set()
    assert {row["reply"].rstrip(" ") for row in differ} == expected


@pytest.mark.parametrize(
    ("name", "task"), [("textvqa", "vqa_score"), ("docvqa", "anls"), ("gqa", "vqa")]
)
def test_short_answers(name: str, task: str) -> None:
    record = recorded(name)

    def score(row: Row) -> float | None:
        answers = record["answers"][row["answers"]] if "answers" in row else record["answers"]
        return reading(task, row, answers).score

    differ = differing(record["samples"], score, "score")
    assert all(is_empty(row) and row["ours"] == 0.0 for row in differ)


def test_words_as_the_vqa_benchmark_compares_them() -> None:
    normalised = recorded("textvqa")["normalised"]
    assert {text: normalise_vqa(text) for text in normalised} == normalised


def test_ocrbench() -> None:
    record = recorded("ocrbench")

    def score(row: Row) -> float | None:
        answers = record["answers"][row["category"]]
        return reading("ocr_contains", row, answers, category=row["category"]).score

    rows = record["samples"]
    assert differing(rows, score, "score") == []
    scored = [
        ScoredSample(str(i), str(i), row["category"], "", [], score(row))
        for i, row in enumerate(rows)
    ]
    result = evaluate(aggregator_named("ocrbench"), scored, resamples=1)
    points = record["points"]
    total = points.pop("Final Score")
    assert result.scores["ocrbench_total"]["value"] == pytest.approx(1000 * total / len(rows))
    parts = {name: s["value"] for name, s in result.categories["ocrbench"].items()}
    assert parts == pytest.approx({name: 100 * n / len(rows) for name, n in points.items()})


def test_refcoco() -> None:
    record = recorded("refcoco")
    width, height = record["size"]

    def score(row: Row) -> float | None:
        conventions = Conventions(row["box_format"], (width, height))
        about = {"boxes": [record["box"]], "width": width, "height": height}
        return reading("grounding", row, [], conventions, **about).score

    assert differing(record["samples"], score, "score") == []


def answered(rows: list[Row], task: str, **keys: Callable[[int, Row], Any]) -> list[ScoredSample]:
    """What a benchmark's metric takes, as published."""
    samples = []
    for i, row in enumerate(rows):
        read = reading(task, row, [row["answer"]], choices=row.get("choices", []))
        about = {"id": str(i), "group_id": str(i), "category": row["category"]}
        about |= {name: value(i, row) for name, value in keys.items()}
        samples.append(
            ScoredSample(**about, parsed=read.parsed, answers=[row["answer"]], score=read.score)
        )
    return samples


def check(record: Row, result: BenchmarkScores) -> None:
    for name, value in record["figures"].items():
        assert result.scores[name]["value"] == pytest.approx(value), name
    for name, parts in record["categories"].items():
        found = {category: result.categories[name][category]["value"] for category in parts}
        assert found == pytest.approx(parts), name


@pytest.mark.parametrize(
    ("name", "task", "metric", "keys"),
    [
        ("mme", "yes_no", "mme", {"group_id": lambda i, row: row["group"]}),
        ("pope", "yes_no", "pope_f1", {}),
        (
            *("hallusionbench", "yes_no", "hallusion"),
            {
                "metadata": lambda i, row: {
                    "subcategory": row["subcategory"],
                    **dict(zip(("set_id", "figure_id", "question_id"), row["place"], strict=True)),
                }
            },
        ),
        (
            *("mmbench", "multiple_choice", "circular"),
            {
                "id": lambda i, row: str(row["index"]),
                "group_id": lambda i, row: str(row["index"] % 1_000_000),
            },
        ),
    ],
)
def test_figures_over_all_replies(
    name: str, task: str, metric: str, keys: dict[str, Callable[[int, Row], Any]]
) -> None:
    record = recorded(name)
    samples = answered(record["samples"], task, **keys)
    check(record, evaluate(aggregator_named(metric), samples, resamples=1))
