"""Steps between a source's rows and canonical samples, and what single cells mean."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from source_formats import png

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
from ivcprune.data.cells import (
    ANSWER_FORMATS,
    as_text,
    decode_base64,
    image_size,
    parse_list,
    to_boxes,
    trim_choices,
)


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


def test_boxes_in_every_notation() -> None:
    corners = [[1.0, 2.0, 4.0, 6.0]]
    assert to_boxes("1 2 4 6", "xyxy") == corners
    assert to_boxes("[1, 2, 3, 4]", "xywh") == corners
    assert to_boxes([1, 2, 3, 4], "xywh") == corners
    assert to_boxes(["1", "2", "3", "4"], "xywh") == corners
    assert to_boxes([[1, 2, 4, 6]], "xyxy") == corners
    assert to_boxes(None, "xyxy") == []


def test_sizes_come_from_the_header_alone() -> None:
    image = decode_base64(base64.b64encode(png(30, 20)).decode())
    assert image_size(image) == (30, 20)
    assert image_size({"bytes": png(30, 20)[:60], "path": None}) == (30, 20)
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(turned, format="JPEG", exif=exif)
    assert image_size({"bytes": turned.getvalue(), "path": None}) == (20, 30)
    assert image_size(decode_base64("no base64!")) == (0, 0)
    assert image_size({"bytes": None, "path": "/no/such/file.png"}) == (0, 0)
