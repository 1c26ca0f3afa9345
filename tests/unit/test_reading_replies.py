"""What a person reads from replies without doubt, whatever they are wrapped in."""

# ruff: noqa: RUF001 - fullwidth characters are the subject

from __future__ import annotations

import pytest

from ivcprune.data.sample import Sample
from ivcprune.metrics.letters import parse_letter
from ivcprune.metrics.replies import answer_part, final_part, is_still_thinking, short_answer
from ivcprune.metrics.scoring import SCORERS, UNREAD, Conventions, read_reply
from ivcprune.metrics.yes_no import parse_yes_no

ANIMALS = ["cat", "dog", "bird", "fish"]
TRUE = [100, 200, 300, 400]


@pytest.mark.parametrize(
    ("reply", "final", "answer"),
    [
        ("B", "B", "B"),
        ("<think>A? No.</think>\n\nB", "B", "B"),
        ("A? No.\n</think>\nB", "B", "B"),  # the template opened the tag in the prompt
        ("<THINK>a</THINK> b <think>c</think> d", "b  d", "b  d"),
        ("<think>a <think>b</think> c</think> d", "d", "d"),
        ("<thinking>a</thinking>B", "B", "B"),
        ("◁think▷a◁/think▷B", "B", "B"),
        ("<think>A or B, let me", "", ""),
        ("B <think>wait", "B", "B"),
        ("So <answer>B</answer>", "So <answer>B</answer>", "B"),
        ("<answer>A</answer> no, <answer> B </answer>", None, "B"),
        ("B <answer></answer>", None, "B"),
        ("<answer>B", None, "B"),
        (r"It is \boxed{B}.", None, "B"),
        (r"\boxed{\text{B}}", None, "B"),
        (r"$\boxed{\frac{1}{2}}$", None, r"\frac{1}{2}"),
        ("<|begin_of_box|>B<|end_of_box|>", None, "B"),
        ('{"reason": "x", "answer": "B"}', None, "B"),
        ("{'answer': B}", None, "B"),
        ("<think>x</think><answer>\\boxed{B}</answer>", None, "B"),
        ("", "", ""),
    ],
)
def test_thoughts_and_marks_of_the_answer(reply: str, final: str | None, answer: str) -> None:
    assert answer_part(reply) == answer
    if final is not None:
        assert final_part(reply) == final


def test_a_thought_that_never_ends_is_told_from_an_answer() -> None:
    assert is_still_thinking("<think>A or B, let me")
    assert not is_still_thinking("<think>A</think>B")
    assert not is_still_thinking("")


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("red", "red"),
        ("**Red**.", "Red"),
        ("“red”", "red"),
        ("「红色」。", "红色"),
        ("`red`", "red"),
        ("The answer is: red.", "red"),
        ("So, the final answer is **red**!", "red"),
        ("Answer: red", "red"),
        ("答案是红色。", "红色"),
        ("答案：红色", "红色"),
        ("ｒｅｄ", "red"),
        ("red\u200b\ufeff", "red"),
        ("(red)", "red"),
        ("\\(2\\)", "2"),
        ("\\[ \\text{red} \\].", "red"),
        ("U.S.", "U.S"),
        ("3.5", "3.5"),
        ("-5", "-5"),
        ("answers vary", "answers vary"),
        ("", ""),
    ],
)
def test_short_answers_are_peeled(reply: str, answer: str) -> None:
    assert short_answer(reply) == answer


@pytest.mark.parametrize(
    "reply",
    [
        *("B", "b", "(B)", "(b)", "b)", "B.", "b. dog", "**B**", "`B`", '"B"', "'B'", "$B$", "<B>"),
        *("“B”", "（B）", "Ｂ", "【B】", "B。", "B，狗", "__B__", "[B]", "B:", "B) dog", "- B"),
        *("答案是B", "答案：B。", "选B", "我选择 B。", "B是正确的", "正确答案为（B）", "选项B"),
        *("The answer is B.", "The answer is **b**.", "Answer:B", "Final answer: (B)", "Option B"),
        *("<answer>B</answer>", r"\boxed{B}", "<think>A is a cat.</think>B", "A?</think>\n\nB"),
        *("B. dog\n\nExplanation: A is a cat, C a bird.", "B\n\nA and C show no dog.", "B, not A"),
        *("A is a cat; C is a bird.\n\nB", "Not A: the correct answer is B", "B is correct, A not"),
        *(
            "dog",
            "Dog.",
            "It is a dog",
            "A dog",
            "a **dog**",
            "two dogs",
            "“dog”",
            "not a cat: dog",
        ),
        *(
            'The answer is "B", not "A"',
            "B rather than A",
            "B because A is a cat",
            "It can't be A, so B",
            "Either way, the answer is B or so",
        ),
    ],
)
def test_letters_that_a_person_reads(reply: str) -> None:
    assert parse_letter(reply, ANIMALS) == "B"


@pytest.mark.parametrize(
    "reply",
    [
        *(
            "",
            " ",
            "...",
            "A or B",
            "A/B",
            "A, B",
            "A和B",
            "not B",
            "neither A nor B",
            "（A）或（B）",
        ),
        *("A. cat\nB. dog\nC. bird", "A man in a red coat", "a cat and a dog", "not a dog", "E"),
        *("I see nothing", "The answer is A. The answer is B.", "catfish dogma", "vitamin D-rich"),
        *("U.S.A.", "20 °C", "<think>A, no: B"),
    ],
)
def test_letters_that_are_in_doubt(reply: str) -> None:
    assert parse_letter(reply, ANIMALS) is None


@pytest.mark.parametrize(
    ("reply", "choices", "letter"),
    [
        ("It is a black cat", ["cat", "black cat"], "B"),
        ("woman", ["man", "woman"], "B"),
        ("10", ["1", "10"], "B"),
        ("It is 10.", ["1", "10"], "B"),
        ("1.5", ["1", "1.5"], "B"),
        ("I cannot say", ["no", "yes"], None),
        ("图中是一只狗。", ["猫", "狗"], "B"),
        ("Yes, it is", ["No", "Yes"], "B"),
        ("A", ["", "b", "c"], None),
        ("Z", ANIMALS, "Z"),
        ("none of them: Z", ANIMALS, "Z"),
        ("I'm sorry, but without the image provided B", ANIMALS, "Z"),
        ("(b)", [], "B"),
        ("dog", [], None),
        ("I think it is B", [f"option {i}x" for i in range(12)], "B"),
    ],
)
def test_letters_beside_options(reply: str, choices: list[str], letter: str | None) -> None:
    assert parse_letter(reply, choices) == letter


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        *[
            (text, "yes")
            for text in ("Yes", "**Yes**", "Yes:", "“Yes”", "Yes。", "Yes，有。", "Yes…")
        ],
        *[
            (text, "yes")
            for text in ("Answer:Yes", "Yes.There is one.", "Y", "yeah", "true", "是的。", "有")
        ],
        *[
            (text, "yes")
            for text in ("Yes, there is no doubt", "<answer>Yes</answer>", "答案是Yes")
        ],
        *[
            (text, "yes")
            for text in ("<think>no?</think>\n\nYes", "No dog here... the answer is yes")
        ],
        *[
            (text, "no")
            for text in ("'No'", "No—there is none", "There is no dog", "Ｎｏ", "没有。")
        ],
        *[
            (text, "no")
            for text in ("nope", "不是，没有狗", "(no)", "n", "False", r"\boxed{No}", "no-one")
        ],
        *[
            (text, None)
            for text in ("yes and no", "yes/no", "Yes. No.", "maybe", "I know", "", "不知道")
        ],
        *[(text, None) for text in ("Yesterday", "<think>yes", "Is there no dog, or yes?")],
    ],
)
def test_yes_and_no_that_a_person_reads(reply: str, says: str | None) -> None:
    assert parse_yes_no(reply) == says


def grounding(reply: str, box_format: str, size: tuple[int, int] = (640, 480)) -> float | None:
    """The score, or None where no box is read, of a picture that the model saw in its own size."""
    sample = Sample("a", "grounding", [], "it", boxes=[TRUE], width=640, height=480)
    reading = read_reply(sample, reply, Conventions(box_format, size))
    return reading.score if reading.settled else None


@pytest.mark.parametrize(
    "reply",
    [
        '{"bbox_2d": [100.0, 200.0, 300.0, 400.0]}',
        "{'bbox_2d': [100, 200, 300, 400]}",
        '{"bbox": [100, 200, 300, 400]}',
        "bbox_2d=[100, 200, 300, 400]",
        "[100, 200, 300, 400]",
        "[100,200,300,400]",
        "[100 200 300 400]",
        "（100，200，300，400）",
        '["100", "200", "300", "400"]',
        '{"bbox_2d": [100, 200, 300, 400, 0.9]}',
        "(100,200),(300,400)",
        "[[100, 200], [300, 400]]",
        "from (100, 200) to (300, 400)",
        '{"x1": 100, "y1": 200, "x2": 300, "y2": 400}',
        "bbox: 100, 200, 300, 400",
        '{"bbox_2d": "[100, 200, 300, 400]"}',
        "The bounding box is (100, 200, 300, 400).",
        "xmin=100, ymin=200, xmax=300, ymax=400",
        "<box>100 200 300 400</box>",
        '[{"bbox_2d": [100, 200, 300, 400], "label": "a"}, {"bbox_2d": [1, 2, 3, 4]}]',
        '<think>Perhaps [0, 0, 9, 9]?</think>{"bbox_2d": [100, 200, 300, 400]}',
        "[0.15625, 0.41666, 0.46875, 0.83333]",  # fractions of 640 x 480
    ],
)
def test_boxes_in_any_dress(reply: str) -> None:
    assert grounding(reply, "qwen2_5_vl") == 1.0


@pytest.mark.parametrize(
    ("reply", "box_format"),
    [
        ("", "qwen2_5_vl"),
        ("I see no dog", "plain"),
        ("100 200 300 400", "qwen2_5_vl"),  # how the bundled model writes, not this family
        ("[100, 200, 300]", "qwen2_5_vl"),
        ("bbox: 100, 200, 300, 400, 500, 600", "qwen2_5_vl"),
        ("[1, 2, 3, 4, 5, 6, 7, 8]", "qwen2_5_vl"),
        ("[100, 200, 300, 4000]", "qwen3_vl"),  # no thousandths
        ("[100, 200, 300, 400]", "unit"),  # no fractions
        ("<think>[100, 200, 300, 400]", "qwen2_5_vl"),
    ],
)
def test_what_is_no_box_is_unread(reply: str, box_format: str) -> None:
    assert grounding(reply, box_format) is None


@pytest.mark.parametrize(
    ("task", "answers", "reply", "score"),
    [
        ("vqa", ["red"], "The answer is **red**.", 1.0),
        ("vqa", ["a red car"], "red car", 1.0),
        ("vqa", ["red"], "not red", 0.0),
        ("vqa", ["?"], "?", 1.0),
        ("vqa", ["", "red"], "...", 0.0),
        ("vqa_score", ["stop"] * 10, "“Stop”。", 1.0),
        ("vqa_score", ["A"] * 10, "A", 1.0),
        ("vqa_score", ["A"] * 10, "a.", 1.0),
        ("vqa_score", ["A"] * 10, "The", 0.0),
        ("vqa_score", ["?"] * 10, "-", 0.0),
        ("vqa_score", ["?"] * 10, "?", 1.0),
        ("anls", ["", "red"], "<answer>red</answer>", 1.0),
        ("anls", ["Paris"], "The answer is Paris.", 1.0),
        ("anls", ["cat"], "dog" + " " * 9, 0.0),  # published: 3 of 12 characters differ
        ("ocr_contains", ["CAFE"], "ＣＡＦＥ Roma", 1.0),
        ("ocr_contains", ["cafe"], "<think>a cafe?</think>a bar", 0.0),
        ("yes_no", ["Yes"], "**Yes**", 1.0),
        ("video_multiple_choice", ["B"], "(b) dog", 1.0),
    ],
)
def test_replies_are_scored_as_a_person_reads_them(
    task: str, answers: list[str], reply: str, score: float
) -> None:
    sample = Sample("a", task, [], "?", answers=answers, choices=ANIMALS)
    assert read_reply(sample, reply, Conventions("plain", (1, 1))).score == pytest.approx(score)


@pytest.mark.parametrize("task", sorted(set(SCORERS) - {"open_answer"}))
@pytest.mark.parametrize("reply", ["", " \n\t", "\u3000", "<think>It must be B, yes, red, [1, 2"])
def test_nothing_said_is_unread_and_wrong(task: str, reply: str) -> None:
    answers = ["", "a", "B", "yes", "red"]
    about = {"answers": answers, "choices": ANIMALS, "boxes": [[0, 0, 1, 1]]}
    sample = Sample("a", task, [], "?", **about, width=1, height=1)
    assert read_reply(sample, reply, Conventions("qwen2_5_vl", (1, 1))) == UNREAD


@pytest.mark.parametrize("task", ["anls", "vqa", "vqa_score", "ocr_contains"])
@pytest.mark.parametrize("reply", ["..", "- -", "[, , ]", '"."', "...!"])
def test_marks_alone_are_similar_to_nothing(task: str, reply: str) -> None:
    """Half of the characters of "U.S." are full stops: its published similarity to ".." is 0.5."""
    sample = Sample(*("a", task, [], "?"), answers=["U.S.", "[1, 2, 3, 4]", "-1-2"])
    reading = read_reply(sample, reply, Conventions("plain", (28, 28)))
    assert reading.score == 0.0
    if task in ("anls", "vqa") and reply != "- -":
        assert not reading.settled


@pytest.mark.parametrize("task", ["anls", "vqa"])
@pytest.mark.parametrize("mark", ["?", "+", "..."])
def test_a_mark_that_is_the_answer_is_right(task: str, mark: str) -> None:
    sample = Sample(*("a", task, [], "?"), answers=["plus", mark])
    reading = read_reply(sample, mark, Conventions("plain", (28, 28)))
    assert (reading.score, reading.settled) == (1.0, True)
