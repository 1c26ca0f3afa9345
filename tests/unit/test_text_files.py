"""Text files are read to the letter, whoever wrote them and whichever source reads them."""

from __future__ import annotations

import codecs
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset, Features, Json, Value

from ivcprune.data.files import FileSource, TsvSource
from ivcprune.data.hub import HubSource
from ivcprune.data.image_folders import WithoutTableError, table_of_archives
from ivcprune.data.tables import TableSource
from source_formats import Row, as_base64, png, write_hub, write_table

COLUMNS: dict[str, Any] = {"id": "n", "question": "q", "answer": "a"}

Maker = Callable[[Path, str, str], TableSource]
"""From a folder, the ending of a file and its content to a source that reads it."""


def as_file(folder: Path, ending: str, content: str, **options: Any) -> TableSource:
    (folder / f"t.{ending}").write_bytes(content.encode())
    settings: dict[str, Any] = {"name": "mine", "task": "vqa", "columns": COLUMNS} | options
    return FileSource(path=str(folder / f"t.{ending}"), **settings)


def on_hub(folder: Path, ending: str, content: str, **options: Any) -> TableSource:
    (folder / "hub").mkdir()
    (folder / f"hub/test.{ending}").write_bytes(content.encode())
    settings: dict[str, Any] = {"name": "mine", "task": "vqa", "columns": COLUMNS} | options
    return HubSource(hub_ids=[str(folder / "hub")], split="test", **settings)


SOURCES: dict[str, Maker] = {"file": as_file, "hub": on_hub}
both = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def loaded(source: TableSource, folder: Path) -> list[tuple[Any, ...]]:
    """(id, question, answers) of each sample, or its error."""
    return [
        (row["error"],) if row["error"] else (row["id"], row["question"], row["answers"])
        for row in source.load(folder / "cache")
    ]


@both
@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["n,q,a", "1,which colour?,red,checked", "2,which shape?,round,checked"], 2),
        (["n,q,a", "1,red, green or blue?,red", "2,which shape?,round"], 2),
        (["n,q,a", "1,which?,red", "2,'which,one?',round", "3,who?,me"], 3),
        (["n,q,a", '1,"two', 'lines?",red', "2,a,b,c"], 4),
        (["n,q,a", '1,"no end,red', "2,a,b"], 2),
        (["n,q,a", '1,"which" colour?,red'], 2),
    ],
)
def test_a_line_that_is_no_row_is_named(
    source: Maker, ending: str, lines: list[str], line: int, tmp_path: Path
) -> None:
    text = "\n".join([*lines, ""])
    text = text.replace(",", "\t") if ending == "tsv" else text
    with pytest.raises((ValueError, FileNotFoundError), match=rf"line {line}\b"):
        source(tmp_path, ending, text).load(tmp_path / "cache")


def test_a_line_with_a_cell_too_many_is_refused_in_a_table_of_images(tmp_path: Path) -> None:
    image = as_base64(png())
    (tmp_path / "t.tsv").write_text(f"index\timage\tq\ta\n1\t{image}\twhich?\tred\tmore\n")
    columns = {"image": "image", "question": "q", "answer": "a"}
    source = TsvSource(name="mine", task="vqa", columns=columns, path=str(tmp_path / "t.tsv"))
    with pytest.raises(ValueError, match="line 2 has 5 cells where the header names 4"):
        source.load(tmp_path / "cache")


@both
def test_what_pandas_and_excel_write_is_read(source: Maker, tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"n": ["01", "02"], "q": ["which, or\nwhat?", "who?"], "a": ["1.50", "NA"]}
    )
    expected = [("01", "which, or\nwhat?", ["1.50"]), ("02", "who?", ["NA"])]
    for i, text in enumerate((
        table.to_csv(), table.to_csv(index=False), "\ufeff" + table.to_csv(index=False),
        table.to_csv(lineterminator="\r\n"), table.to_csv() + "\n\n", table.to_csv(quoting=1),
    )):  # fmt: skip
        folder = tmp_path / str(i)
        folder.mkdir()
        assert loaded(source(folder, "csv", text), folder) == expected


def test_excel_s_unicode_text_is_read(tmp_path: Path) -> None:
    content = codecs.BOM_UTF16_LE + "n\tq\ta\n1\twelche Größe?\tgrün\n".encode("utf-16-le")
    source = as_file(tmp_path, "tsv", "")
    (tmp_path / "t.tsv").write_bytes(content)
    assert loaded(source, tmp_path) == [("1", "welche Größe?", ["grün"])]


def test_an_index_of_pandas_can_be_named(tmp_path: Path) -> None:
    text = pd.DataFrame({"q": ["who?"], "a": ["me"]}, index=["x7"]).to_csv()
    source = as_file(tmp_path, "csv", text, columns=COLUMNS | {"id": "Unnamed: 0"})
    assert loaded(source, tmp_path) == [("x7", "who?", ["me"])]


def test_cells_that_excel_left_out_at_the_end_are_missing_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = as_file(tmp_path, "csv", "n,q,a,h\n1,who?,me,x\n2,which?,it\n3,what?\n")
    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        found = loaded(source, tmp_path)
    assert found[:2] == [("1", "who?", ["me"]), ("2", "which?", ["it"])]
    assert found[2] == ("row 2: there is no answer",)
    assert "2 rows have fewer cells than the header, the first in line 3" in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (",,\n1,2,3\n", "names no columns"),
        ("n,q,q\n1,2,3\n", r"has \['q'\] twice"),
    ],
)
def test_a_header_that_names_nothing_or_twice_is_refused(
    content: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=why):
        as_file(tmp_path, "csv", content).load(tmp_path / "cache")


def test_cells_may_be_longer_than_the_limit_of_csv(tmp_path: Path) -> None:
    question = "who? " * 50_000
    source = as_file(tmp_path, "csv", f"n,q,a\n1,{question},me\n")
    assert loaded(source, tmp_path) == [("1", question, ["me"])]


ANSWERS = ["red", 2, "1.50", "007", 1.5, 3.0, True, "2011-01-02", 10**21, "null", ["a", "b"],
           {"text": ["c"]}, [{"answer": "d", "id": 1}], [["e"]], "1e5"]  # fmt: skip
READ = [["red"], ["2"], ["1.50"], ["007"], ["1.5"], ["3"], ["true"], ["2011-01-02"],
        ["1000000000000000000000"], ["null"], ["a", "b"], ["c"], ["d"], ["e"], ["1e5"]]  # fmt: skip


@both
@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_cells_of_every_type_say_what_they_say(
    source: Maker, ending: str, mark: str, tmp_path: Path
) -> None:
    rows = [{"n": f"0{i}", "q": "which?", "a": answer} for i, answer in enumerate(ANSWERS)]
    text = "\n".join(map(json.dumps, rows)) if ending == "jsonl" else json.dumps(rows)
    found = loaded(source(tmp_path, ending, mark + text), tmp_path)
    assert found == [(f"0{i}", "which?", answers) for i, answers in enumerate(READ)]


@both
def test_texts_that_look_like_dates_or_numbers_stay_texts(source: Maker, tmp_path: Path) -> None:
    answers = ["2011-01-02", "2012-03-04T05:06:07Z"]
    rows = [{"n": f"{i}.0", "q": "when?", "a": answer} for i, answer in enumerate(answers)]
    found = loaded(source(tmp_path, "jsonl", "\n".join(map(json.dumps, rows))), tmp_path)
    assert found == [("0.0", "when?", answers[:1]), ("1.0", "when?", answers[1:])]


def test_every_role_of_a_mixed_column_is_read(tmp_path: Path) -> None:
    columns = COLUMNS | {"group": "g", "category": "c", "choices": "o", "hint": "h", "box": "b",
                         "image": "i"}  # fmt: skip
    (tmp_path / "7").write_bytes(png(30, 20))
    rows: list[Row] = [
        {"n": "a", "q": "who?", "a": "B", "g": "x", "c": "y", "o": ["1", "2"], "h": "z",
         "b": [1, 2, 3, 4], "i": "7"},
        {"n": 1, "q": 2, "a": ["B"], "g": 3, "c": 4.5, "o": {"A": 5, "B": True}, "h": 6,
         "b": "1 2 3 4", "i": 7},
    ]  # fmt: skip
    source = as_file(tmp_path, "json", json.dumps(rows), columns=columns, task="multiple_choice",
                     image_folder=str(tmp_path))  # fmt: skip
    first, second = source.load(tmp_path / "cache").remove_columns("images")
    assert second["error"] == ""
    for name in ("answers", "boxes", "width", "height"):
        assert first[name] == second[name]
    assert [second[name] for name in ("id", "question", "group_id", "category", "hint")] == [
        "1", "2", "3", "4.5", "6"
    ]  # fmt: skip
    assert second["choices"] == ["5", "true"]


def test_a_text_of_a_mixed_column_that_datasets_stored_is_read(tmp_path: Path) -> None:
    rows = [{"n": "1", "q": "?", "a": answer} for answer in ("red", "1.50", 2)]
    table = Dataset.from_list(rows, on_mixed_types="use_json")
    assert table.features["a"] == Json()
    table.to_parquet(str(tmp_path / "t.parquet"))
    settings: dict[str, Any] = {"name": "mine", "task": "vqa", "columns": COLUMNS}
    source = FileSource(path=str(tmp_path / "t.parquet"), **settings)
    assert [answers for _, _, answers in loaded(source, tmp_path)] == [["red"], ["1.50"], ["2"]]


@pytest.mark.parametrize(
    ("ending", "text", "rows"),
    [
        ("json", '{"n": 1,\n "q": "who?",\n "a": "me"}\n{"n": 2,\n "q": "x?", "a": "y"}', 2),
        ("json", '[{"n": 1, "q": "who?", "a": "me"}]', 1),
        ("jsonl", '\n{"n": 1, "q": "who?", "a": "me"}\n\n{"n": 2, "q": "x?", "a": "y"}\n', 2),
        ("jsonl", '{"n": 1, "q": "who?"}\n{"n": 2, "q": "x?", "a": "y"}', 2),
    ],
)
def test_json_in_every_layout(ending: str, text: str, rows: int, tmp_path: Path) -> None:
    assert len(loaded(as_file(tmp_path, ending, text), tmp_path)) == rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"q": 1, "q": 2}', "has the name 'q' twice"),
        ('{"q": "a"}\n{"q": "b"\n', "line 2"),
        ('{"q": "a"}\n{"q": "b", "q": "c"}\n', "line 2: an object has the name 'q' twice"),
        ("[" * 100_000, "recursion|nested"),
    ],
)
def test_json_that_is_none_is_refused(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"cannot be read as jsonl .*({why})"):
        as_file(tmp_path, "jsonl", text).load(tmp_path / "cache")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_table_of_a_folder_of_images_is_read_to_the_letter(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/b.png").write_bytes(png(30, 20))
    rows = [{"file_name": "sub/b.png", "q": "who?", "a": "007"}]
    if ending == "csv":
        write_table(folder / "metadata.csv", rows, separator=",")
    else:
        (folder / "metadata.jsonl").write_text(json.dumps(rows[0]))
    settings: dict[str, Any] = {"name": "mine", "task": "vqa"}
    settings["columns"] = {"image": "image", "question": "q", "answer": "a"}
    for source in (
        FileSource(path=str(folder), **settings),
        HubSource(hub_ids=[str(folder)], split="train", **settings),
    ):
        (row,) = source.load(tmp_path / "cache").with_format("arrow")[:].to_pylist()
        assert (row["answers"], row["width"]) == (["007"], 30)
        assert row["images"] == [{"bytes": None, "path": str(folder / "sub/b.png")}]


def write_archive(file: Path, table: str, folder: str = "") -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{folder}b.png", png(30, 20))
        archive.writestr(f"{folder}metadata.csv", table)


def of_archives(kind: str, folder: Path, cache_dir: Path) -> list[tuple[Any, ...]]:
    settings: dict[str, Any] = {"name": "mine", "task": "vqa"}
    settings["columns"] = {"image": "image", "question": "q", "answer": "a"}
    source = (
        FileSource(path=str(folder), **settings)
        if kind == "file"
        else HubSource(hub_ids=[str(folder)], split="train", **settings)
    )
    rows = source.load(cache_dir).with_format("arrow")[:].to_pylist()
    return [(row["question"], row["answers"], row["width"], row["error"]) for row in rows]


@pytest.mark.parametrize("kind", ["file", "hub"])
def test_the_table_in_an_archive_of_images_is_read_to_the_letter(kind: str, tmp_path: Path) -> None:
    """`datasets` reads it with pandas: 007 is 7 there, None is missing, a cell too many shifts."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_archive(folder / "a.zip", "file_name,q,a\nb.png,which agent?,007\n")
    more = "file_name,q,a\nb.png,how many?,2\nb.png,who?,None\n"
    write_archive(folder / "b.zip", more, "sub/")
    assert of_archives(kind, folder, tmp_path / "cache") == [
        ("which agent?", ["007"], 30, ""),
        ("how many?", ["2"], 30, ""),
        ("who?", ["None"], 30, ""),
    ]
    (folder / "b.zip").unlink()
    write_archive(folder / "a.zip", "file_name,q,a\nb.png,another?,1.50\n")
    assert of_archives(kind, folder, tmp_path / "cache") == [("another?", ["1.50"], 30, "")]
    write_archive(folder / "a.zip", "file_name,q,a\nb.png,red, or blue?,red\n")
    with pytest.raises((ValueError, FileNotFoundError), match="line 2 has 4 cells where"):
        of_archives(kind, folder, tmp_path / "cache")


def test_an_archive_without_a_table_is_left_to_datasets(tmp_path: Path) -> None:
    """Folders are labels there."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.png").write_bytes(png(30, 20))
    with pytest.raises(WithoutTableError):
        table_of_archives([str(tmp_path)], tmp_path / "cache")
    (tmp_path / "cat" / "metadata.csv").write_text("file_name,q\nb.png,who?\n")  # not above all
    with pytest.raises(WithoutTableError):
        table_of_archives([str(tmp_path)], tmp_path / "cache")


def test_the_table_of_a_repository_of_images_names_its_bad_line(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/b.png").write_bytes(png(30, 20))
    (tmp_path / "photos/metadata.csv").write_text("file_name,q,a\nb.png,red, or blue?,red\n")
    source = HubSource(name="mine", task="vqa", columns={"question": "q", "answer": "a"},
                       split="train", hub_ids=[str(tmp_path / "photos")])  # fmt: skip
    with pytest.raises(FileNotFoundError, match="line 2 has 4 cells where the header names 3"):
        source.load(tmp_path / "cache")


def test_a_folder_s_table_names_no_image_outside_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_table(folder / "metadata.csv", [{"file_name": "../b.png", "q": "?", "a": "x"}], ",")
    source = FileSource(name="mine", task="vqa", columns={"question": "q"}, path=str(folder))
    with pytest.raises(ValueError, match="lies outside of the folder"):
        source.load(tmp_path / "cache")


def test_splits_of_a_repository_of_text_files(tmp_path: Path) -> None:
    for split, numbers in (("train", "12"), ("test", "345")):
        rows = [{"n": n, "q": "?", "a": "x"} for n in numbers]
        (tmp_path / "hub" / split).parent.mkdir(exist_ok=True)
        (tmp_path / f"hub/{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def ids(split: str) -> list[str]:
        source = HubSource(name="m", task="vqa", columns=COLUMNS, split=split,
                           hub_ids=[str(tmp_path / "hub")])  # fmt: skip
        return list(source.load(tmp_path / "cache")["id"])

    assert ids("test") == ["3", "4", "5"]
    assert ids("train+test[:2]") == ["1", "2", "3", "4"]
    with pytest.raises(FileNotFoundError, match="nosuch"):
        ids("nosuch")


def test_an_error_row_names_column_and_cell(tmp_path: Path) -> None:
    rows = [{"n": "1", "q": "?", "a": "x"}, {"n": {"x": 1}, "q": "?", "a": "x"},
            {"n": "3", "q": "?", "a": {"value": "x", "other": "y"}},
            {"n": "4", "q": ["?", "!"], "a": "x"}, {"n": "5", "q": "?", "a": 1e300}]  # fmt: skip
    source = as_file(tmp_path, "json", json.dumps(rows))
    errors = list(source.load(tmp_path / "cache")["error"])
    assert errors[0] == ""
    assert errors[1].startswith("row 1: column 'n': {'x': 1} is a struct")
    assert errors[2].startswith("row 2: column 'a': {'value': 'x', 'other': 'y'} is a struct")
    assert "such as <column>.value" in errors[2]
    assert errors[3].startswith("row 3: column 'q': ['?', '!'] holds 2 texts")
    assert errors[4].startswith("row 4: column 'a': 1e+300 has lost its last digits")


def test_a_path_leads_into_a_list_of_structs(tmp_path: Path) -> None:
    answers = [{"answer": "x", "answer_id": 1}, {"answer": "y", "answer_id": 2}]
    rows = [{"n": "1", "q": "?", "a": {"all": answers}}]
    write_hub(tmp_path / "hub", {("default", "test"): rows}, {
        "n": Value("string"), "q": Value("string"),
        "a": Features({"all": [{"answer": Value("string"), "answer_id": Value("int32")}]}),
    })  # fmt: skip
    source = HubSource(name="m", task="vqa", split="test", hub_ids=[str(tmp_path / "hub")],
                       columns=COLUMNS | {"answer": "a.all.answer"})  # fmt: skip
    assert loaded(source, tmp_path) == [("1", "?", ["x", "y"])]
