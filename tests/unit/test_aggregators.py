"""Metrics over several samples, against figures worked out by hand."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.metrics.aggregators import AGGREGATORS, aggregator_named, unscorable
from ivcprune.metrics.figures import BenchmarkScores, ScoredSample, evaluate
from ivcprune.metrics.intervals import wilson


def sample(
    sample_id: str,
    score: float | None,
    group: str = "",
    category: str = "",
    parsed: str = "",
    answer: str = "",
    **metadata: Any,
) -> ScoredSample:
    group_id = group or sample_id
    return ScoredSample(sample_id, group_id, category, parsed, [answer], score, metadata)


def compute(name: str, samples: list[ScoredSample]) -> BenchmarkScores:
    result = evaluate(aggregator_named(name), samples, resamples=50)
    json.dumps([result.scores, result.categories], allow_nan=False)
    return result


def values(result: BenchmarkScores) -> dict[str, Any]:
    return {metric: summary["value"] for metric, summary in result.scores.items()}


def test_a_question_is_right_if_every_rotation_is() -> None:
    result = compute(
        "circular",
        [
            *(sample("1", 1, "1", "x"), sample("1000001", 1, "1", "x")),
            *(sample("2", 1, "2", "x"), sample("1000002", 0, "2", "x")),
            *(sample("3", 0, "3", "y"), sample("1000003", 1, "3", "y")),
            sample("4", 1, "4", "y"),
            # A failed rotation leaves the question open, unless another one is wrong.
            *(sample("5", 1, "5", "y"), sample("1000005", None, "5", "y")),
            *(sample("6", None, "6", "y"), sample("1000006", 0, "6", "y")),
        ],
    )
    assert values(result) == {
        "circular_accuracy": pytest.approx(100 * 2 / 5),
        "vanilla_accuracy": pytest.approx(100 * 4 / 5),
    }
    assert result.scores["circular_accuracy"]["n"] == 5
    low, high = wilson(0.4, 5) or (0, 0)
    assert result.scores["circular_accuracy"]["low"] == pytest.approx(100 * low)
    assert result.scores["circular_accuracy"]["high"] == pytest.approx(100 * high)
    by_category = result.categories["circular_accuracy"]
    assert by_category["x"]["value"] == pytest.approx(50)
    assert by_category["y"]["value"] == pytest.approx(100 / 3)


def test_mme_adds_accuracy_and_pairs_over_categories() -> None:
    result = compute(
        "mme",
        [
            *(sample("a1", 1, "a", "OCR"), sample("a2", 1, "a", "OCR")),
            *(sample("b1", 1, "b", "OCR"), sample("b2", 0, "b", "OCR")),
            *(sample("c1", 0, "c", "count"), sample("c2", 0, "c", "count")),
            # The same image in another category is another pair.
            *(sample("d1", 1, "a", "code_reasoning"), sample("d2", 1, "a", "code_reasoning")),
            sample("e1", None, "e", "count"),
        ],
    )
    # OCR: 100 (3/4 + 1/2); count: 0; code_reasoning: 100 (1 + 1)
    assert values(result) == {"mme": 325.0, "mme_perception": 125.0, "mme_cognition": 200.0}
    assert list(result.scores) == ["mme", "mme_perception", "mme_cognition"]
    assert {name: s["value"] for name, s in result.categories["mme"].items()} == {
        "OCR": 125.0,
        "code_reasoning": 200.0,
        "count": 0.0,
    }
    assert result.scores["mme"]["n"] == 8
    low, high = result.scores["mme"]["low"], result.scores["mme"]["high"]
    assert low is not None
    assert high is not None
    assert 0 <= low <= 325 <= high <= 400


def test_mme_refuses_an_unknown_category() -> None:
    with pytest.raises(ValueError, match=r"no category 'weather'.*'OCR'"):
        compute("mme", [sample("a", 1, category="weather")])


def pope(sample_id: str, truth: str, parsed: str, category: str = "random") -> ScoredSample:
    return sample(sample_id, float(truth == parsed), "", category, parsed, truth.capitalize())


def test_pope_counts_an_unread_reply_as_no_and_as_wrong() -> None:
    result = compute(
        "pope_f1",
        [
            *(pope("1", "yes", "yes"), pope("2", "yes", "yes"), pope("3", "yes", "no")),
            *(pope("4", "no", "yes"), pope("5", "no", "no"), pope("6", "yes", "")),
            pope("7", "no", ""),
        ],
    )
    # 2 true and 1 false yes, 2 missed, 2 no to no questions, of which the unread one is not right
    assert values(result) == {
        "pope_f1": pytest.approx(100 * 4 / 7),
        "pope_accuracy": pytest.approx(100 * 3 / 7),
        "pope_precision": pytest.approx(100 * 2 / 3),
        "pope_recall": pytest.approx(50),
        "pope_yes_rate": pytest.approx(100 * 3 / 7),
    }


def test_pope_pools_instead_of_averaging_its_settings() -> None:
    exploded = [
        pope("1", "yes", "yes", "random"),
        pope("2", "yes", "yes", "popular"),
        pope("3", "no", "yes", "popular"),
        pope("4", "yes", "yes", "adversarial"),
        pope("5", "no", "no", "adversarial"),
        pope("6", "yes", "no", "popular"),
    ]
    result = compute("pope_f1", exploded)
    assert result.scores["pope_f1"]["value"] == pytest.approx(100 * 6 / 8)
    by_setting = {name: s["value"] for name, s in result.categories["pope_f1"].items()}
    assert by_setting == {"adversarial": 100.0, "popular": 50.0, "random": 100.0}

    folded = [
        pope("1", "yes", "yes", "random, popular,adversarial"),
        pope("2", "no", "yes", "popular"),
    ]
    assert compute("pope_f1", folded).scores["pope_f1"]["value"] == pytest.approx(100 * 6 / 7)
    assert compute("pope_f1", folded).scores["pope_f1"]["n"] == 4


def test_samples_without_a_category_do_not_stand_for_all() -> None:
    result = compute("pope_f1", [pope("1", "yes", "yes", ""), pope("2", "yes", "no", "popular")])
    assert result.scores["pope_accuracy"]["value"] == pytest.approx(50)
    assert result.categories["pope_accuracy"][""]["value"] == pytest.approx(100)


def test_a_category_that_no_resample_draws_has_an_interval() -> None:
    samples = [pope(str(i), "yes", "yes", str(i)) for i in range(40)]
    result = evaluate(aggregator_named("pope_f1"), samples, resamples=1)
    assert result.categories["pope_f1"]["39"] == {"value": 100, "low": 100, "high": 100, "n": 1}


def test_pope_without_any_yes() -> None:
    result = compute("pope_f1", [pope("1", "no", "no"), pope("2", "no", "no")])
    assert values(result)["pope_f1"] == 0
    assert values(result)["pope_precision"] is None
    assert values(result)["pope_accuracy"] == 100


def hallusion(name: str, score: float | None, place: str, category: str = "VD") -> ScoredSample:
    subcategory, set_id, figure, question = place.split("_")
    metadata = {
        "subcategory": subcategory,
        "set_id": set_id,
        "figure_id": figure,
        "question_id": question,
    }
    return sample(name, score, "", category, **metadata)


HALLUSION = [
    *(hallusion("1", 1, "chart_0_0_0"), hallusion("2", 1, "chart_0_0_1")),
    *(hallusion("3", 1, "chart_0_1_0"), hallusion("4", 0, "chart_0_1_1")),
    # Same numbers: another subcategory, and another category.
    hallusion("5", 1, "map_0_1_1"),
    hallusion("6", 0, "chart_0_0_0", "VS"),
]


def test_hallusion_groups_figures_as_published_over_both_categories() -> None:
    result = compute("hallusion", HALLUSION)
    # figures: chart 0 (of VD and VS together) and chart 1 wrong, map right; questions: chart 0 and
    # 1 wrong, map 1 right
    assert values(result) == {
        "hallusion": pytest.approx((100 * 4 / 6 + 2 * 100 / 3) / 3),
        "aAcc": pytest.approx(100 * 4 / 6),
        "fAcc": pytest.approx(100 / 3),
        "qAcc": pytest.approx(100 / 3),
    }
    assert (result.scores["fAcc"]["n"], result.scores["qAcc"]["n"]) == (3, 3)
    # Within VD its own questions count: chart 0 is right there.
    assert result.categories["fAcc"]["VD"]["value"] == pytest.approx(100 * 2 / 3)
    assert result.categories["hallusion"]["VS"]["value"] == 0


def test_hallusion_may_tell_figures_of_the_categories_apart() -> None:
    result = compute("hallusion_by_category", HALLUSION)
    # figures: chart 0 right, chart 1 wrong, map right, VS wrong; questions: 0 right, 1 wrong, ...
    assert values(result) == {
        "hallusion": pytest.approx((100 * 4 / 6 + 50 + 50) / 3),
        "aAcc": pytest.approx(100 * 4 / 6),
        "fAcc": pytest.approx(50),
        "qAcc": pytest.approx(50),
    }
    assert (result.scores["fAcc"]["n"], result.scores["qAcc"]["n"]) == (4, 4)
    assert result.categories["fAcc"]["VD"]["value"] == pytest.approx(100 * 2 / 3)


def test_ocrbench_counts_recognition_as_one_category() -> None:
    result = compute(
        "ocrbench",
        [
            sample("1", 1, category="Regular Text Recognition"),
            sample("2", 0, category="Handwriting Recognition"),
            sample("3", 1, category="Handwritten Mathematical Expression Recognition"),
            sample("4", 1, category="Key Information Extraction"),
            sample("5", None, category="Key Information Extraction"),
        ],
    )
    assert values(result) == {"ocrbench": 75.0, "ocrbench_total": 750.0}
    assert {name: s["value"] for name, s in result.categories["ocrbench"].items()} == {
        "Handwritten Mathematical Expression Recognition": 25.0,
        "Key Information Extraction": 25.0,
        "Text Recognition": 25.0,
    }


def test_category_mean_gives_every_category_the_same_weight() -> None:
    scores = [sample(str(i), 1, category="big") for i in range(9)]
    result = compute("category_mean", [*scores, sample("10", 0.5, category="small")])
    assert values(result) == {"category_mean": pytest.approx(75)}
    result = compute("pooled", [*scores, sample("10", 0.5, category="small")])
    assert values(result) == {"pooled_mean": pytest.approx(95)}


def test_video_mme_tells_where_its_rules_differ() -> None:
    # What is read, and what the published rule reads, of "Best answer: C", "C", "A", "no idea".
    letters = {"1": ("C", "B"), "2": ("C", "C"), "3": ("A", "A"), "4": ("", "")}
    samples = [
        ScoredSample(
            *(name, name, "short", read, ["C"], float(read == "C")),
            published=(published, float(published == "C")),
        )
        for name, (read, published) in letters.items()
    ]
    assert values(compute("video_mme", samples)) == {
        "video_mme": pytest.approx(50),
        "video_mme_published_rule": pytest.approx(25),
        "video_mme_rules_differ": pytest.approx(25),
    }


def test_mlvu_reports_the_three_averages() -> None:
    result = compute(
        "mlvu",
        [
            *(sample("1", 1, category="plotQA"), sample("2", 0, category="plotQA")),
            *(sample("3", 1, category="count"), sample("4", 0, category="order")),
            sample("5", 0, category="order"),
        ],
    )
    assert values(result) == {
        "mlvu_m_avg": pytest.approx(100 * 2 / 3),
        "mlvu_m_avg_seven_tasks": pytest.approx(40),
        "mlvu_m_avg_task_mean": pytest.approx(50),
    }


def test_mlvu_generation_is_in_points() -> None:
    result = compute(
        "mlvu_generation",
        [
            sample("1", 0.9, category="summary"),
            sample("2", 0.4, category="sub_scene"),
            sample("3", 0.2, category="sub_scene"),
            sample("4", None, category="sub_scene"),
        ],
    )
    assert values(result) == {"mlvu_g_avg": pytest.approx(5)}
    assert result.categories["mlvu_g_avg"]["sub_scene"]["value"] == pytest.approx(3)
    assert AGGREGATORS["mlvu_generation"].units == {"mlvu_g_avg": "points from 2 to 10"}


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_nothing_scored_gives_no_values(name: str) -> None:
    place = {"subcategory": "chart", "set_id": "0", "figure_id": "0", "question_id": "0"}
    failed = sample("1", None, category="OCR", answer="yes", **place)
    for samples in ([], [failed]):
        result = compute(name, samples)
        assert result.scores
        for summary in result.scores.values():
            assert summary == {"value": None, "low": None, "high": None, "n": 0}


marks = st.sampled_from([0.0, 1.0, None])


@settings(deadline=None, max_examples=30)
@given(scores=st.lists(marks, min_size=1, max_size=12), name=st.sampled_from(sorted(AGGREGATORS)))
def test_intervals_hold_the_value(scores: list[float | None], name: str) -> None:
    samples = [
        sample(
            *(str(i), score, str(i // 3), ["OCR", "count"][i // 6], "yes" if i % 2 else ""),
            *("yes" if i % 3 else "no",),
            **{"subcategory": "map", "set_id": i // 4, "figure_id": i // 2, "question_id": i % 2},
        )
        for i, score in enumerate(scores)
    ]
    result = compute(name, samples)
    parts = [part for parts in result.categories.values() for part in parts.values()]
    for summary in [*result.scores.values(), *parts]:
        value, low, high = summary["value"], summary["low"], summary["high"]
        if value is not None:
            assert low is not None
            assert high is not None
            assert low <= value <= high
            assert low >= -1e-9


def test_the_bootstrap_repeats_itself_and_draws_whole_groups() -> None:
    # Two images whose questions are all right or all wrong: resampling single questions would
    # make 0 and 200 rare, resampling images does not.
    samples = [sample(f"{group}{i}", group == "a", group, "OCR") for group in "ab" for i in "123"]
    first, second = compute("mme", samples), compute("mme", samples)
    assert first == second
    assert first.scores["mme"] == {"value": 100.0, "low": 0.0, "high": 200.0, "n": 6}


def test_missing_metadata_is_found_before_the_run() -> None:
    assert unscorable("mean", [sample("1", None)]) == {}
    assert unscorable("circular", [sample("1", None)]) == {}
    with pytest.raises(ValueError, match=r"metrics=hallusion needs 'subcategory'"):
        unscorable("hallusion", [sample("1", None)])
    with pytest.raises(ValueError, match=r"data.metrics is 'median'.*'circular'.*'mean'"):
        unscorable("median", [])


def test_samples_that_a_metric_cannot_take_are_named_with_the_reason() -> None:
    samples = [sample("a", None, category="OCR"), sample("b", None, category="weather")]
    assert list(unscorable("mme", samples)) == ["b"]
    assert "MME has no category 'weather'" in unscorable("mme", samples)["b"]
    complete = {"subcategory": "map", "set_id": "0", "figure_id": "0", "question_id": "0"}
    samples = [sample("a", None, **complete), sample("b", None, subcategory="map", set_id="0")]
    assert list(unscorable("hallusion", samples)) == ["b"]
    with pytest.raises(ValueError, match="MME has no category 'weather'"):
        unscorable("mme", [sample("b", None, category="weather")])
