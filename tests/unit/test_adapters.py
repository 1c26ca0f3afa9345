"""Steps between a source's rows and canonical samples, and what single cells mean."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ivcprune.data.adapters import (
    Explode,
    InlineOptions,
    Lookup,
    MissingColumnError,
    Modulo,
    Part,
    Strip,
    Template,
    UnionBox,
    cell_of,
)
from ivcprune.data.answers import ANSWER_FORMATS
from ivcprune.data.cells import parse_list
from ivcprune.data.options import trim_choices
from ivcprune.data.texts import as_text


def test_a_dot_leads_into_a_struct_unless_it_is_part_of_the_name() -> None:
    row = {"a": {"b": 1}, "c.d": 2}
    assert (cell_of(row, "a.b"), cell_of(row, "c.d")) == (1, 2)
    assert cell_of({"a": None}, "a.b") is None
    with pytest.raises(MissingColumnError, match=r"x\.a"):
        cell_of(row, "x.a")
    with pytest.raises(ValueError, match=r"a\.x leads nowhere in \{'b': 1\}"):
        cell_of(row, "a.x")
    with pytest.raises(ValueError, match=r"a\.b leads nowhere in 'text'"):
        cell_of({"a": "text"}, "a.b")


def test_a_dot_leads_into_the_members_of_a_list_and_a_number_to_one_of_them() -> None:
    row = {"a": [{"b": "x", "c": [1, 2]}, {"b": "y", "c": [3]}, None]}
    assert cell_of(row, "a.b") == ["x", "y", None]
    assert cell_of(row, "a.1.b") == "y"
    assert cell_of({"a": row["a"][:2]}, "a.c") == [[1, 2], [3]]
    for path in ("a.z", "a.7.b", "a.b.z"):
        with pytest.raises(ValueError, match=rf"{path} leads nowhere in \[\{{'b': 'x'"):
            cell_of(row, path)


def test_explode_gives_a_row_for_each_member() -> None:
    assert Explode("x")({"x": ["a", "b"], "y": 1}) == [{"x": "a", "y": 1}, {"x": "b", "y": 1}]
    assert Explode("x.y", to="z")({"x": {"y": [1]}}) == [{"x": {"y": [1]}, "z": 1}]
    assert Explode("x", separator=",")({"x": "random, popular"}) == [
        {"x": "random"},
        {"x": "popular"},
    ]
    assert Explode("x")({"x": "['a', 'b']"}) == [{"x": "a"}, {"x": "b"}]
    assert Explode("x")({"x": []}) == []
    for cell, separator, named in (
        (None, None, "missing"),
        (None, ",", "missing"),
        ("[a", None, "begins as a list"),
    ):
        with pytest.raises(ValueError, match=named):
            Explode("x", separator=separator)({"x": cell})


def test_small_adapters() -> None:
    assert Template(to="file", template="{a}/{b}.jpg")({"a": "x", "b": 7.0})[0]["file"] == "x/7.jpg"
    assert Lookup("a", "b", {"1": "one"})({"a": 1})[0]["b"] == "one"
    with pytest.raises(ValueError, match=r"a is '2': known are \['1'\]"):
        Lookup("a", "b", {"1": "one"})({"a": 2})
    assert Part("id", "task", ".", 0)({"id": "mazenav.0.2"})[0]["task"] == "mazenav"
    assert Part("id", "type", ".", -1)({"id": "mazenav.0.2"})[0]["type"] == "2"
    with pytest.raises(ValueError, match="has no part 3"):
        Part("id", "type", ".", 3)({"id": "mazenav.0.2"})
    assert Modulo("index", "base", 1_000_000)({"index": "3000241"})[0]["base"] == 241
    assert Strip("options", r"^[A-D]\.\s*")({"options": ["A. a dog", "B.  B. B"]}) == [
        {"options": ["a dog", "B. B"]}
    ]
    assert Strip("o", r"^[A-D]\.\s*")({"o": ["\ufeffA. a dog\r", "B. a\r\ncat"]}) == [
        {"o": ["a dog", "a\ncat"]}
    ]
    assert Strip("q", "Say it.")({"q": "Who? Say it."}) == [{"q": "Who?"}]
    union = UnionBox([["ax", "ay", "aw", "ah"], ["bx", "by", "bw", "bh"]], to="box")
    row = {"ax": "0", "ay": "5", "aw": "10", "ah": "5", "bx": "4", "by": "0", "bw": "10", "bh": "2"}
    assert union(row)[0]["box"] == [0, 0, 14, 10]


@pytest.mark.parametrize(
    ("text", "question", "choices"),
    [
        ("Who?\nA. a dog\nB. a cat", "Who?", ["a dog", "a cat"]),
        ("Who?\n(A) a dog\n(B) a cat\nAnswer.", "Who?\nAnswer.", ["a dog", "a cat"]),
        ("Who?\nA: a dog\nB) A. B.\nC. c", "Who?", ["a dog", "A. B.", "c"]),
        ("Who?\nB. b\nA. a", "Who?\nB. b\nA. a", []),
        ("I. am one line", "I. am one line", []),
        ("Who?\r\nA. a dog\r\nB. a cat\r\n", "Who?", ["a dog", "a cat"]),
        ("Who?\rA. a dog\rB. a cat", "Who?", ["a dog", "a cat"]),
        ("\ufeffWho?\n\u200bA. a dog\nB\u200b. a cat\u200e", "Who?", ["a dog", "a cat"]),
        ("A. Turing, who is it?", "A. Turing, who is it?", []),
    ],
)
def test_options_inside_a_question(text: str, question: str, choices: list[str]) -> None:
    (row,) = InlineOptions("q", task_with="multiple_choice", task_without="vqa")({"q": text})
    assert (row["q"], row["choices"]) == (question, choices)
    assert row["task"] == ("multiple_choice" if choices else "vqa")


@given(st.text())
def test_inline_options_take_any_text(text: str) -> None:
    (row,) = InlineOptions("q")({"q": text})
    assert len(row["choices"]) != 1
    assert "task" not in row


@pytest.mark.parametrize(
    ("answer_format", "cell", "letters"),
    [
        ("text", "B", ["B"]),
        ("text", ["a", None], ["a", ""]),
        ("text", 3.0, ["3"]),
        ("listed", "['a', \"it's\"]", ["a", "it's"]),
        ("listed", "plain", ["plain"]),
        ("index", 1, ["B"]),
        ("index", "2", ["C"]),
        ("choice", " blue ", ["C"]),
        ("zero_one", "1", ["Yes"]),
        ("zero_one", 0, ["No"]),
        ("zero_one", True, ["Yes"]),
        ("zero_one", "0.0", ["No"]),
        ("index", "1.0", ["B"]),
        ("index", 1.0, ["B"]),
        (
            "listed",
            "[{'answer': 'a', 'answer_id': 1}, {'answer': 'b', 'answer_id': 2}]",
            ["a", "b"],
        ),
        ("verbatim", "['a', 'b']", ["['a', 'b']"]),
        ("text", "[1, 2]", ["[1, 2]"]),
    ],
)
def test_answer_formats(answer_format: str, cell: Any, letters: list[str]) -> None:
    assert ANSWER_FORMATS[answer_format](cell, ["red", "green", "blue"]) == letters


@pytest.mark.parametrize(
    ("answer_format", "cell"), [("index", 3), ("index", -1), ("choice", "grey")]
)
def test_answers_that_name_no_option(answer_format: str, cell: Any) -> None:
    with pytest.raises(ValueError, match="the answer"):
        ANSWER_FORMATS[answer_format](cell, ["red", "green", "blue"])


@pytest.mark.parametrize(
    "cell", ["['a', 'b']", '["a"]', "{'answer': 'a'}", "['a' 'b']", "array(['a'], dtype=object)"]
)
def test_an_answer_that_is_the_notation_of_a_list_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"written as text: data\.answer_format=listed"):
        ANSWER_FORMATS["text"](cell, [])


def test_texts_without_a_comma_between_them_are_no_list() -> None:
    """As numpy writes them: Python would read 'ab'."""
    for text in ("['a' 'b']", "['a'\n 'b']"):
        with pytest.raises(ValueError, match="begins as a list and is none"):
            parse_list(text)


@given(st.lists(st.text()))
def test_lists_survive_being_written_as_text(texts: list[str]) -> None:
    assert parse_list(str(texts)) == texts


@given(st.text())
@example("[1")
@example("[" * 10_000)
@example("{[]: 1}")
def test_a_text_is_a_list_unless_it_begins_as_one_and_is_none(text: str) -> None:
    if text.lstrip().startswith("["):
        with suppress(ValueError):
            assert isinstance(parse_list(text), list)
    else:
        assert isinstance(parse_list(text), list)


def test_missing_options_leave_a_gap_but_no_tail() -> None:
    assert trim_choices(["a", None, "c", None, None]) == ["a", "", "c"]
    assert trim_choices([]) == []
    assert as_text(3.5) == "3.5"
