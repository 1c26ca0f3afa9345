"""One bad cell costs its own row: it becomes an error row, whatever is in the cell."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ivcprune.data.adapters import Explode, InlineOptions, Lookup, Modulo, Part
from ivcprune.data.batch import UnusableRowError, decode
from ivcprune.data.conversion import Converter
from ivcprune.data.files import FileSource, TsvSource
from ivcprune.data.hub import HubSource
from ivcprune.data.sample import FEATURES
from ivcprune.runs.results import scored_samples
from source_formats import IMAGE, NUMBERS, TEXT, Row, as_base64, png, stored, write_hub, write_table

COLUMNS: dict[str, Any] = {
    "id": "index", "image": "image", "question": "question", "answer": "answer",
    "choices": ["A", "B", "C"], "category": "kind", "group": "group",
}  # fmt: skip
GOOD: Row = {"index": "7", "image": as_base64(png()), "question": "which?", "answer": "B",
             "A": "red", "B": "green", "C": "blue", "kind": "colour", "group": "g"}  # fmt: skip


def convert(row: Row, **options: Any) -> list[Row]:
    """What a row of a table becomes, beside a good one; its index is 1."""
    table = Dataset.from_list([GOOD, row]).with_format("arrow")
    settings_ = {"name": "mine", "task": "multiple_choice", "columns": COLUMNS, "path": "t.tsv"}
    source = TsvSource(**settings_ | options)
    converter = Converter(source, source.image_reader(table))
    columns = converter.samples_of_batch(table[:], [0, 1])
    samples = Dataset.from_dict(columns, features=FEATURES).with_format("arrow")[:].to_pylist()
    assert samples[0]["error"] == ""
    return list(samples[1:])


@pytest.mark.parametrize(
    ("cells", "options", "reason"),
    [
        ({"question": " "}, {}, "the question is empty"),
        ({"answer": ""}, {}, "there is no answer"),
        ({"answer": "D"}, {}, r"the answer ['D'] is none of the letters A to C"),
        ({"answer": "green."}, {}, "none of the letters"),
        ({"A": "", "B": "", "C": ""}, {}, "there are no options"),
        ({"image": "[broken"}, {}, "'[broken' begins as a list and is none"),
        ({"index": "x"}, {"adapters": [Modulo("index", "base", 9)]}, "invalid literal for int()"),
        ({"kind": "z"}, {"adapters": [Lookup("kind", "k", {"colour": "c"})]}, "kind is 'z'"),
        ({"index": "x"}, {"adapters": [Part("kind", "k", ".", 0), Part("index", "i", "7", 1)]},
         "it has no part 1"),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_meant_becomes_an_error_row(
    cells: Row, options: dict[str, Any], reason: str
) -> None:
    (row,) = convert(GOOD | cells, **options)
    assert row["error"].startswith("row 1: ")
    assert reason in row["error"]
    assert row["task"] == "multiple_choice"
    assert row["id"] == cells.get("index", "7")
    assert (row["group_id"], row["category"]) == ("g", cells.get("kind", "colour"))
    assert (row["images"], row["answers"]) == ([], [])
    with pytest.raises(UnusableRowError, match="row 1: "):
        decode(row)


def hub(folder: Path, rows: list[Row], features: Row, **options: Any) -> Dataset:
    hub_id = write_hub(folder / "hub", {("default", "test"): rows}, features)
    source = HubSource(**{"name": "mine", "hub_ids": [hub_id], "split": "test"} | options)
    return source.load(folder / "cache")


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([1, 2, 3], "is not four numbers"),
        ([1, 2, 3, 4, 5], "is not four numbers"),
        (None, "there is no true box"),
        ([1, 2, 0, 4], "or it has no area"),
        ([1, 2, -3, 4], "is none in pixels, as xywh"),
        ([1, 2, 3, float("nan")], "is none in pixels, as xywh"),
        ([1, 2, float("inf"), 4], "is none in pixels, as xywh"),
    ],
)
def test_a_malformed_box_becomes_an_error_row(
    box: list[float] | None, reason: str, tmp_path: Path
) -> None:
    rows = [{"image": stored(png()), "text": "it", "bbox": b} for b in ([1, 2, 3, 4], box)]
    columns = {"image": "image", "question": "text", "box": "bbox"}
    features = {"image": IMAGE, "text": TEXT, "bbox": NUMBERS}
    samples = hub(
        tmp_path, rows, features, task="grounding", columns=columns, box_format="xywh",
        expected_samples=2,
    )  # fmt: skip
    assert samples["boxes"][0] == [[1, 2, 4, 6]]
    assert samples["error"][0] == ""
    assert reason in samples["error"][1]


@pytest.mark.parametrize(
    ("box_format", "box", "reason"),
    [
        ("xyxy", [0.1, 0.2, 0.5, 0.6], "data.box_format=xyxy_fractions reads those"),
        ("xyxy", [10, 10, 400, 30], "lies outside its image of 40 x 40 pixels"),
        ("xyxy_fractions", [4, 8, 20, 24], "is not within its image, as xyxy_fractions"),
        ("xyxy_fractions", [0.1, 0.2, 0.5, 0.6], ""),
        ("xywh_thousandths", [100, 200, 400, 400], ""),
    ],
)
def test_boxes_are_in_the_unit_that_is_said(
    box_format: str, box: list[float], reason: str, tmp_path: Path
) -> None:
    good = {"_fractions": 0.5, "_thousandths": 500}.get(box_format[4:], 20)
    rows = [{"image": stored(png()), "text": "it", "bbox": b} for b in ([0, 0, good, good], box)]
    columns = {"image": "image", "question": "text", "box": "bbox"}
    features = {"image": IMAGE, "text": TEXT, "bbox": NUMBERS}
    samples = hub(tmp_path, rows, features, task="grounding", columns=columns,
                  box_format=box_format)  # fmt: skip
    assert samples["boxes"][0] == [[0, 0, 20, 20]]
    assert reason in samples["error"][1]
    if not reason:
        assert samples["error"][1] == ""
        assert samples["boxes"][1] == [pytest.approx([4, 8, 20, 24])]


@pytest.mark.parametrize("said", [True, False])
def test_truth_answers_a_question_of_yes_or_no(said: bool, tmp_path: Path) -> None:
    rows = [{"text": "is it?", "said": said}]
    features = {"text": TEXT, "said": Value("bool")}
    columns = {"question": "text", "answer": "said"}
    samples = hub(tmp_path, rows, features, task="yes_no", columns=columns)
    assert samples["answers"][0] == ["Yes" if said else "No"]


def test_a_letter_with_what_nobody_sees_is_a_letter() -> None:
    for answer in ("B\r", "\ufeffB", " B\u200b "):
        (row,) = convert(GOOD | {"answer": answer})
        assert (row["error"], row["answers"]) == ("", ["B"])


@pytest.mark.parametrize(("role", "column"), [("question", "question"), ("hint", "kind")])
def test_a_text_that_is_the_notation_of_a_conversation_is_refused(role: str, column: str) -> None:
    text = "[{'role': 'user', 'content': 'which?'}]"
    (row,) = convert(GOOD | {column: text}, columns=COLUMNS | {"hint": "kind"})
    assert f"the {role} " in row["error"]
    assert "is a list or struct written as text" in row["error"]


def test_a_missing_image_becomes_an_error_row(tmp_path: Path) -> None:
    rows = [{"image": image, "text": "it", "said": "yes"} for image in (stored(png()), None)]
    columns = {"image": "image", "question": "text", "answer": "said"}
    features = {"image": IMAGE, "text": TEXT, "said": TEXT}
    samples = hub(tmp_path, rows, features, task="yes_no", columns=columns)
    assert samples["error"][:] == ["", "row 1: the image is missing"]
    assert samples["id"][:] == ["000000", "000001"]


def test_one_of_several_images_may_be_missing(tmp_path: Path) -> None:
    rows = [{"a": stored(png()), "b": b, "text": "it", "said": "x"} for b in (None, stored(png()))]
    columns = {"image": ["a", "b"], "question": "text", "answer": "said"}
    features = {"a": IMAGE, "b": IMAGE, "text": TEXT, "said": TEXT}
    samples = hub(tmp_path, rows, features, task="vqa", columns=columns)
    assert samples["error"][:] == ["", ""]
    assert [len(row["images"]) for row in samples.with_format("arrow")[:].to_pylist()] == [1, 2]


def test_a_task_that_nobody_knows_costs_its_row(tmp_path: Path) -> None:
    rows = [{"q": "?", "a": "x", "t": task} for task in ("vqa", "vga")]
    write_table(tmp_path / "t.csv", rows, separator=",")
    source = FileSource(
        name="mine", task="anls", path=str(tmp_path / "t.csv"),
        columns={"question": "q", "answer": "a", "task": "t"},
    )  # fmt: skip
    samples = source.load(tmp_path / "cache")
    assert samples["task"][:] == ["vqa", "anls"]
    assert "row 1: the task is 'vga': known are ['anls', " in samples["error"][1]


def test_a_row_that_may_stand_for_several_samples_makes_no_wrong_number_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"said": said, "a": "x"} for said in ("['a', 'b']", "['c', 'd'", "['e']", "['f', None]")
    ]
    write_table(tmp_path / "t.csv", rows, separator=",")

    def load(expected: int) -> Dataset:
        source = FileSource(
            name="mine", task="vqa", path=str(tmp_path / "t.csv"), adapters=[Explode("said")],
            columns={"question": "said", "answer": "a"}, expected_samples=expected,
        )  # fmt: skip
        return source.load(tmp_path / "cache")

    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        samples = load(7)
    assert samples["id"][:] == ["000000-0", "000000-1", "000001", "000002", "000003-0", "000003-1"]
    assert [bool(error) for error in samples["error"]] == [False, False, True, False, False, True]
    assert "gives 6 samples where 7 are expected; a row that cannot be used may" in caplog.text
    assert "2 of 6 samples cannot be used (row 1: \"['c', 'd'\" begins as a list" in caplog.text
    with pytest.raises(ValueError, match="gives 6 samples where 5 are expected"):
        load(5)


def test_metrics_leave_out_rows_of_which_nothing_is_known() -> None:
    rows = [
        {"id": i, "group_id": group, "category": "", "answers": [], "metadata": "", "error": error}
        for i, group, error in (("a", "g", ""), ("b", "g", "row 1: no"), ("c", "", "row 2: no"))
    ]
    assert [sample.id for sample in scored_samples(Dataset.from_list(rows))] == ["a", "b"]


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["[", "['a", "[[[", "\x00", "nan", "0", "-1", "1e999", "A", "B.", "Z", "[None]",
                     "['\\ud800']", "{'a': 1}", "9" * 400, "[" * 500, "A. x\nB. y"]),
)  # fmt: skip


ADAPTERS = [
    *(Explode("question"), Explode("answer", separator=","), InlineOptions("question", "x")),
    *(Modulo("index", "base", 7), Part("kind", "part", ".", -1), Lookup("B", "b", {"green": "g"})),
]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    cells=st.fixed_dictionaries(dict.fromkeys(GOOD, TEXTS)),
    answer_format=st.sampled_from(["text", "listed", "index", "choice"]),
    adapters=st.lists(st.sampled_from(ADAPTERS), max_size=3),
    task=st.sampled_from(["multiple_choice", "vqa", "yes_no", "grounding", "open_answer"]),
)
def test_no_row_stops_a_load(
    cells: Row, answer_format: str, adapters: list[Any], task: str
) -> None:
    table = Dataset.from_list([GOOD, cells]).with_format("arrow")
    source = TsvSource(
        name="mine", task=task, columns=COLUMNS | {"box": "C"}, path="t.tsv", adapters=adapters,
        answer_format=answer_format, metadata={"kind": "kind"},
    )  # fmt: skip
    converted = Converter(source, source.image_reader(table)).samples_of_batch(table[1:], [1])
    samples = Dataset.from_dict(converted, features=FEATURES).with_format("arrow")[:].to_pylist()
    assert len({sample["id"] for sample in samples}) == len(samples)
    for sample in samples:
        assert sample["task"] == task
        json.loads(sample["metadata"] or "{}")
        if not sample["error"]:
            assert sample["question"].strip()
            assert sample["images"]
            scored_by = sample["boxes"] if task == "grounding" else sample["answers"]
            assert scored_by or task == "open_answer"
