"""Scores of short answers: annotators' agreement, edit similarity, text read off an image."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.data.sample import Sample
from ivcprune.metrics.anls import anls, levenshtein
from ivcprune.metrics.ocr import FORMULAS, contains_answer
from ivcprune.metrics.scoring import (
    SCORERS,
    Conventions,
    Reading,
    check_parser,
    published_reading,
    read_reply,
    score,
)
from ivcprune.metrics.vqa import normalise_vqa, vqa_score

PLAIN = Conventions("plain", (100, 100))


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Dog.", "dog"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("a dont", "don't"),
        ("red/blue", "red blue"),
        ("red/ blue", "red blue"),
        ("stop-sign", "stop sign"),
        ("stop -sign", "stop sign"),
        # A comma between digits removes every mark.
        ("1,000", "1000"),
        ("1,000 red/blue", "1000 redblue"),
        ("3.5", "3.5"),
        ("v1. dog", "v1 dog"),
        ("U.S.", "us"),
        (" new\nline\ttab ", "new line tab"),
        ("", ""),
        ("...", ""),
    ],
)
def test_vqa_normalisation(text: str, normalised: str) -> None:
    assert normalise_vqa(text) == normalised


@pytest.mark.parametrize(
    ("matching", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (5, 1), (10, 1)]
)
def test_agreement_with_ten_annotators(matching: int, value: float) -> None:
    answers = ["The dog"] * matching + [f"animal {i}" for i in range(10 - matching)]
    assert vqa_score("dog.", answers) == pytest.approx(value)


def test_agreement_without_annotators() -> None:
    assert vqa_score("dog", []) == 0


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("İ", "i", 1)],
)
def test_levenshtein(a: str, b: str, distance: int) -> None:
    assert levenshtein(a, b) == levenshtein(b, a) == distance


@pytest.mark.parametrize(
    ("prediction", "answers", "value"),
    [
        ("Paris", ["paris"], 1),
        ("pariss", ["paris"], 1 - 1 / 6),
        ("pa", ["abcd", "paris", "pap"], 1 - 1 / 3),
        ("abcd", ["abxy"], 0.5),
        ("abc", ["axy"], 0),
        # The distance is of the collapsed strings (0), the length of the original ones.
        ("a  b", ["a b"], 1),
        ("", ["paris"], 0),
        ("", [""], 1),
        ("paris", [], 0),
    ],
)
def test_anls(prediction: str, answers: list[str], value: float) -> None:
    assert anls(prediction, answers) == pytest.approx(value)


@settings(deadline=None)
@given(prediction=st.text(max_size=30), answers=st.lists(st.text(max_size=30), max_size=3))
def test_similarities_are_in_the_unit_interval(prediction: str, answers: list[str]) -> None:
    assert anls(prediction, answers) == 0 or 0.5 <= anls(prediction, answers) <= 1
    assert 0 <= vqa_score(prediction, answers) <= 1


@pytest.mark.parametrize(
    ("prediction", "answers", "category", "hit"),
    [
        ("The sign says STOP now", ["stop"], "", True),
        ("line one\nline two", ["one line"], "", True),
        ("sign", ["stop", "SIGN "], "", True),
        ("st op", ["stop"], "", False),
        (r"\frac { A } { b }", [r"\frac{A}{b}"], FORMULAS, True),
        (r"\frac { a } { b }", [r"\frac{A}{b}"], FORMULAS, False),
        (r"\frac { A } { b }", [r"\frac{A}{b}"], "", False),
        ("anything", ["", " "], "", False),
        ("anything", [], "", False),
    ],
)
def test_text_in_images(prediction: str, answers: list[str], category: str, hit: bool) -> None:
    assert contains_answer(prediction, answers, category) is hit


@pytest.mark.parametrize(
    ("task", "reply", "parsed", "value", "settled"),
    [
        ("multiple_choice", "(B)", "B", 1.0, True),
        ("multiple_choice", "A", "A", 0.0, True),
        ("multiple_choice", "hard to say", "", 0.0, False),
        ("video_multiple_choice", "it is the dog", "B", 1.0, True),
        ("video_multiple_choice", "", "", 0.0, False),
    ],
)
def test_letters_are_scored(
    task: str, reply: str, parsed: str, value: float, settled: bool
) -> None:
    sample = Sample("a", task, [], "?", answers=["B"], choices=["cat", "dog"])
    reading = read_reply(sample, reply, PLAIN)
    assert (reading.parsed, reading.score, reading.settled) == (parsed, value, settled)


def test_yes_no_is_scored_whatever_the_case() -> None:
    sample = Sample("a", "yes_no", [], "?", answers=["Yes"])
    assert score(sample, "Yes, it is.", "plain", (1, 1)) == ("yes", 1.0)
    assert score(sample, "No.", "plain", (1, 1)) == ("no", 0.0)
    assert read_reply(sample, "maybe", PLAIN).settled is False


def test_other_answers_are_scored() -> None:
    answers = ["The dog"] * 2 + ["cat"] * 8
    annotated = Sample("a", "vqa_score", [], "?", answers=answers)
    assert score(annotated, "Dog!", "plain", (1, 1)) == ("dog", pytest.approx(0.6))
    document = Sample("a", "anls", [], "?", answers=["Paris"])
    assert score(document, "pariss", "plain", (1, 1)) == ("pariss", pytest.approx(5 / 6))
    text = Sample("a", "ocr_contains", [], "?", answers=["A B"], category=FORMULAS)
    assert score(text, "A  B", "plain", (1, 1))[1] == 1.0
    assert score(text, "a b", "plain", (1, 1))[1] == 0.0


def test_open_answers_wait_for_a_judge() -> None:
    reading = read_reply(Sample("a", "open_answer", [], "?"), " A man runs. ", PLAIN)
    assert (reading.parsed, reading.score, reading.settled) == ("A man runs.", None, False)


def test_parser_versions_are_chosen_by_name() -> None:
    sample = Sample("a", "multiple_choice", [], "?", answers=["A"], choices=["cat", "dog"])
    reply = "A man is standing behind the red car"
    # The article is a letter in the paper's evaluation, and too far from the end upstream.
    for parser, published in (("fork", 1.0), ("upstream", 0.0)):
        conventions = Conventions("plain", (1, 1), parser)
        assert published_reading(sample, reply, conventions).score == published
        assert read_reply(sample, reply, conventions).score == 0.0
    for task in SCORERS:
        check_parser("fork", [task])
        check_parser("upstream", [task])
    check_parser("mvbench", ["video_multiple_choice"])
    with pytest.raises(ValueError, match=r"data.parser is 'mvbench'.*'yes_no'.*'fork'"):
        check_parser("mvbench", ["video_multiple_choice", "yes_no"])


def test_short_answers_may_end_in_a_full_stop_where_the_benchmark_says_so() -> None:
    sample = Sample("a", "vqa", [], "?", answers=["3"])
    assert published_reading(sample, "3.", PLAIN).score == 0.0
    forgiving = Conventions("plain", (1, 1), "without_final_stop")
    assert published_reading(sample, "3. ", forgiving) == Reading("3", 1.0)
    assert read_reply(sample, "3.", PLAIN) == Reading("3", 1.0)
    check_parser("without_final_stop", ["multiple_choice", "vqa"])


@pytest.mark.parametrize(
    ("task", "reply", "parsed", "value"),
    [
        ("vqa", "Red.", "red", 1.0),
        ("vqa", "Red. \n", "red", 1.0),
        ("vqa", "3.5", "3.5", 0.0),
        ("anls", "red.", "red", 1.0),
    ],
)
def test_a_final_stop_may_be_stripped(task: str, reply: str, parsed: str, value: float) -> None:
    sample = Sample("a", task, [], "?", answers=["red"])
    stripping = Conventions("plain", (100, 100), strip_final_stop=True)
    reading = published_reading(sample, reply, stripping)
    assert (reading.parsed, reading.score) == (parsed, value)
    if value:
        assert published_reading(sample, reply, PLAIN).score != value
