"""What cells of every type say: a text, none, or a refusal; never Python's own notation of them."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ivcprune.data.answers import ANSWER_FORMATS
from ivcprune.data.decoding import rows_of
from ivcprune.data.options import options_of
from ivcprune.data.plain import plain
from ivcprune.data.structures import scalars_of, text_of
from ivcprune.data.texts import NoTextError, as_text, without_junk

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (np.float32("nan"), ""),
        (Decimal("NaN"), ""),
        (pd.NaT, ""),
        ("a", "a"),
        (np.str_("a"), "a"),
        (True, "true"),
        (np.bool_(False), "false"),
        (3, "3"),
        (np.int64(3), "3"),
        (12345678901234567890123, "12345678901234567890123"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.3, "0.3"),
        (np.float32(0.3), "0.3"),
        (1e-7, "0.0000001"),
        (1e15, "1000000000000000"),
        (Decimal("1E+3"), "1000"),
        (Decimal("2.50"), "2.50"),
        (datetime.date(2011, 1, 2), "2011-01-02"),
        (datetime.datetime(2011, 1, 2), "2011-01-02"),
        (datetime.datetime(2011, 1, 2, 3, 4), "2011-01-02 03:04:00"),
        (datetime.datetime(2011, 1, 2, tzinfo=UTC), "2011-01-02 00:00:00+00:00"),
        (datetime.time(3, 4), "03:04:00"),
        (b"2011", "2011"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_scalars_as_text(cell: Any, text: str) -> None:
    assert as_text(cell) == text


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ({"a": 1}, "is a struct"),
        (["a"], "is a list"),
        (np.array(["a"]), "is a list"),
        (b"\x89PNG", "no text in UTF-8"),
        (float("inf"), "no number that can be written"),
        (1.5e300, "has lost its last digits"),
        (float(2**53), "has lost its last digits"),
        (datetime.timedelta(1), "of the type timedelta"),
        (1j, "of the type complex"),
        (object(), "of the type object"),
    ],
)
def test_what_is_no_text_is_refused(cell: Any, why: str) -> None:
    with pytest.raises(NoTextError, match=why):
        as_text(cell)


TURNS = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "red"}]
PARTS = [{"type": "image"}, {"type": "text", "text": "q?"}]
LLAVA = [{"from": "human", "value": "<image>\nq?"}, {"from": "gpt", "value": "red"}]


@pytest.mark.parametrize(
    ("role", "cell", "texts"),
    [
        ("answer", "red", ["red"]),
        ("answer", None, []),
        ("answer", ["red", None, "blue"], ["red", "blue"]),
        ("answer", [["red"]], ["red"]),
        ("answer", [["red", "blue"]], ["red", "blue"]),
        ("answer", [["red"], ["blue"]], ["red", "blue"]),
        ("answer", np.array(["red", "blue"]), ["red", "blue"]),
        ("answer", {"answer": "red", "answer_id": 0}, ["red"]),
        ("answer", {"answer": "red", "text": None}, ["red"]),
        ("answer", {"text": ["red", "blue"], "answer_start": [3, 9]}, ["red", "blue"]),
        ("answer", [{"answer": "red", "answer_id": 0}, {"answer": "blue", "answer_id": 1}],
         ["red", "blue"]),
        ("answer", {"answer": None, "answer_id": 0}, []),
        ("answer", {}, []),
        ("question", {"question": "q?", "lang": "en"}, ["q?"]),
        ("question", TURNS, ["q?"]),
        ("answer", TURNS, ["red"]),
        ("question", TURNS[:1], ["q?"]),
        ("question", TURNS[0], ["q?"]),
        ("question", [{"role": "user", "content": PARTS}], ["q?"]),
        ("question", [{"role": "user", "content": "q?", "name": None}], ["q?"]),
        ("question", LLAVA, ["q?"]),
        ("answer", LLAVA, ["red"]),
    ],
)  # fmt: skip
def test_structs_and_lists_whose_meaning_is_plain(role: str, cell: Any, texts: list[str]) -> None:
    assert scalars_of(cell, role) == texts


@pytest.mark.parametrize(
    ("role", "cell", "why"),
    [
        ("answer", {"value": "red", "aliases": ["r"]}, r"name a path into it, .*<column>\.value"),
        ("answer", {"answer": "red", "text": "blue"}, "not exactly one of"),
        ("answer", [["red", "blue"], ["green"]], "a list of lists"),
        ("question", [*TURNS, TURNS[0]], "a conversation of more than"),
        ("question", [{"role": "system", "content": "x"}, TURNS[0]], "a conversation of more"),
        ("question", [TURNS[0], "more"], "a conversation of more"),
        ("question", [{"role": "user", "content": [{"type": "audio"}]}], "no text of a message"),
        ("category", TURNS, "a conversation, and no category"),
    ],
)
def test_structs_and_lists_whose_meaning_is_not_plain(role: str, cell: Any, why: str) -> None:
    with pytest.raises(NoTextError, match=why):
        scalars_of(cell, role)


def test_a_role_of_one_text_refuses_several() -> None:
    assert text_of(["q?"], "question") == "q?"
    with pytest.raises(NoTextError, match="holds 2 texts"):
        text_of(["q?", "r?"], "question")
    with pytest.raises(NoTextError, match="holds 2 texts"):
        text_of([{"role": "user", "content": [*PARTS, PARTS[1]]}], "question")


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (["red", None, "blue"], ["red", "", "blue"]),
        ("['red', 'blue']", ["red", "blue"]),
        ('["red", "blue"]', ["red", "blue"]),
        ({"A": "red", "C": "blue"}, ["red", "", "blue"]),
        ('{"A": "red", "B": "blue"}', ["red", "blue"]),
        ("{'label': ['A', 'B'], 'text': ['red', 'blue']}", ["red", "blue"]),
        ("['red|blue']", ["red|blue"]),
        ("", [""]),
        ({"A": "red", "B": "blue", "C": None}, ["red", "blue", ""]),
        ({"label": ["A", "B"], "text": ["red", "blue"]}, ["red", "blue"]),
        ({"text": ["red", None, "blue"]}, ["red", "", "blue"]),
        ([{"label": "A", "text": "red"}, {"label": "B", "text": "blue"}], ["red", "blue"]),
        ([1, 2.0, True, 0.5], ["1", "2", "true", "0.5"]),
        (["red\r", "a\r\nb", "\ufeffblue\u200b"], ["red", "a\nb", "blue"]),
        (["\r", "red"], ["", "red"]),
        (["a\u200bb"], ["ab"]),
    ],
)
def test_options_of_one_column(cell: Any, options: list[str]) -> None:
    assert options_of(cell, "options") == options


def test_options_of_several_columns_are_not_lists_themselves() -> None:
    assert options_of(["[1, 2]", None, 3.0], ["A", "B", "C"]) == ["[1, 2]", "", "3"]


@pytest.mark.parametrize(
    "cell",
    [
        {"label": ["B", "A"], "text": ["red", "blue"]},
        {"label": ["1", "2"], "text": ["red", "blue"]},
        [{"label": "B", "text": "red"}, {"label": "A", "text": "blue"}],
        {"first": "red", "second": "blue"},
        "['red' 'blue']",
        [["red", "blue"], ["green"]],
        [b"\xff"],
    ],
)
def test_options_that_letters_cannot_name_are_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"labelled|begins as a list|struct|texts|UTF-8"):
        options_of(cell, "options")


@pytest.mark.parametrize("cell", ["red|blue", "A. red\nB. blue", "red, blue", "(red) or (blue)"])
def test_options_in_one_text_are_refused(cell: str) -> None:
    """As the one option A, they would make every answer A right and any other an error."""
    with pytest.raises(ValueError, match="the options are the one text"):
        options_of(cell, "options")


@pytest.mark.parametrize("cell", ["{red, blue}", '{"A": "red"'])
def test_a_struct_written_as_text_that_is_none_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="begins as a list and is none"):
        options_of(cell, "options")


def test_an_answer_that_two_options_share_is_in_doubt() -> None:
    with pytest.raises(ValueError, match=r"the answer 'red' is several of the options"):
        ANSWER_FORMATS["choice"]("red", ["red", "blue", "red "])
    assert ANSWER_FORMATS["choice"]("blue", ["red", "blue", "red "]) == ["B"]


def test_unseen_characters_go_and_spaces_stay() -> None:
    assert without_junk(" red ") == " red "
    assert without_junk("\u200bred\r\n") == "red"
    assert without_junk("red\n") == "red\n"
    assert without_junk("one\rtwo") == "one\ntwo"


def test_float32_keeps_its_own_digits_however_deep_it_lies() -> None:
    narrow = pa.struct({"x": pa.list_(pa.float32()), "y": pa.float16(), "z": pa.string()})
    row = {"x": [0.3, None], "y": np.float16(0.1), "z": "a"}
    table = pa.table({
        "flat": pa.array([0.3], pa.float32()),
        "deep": pa.array([row], narrow),
        "none": pa.array([None], pa.list_(pa.float32())),
        "wide": pa.array([0.30000001192092896], pa.float64()),
    })  # fmt: skip
    assert rows_of(table) == [
        {"flat": 0.3, "deep": {"x": [0.3, None], "y": 0.1, "z": "a"}, "none": None,
         "wide": 0.30000001192092896}
    ]  # fmt: skip


def test_json_cells_are_decoded_and_bare_texts_stay_as_they_are_written() -> None:
    """`datasets` stores a text of a mixed column without its quotation marks if it is JSON."""
    texts = ['"red"', "2", "1.50", "1.5", "007", "null", "true", '{"a": [0.5]}', "[1]", None, '"1"']
    table = pa.table({"a": pa.array(texts, pa.json_())})
    assert [row["a"] for row in rows_of(table)] == [
        "red", 2, "1.50", 1.5, "007", "null", True, {"a": [0.5]}, [1], None, "1"
    ]  # fmt: skip


def test_metadata_is_json() -> None:
    cell = {"start": float("nan"), "day": datetime.date(2011, 1, 2), "n": [np.int64(3), 0.5, True]}
    assert plain(cell, "c") == {"start": None, "day": "2011-01-02", "n": [3, 0.5, True]}
    with pytest.raises(ValueError, match=r"column 'c': .* no text in UTF-8"):
        plain([b"\xff"], "c")


def test_a_cell_without_a_value_costs_itself_alone() -> None:
    """Python has no year 20000 and no text that is no UTF-8; Arrow and parquet have."""
    days = pa.array([10**7, 0], pa.date32())
    offsets, content = pa.array([b"\xff", b"red"], pa.binary()).buffers()[1:]
    texts = pa.Array.from_buffers(pa.string(), 2, [None, offsets, content])
    lists = pa.array([[10**7], [0]], pa.list_(pa.date32()))
    first, second = rows_of(pa.table({"day": days, "text": texts, "days": lists}))
    for cell, why in [(first["day"], "out of range"), (first["text"], "0xff")]:
        with pytest.raises(NoTextError, match=f"the cell cannot be read .*{why}"):
            text_of(cell, "answer")
    with pytest.raises(NoTextError, match="the cell cannot be read"):
        text_of(first["days"], "answer")
    assert text_of(second["day"], "answer") == "1970-01-01"
    assert second["text"] == "red"
    assert list(map(as_text, second["days"])) == ["1970-01-01"]


def test_maps_are_structs_and_keep_pairs_of_one_name() -> None:
    kind = pa.map_(pa.string(), pa.float32())
    pairs = [[("answer", 0.3), ("weight", None)], [], None, [("A", 0.1), ("A", 0.2)]]
    column = pa.array(pairs, kind)
    inside = pa.array([[pair] for pair in pairs], pa.list_(kind))
    rows = rows_of(pa.table({"map": column, "maps": inside}))
    assert [row["map"] for row in rows] == [
        {"answer": 0.3, "weight": None}, {}, None, [["A", 0.1], ["A", 0.2]],
    ]  # fmt: skip
    assert rows[0]["maps"] == [{"answer": 0.3, "weight": None}]
    assert text_of(rows[0]["map"], "answer") == "0.3"
    with pytest.raises(NoTextError, match="a list of lists"):
        scalars_of(rows[3]["map"], "answer")
