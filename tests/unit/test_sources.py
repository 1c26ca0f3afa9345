"""The data group: every configuration builds a source; tables of every kind become samples."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hydra.utils import get_class
from omegaconf import OmegaConf

from ivcprune.configuration.build import compose
from ivcprune.data.conversion import MISSING
from ivcprune.data.files import FileSource, TsvSource
from ivcprune.data.hub import HubSource
from ivcprune.data.sample import FEATURES
from ivcprune.data.sources import ScenesSource
from source_formats import (
    CORRUPT,
    IMAGE,
    NUMBER,
    TEXT,
    TEXTS,
    Row,
    as_base64,
    png,
    stored,
    write_hub,
    write_json,
    write_table,
)

SELECTION = {"_target_", "limit", "subset_seed"}
SCORING = {"metrics", "parser"}
CONFIGS = resources.files("ivcprune.conf") / "data"
NAMES = sorted(f.name.removesuffix(".yaml") for f in CONFIGS.iterdir() if f.name.endswith(".yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_configuration_fits_its_source(name: str) -> None:
    cfg = OmegaConf.to_container(compose([f"data={name}"]).data)
    assert isinstance(cfg, dict)
    assert cfg["name"] == name
    assert set(cfg) >= SELECTION
    source = get_class(cfg["_target_"])
    assert set(cfg) - SELECTION - SCORING == {field.name for field in fields(source)}


@pytest.mark.parametrize("name", NAMES)
def test_configuration_begins_with_a_description(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    if name != "scenes":
        assert all(word in text for word in ("# Source: ", "# Licence", "# Metric: ", "Trap"))


def test_scenes_are_canonical_and_hold_both_tasks(tmp_path: Path) -> None:
    samples = ScenesSource(size=6).load(tmp_path)
    assert samples.features == FEATURES
    assert set(samples["task"]) == {"grounding", "vqa"}
    assert len(set(samples["id"])) == len(samples) == 6


@pytest.mark.parametrize("option", [{"split": "val"}, {"size": 0}, {"size": "ten"}, {"seed": -1}])
def test_bad_values_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"data.{next(iter(option))} is "):
        ScenesSource(**option)


COLUMNS = {"image": "image", "question": "question", "answer": "answer"}


def file_source(file: Path, **options: Any) -> FileSource:
    settings: dict[str, Any] = {"name": "mine", "task": "vqa", "columns": COLUMNS}
    return FileSource(**settings | {"path": str(file)} | options)


def rows_of(samples: Dataset) -> list[Row]:
    rows: list[Row] = samples.with_format("arrow")[:].to_pylist()
    return rows


def pictures(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        (folder / name).write_bytes(png(30 + i, 20, seed=i))


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_files_of_every_kind_give_the_same_samples(ending: str, tmp_path: Path) -> None:
    pictures(tmp_path, "a.png", "b.png")
    rows = [
        {"image": f"{name}.png", "question": f"what is {name}?", "answer": name} for name in "ab"
    ]
    file = tmp_path / f"table.{ending}"
    if ending in ("csv", "tsv"):
        write_table(file, rows, separator="," if ending == "csv" else "\t")
    elif ending == "parquet":
        Dataset.from_list(rows).to_parquet(str(file))
    else:
        write_json(file, rows)
    first, second = rows_of(file_source(file, image_folder=str(tmp_path)).load(tmp_path / "cache"))
    assert first["images"] == [{"bytes": None, "path": str(tmp_path / "a.png")}]
    assert (first["id"], first["group_id"], first["task"]) == ("000000", "000000", "vqa")
    assert (second["question"], second["answers"]) == ("what is b?", ["b"])
    assert (second["width"], second["height"]) == (31, 20)


def test_a_folder_of_images_is_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures(folder, "a.png", "b.png")
    rows = [{"file_name": f"{name}.png", "question": "who?", "answer": name} for name in "ab"]
    write_table(folder / "metadata.csv", rows, separator=",")
    samples = rows_of(file_source(folder).load(tmp_path / "cache"))
    assert [sample["answers"] for sample in samples] == [["a"], ["b"]]
    assert [sample["width"] for sample in samples] == [30, 31]


def test_cells_of_a_text_table_stay_text(tmp_path: Path) -> None:
    rows = [
        {"id": "007", "question": "1.50", "answer": "NA", "hint": ""},
        {"id": "12345678901234567890", "question": "1e5", "answer": "None", "hint": "x"},
    ]
    write_table(tmp_path / "t.csv", rows, separator=",")
    columns = {"id": "id", "question": "question", "answer": "answer", "hint": "hint"}
    samples = rows_of(file_source(tmp_path / "t.csv", columns=columns).load(tmp_path / "cache"))
    assert [sample["id"] for sample in samples] == ["007", "12345678901234567890"]
    assert [sample["question"] for sample in samples] == ["1.50", "1e5"]
    assert [sample["answers"] for sample in samples] == [["NA"], ["None"]]
    assert [sample["hint"] for sample in samples] == ["", "x"]


def test_missing_texts_are_those_of_pandas(tmp_path: Path) -> None:
    texts = [*MISSING["pandas"], "none", "Nan", "N.A.", "-", "Null", "0"]
    write_table(
        tmp_path / "t.csv", [{"number": i, "text": text} for i, text in enumerate(texts)], ","
    )
    lost = pd.read_csv(tmp_path / "t.csv")["text"].isna()
    assert [text for text, is_lost in zip(texts, lost, strict=True) if is_lost] == [
        *MISSING["pandas"]
    ]


TSV = {"id": "index", "image": "image", "question": "question", "answer": "answer",
       "choices": ["A", "B", "C", "D"]}  # fmt: skip


def tsv_row(index: int, **cells: Any) -> Row:
    row = {"index": index, "image": as_base64(png(seed=index)), "question": "?", "answer": "B"}
    return row | dict.fromkeys("ABCD", "x") | cells


def tsv_source(folder: Path, rows: list[Row], **options: Any) -> TsvSource:
    write_table(folder / "t.tsv", rows)
    settings = {"name": "mine", "task": "multiple_choice", "columns": TSV} | options
    return TsvSource(path=str(folder / "t.tsv"), **settings)


def test_image_cells_may_name_the_row_that_has_the_image(tmp_path: Path) -> None:
    several = f"['{as_base64(png(10, 11))}', '{as_base64(png(12, 13))}']"
    rows = [tsv_row(0), tsv_row(1, image="0"), tsv_row(2, image="77"), tsv_row(3, image=several),
            tsv_row(4, image=None), tsv_row(5, image="3")]  # fmt: skip
    samples = rows_of(tsv_source(tmp_path, rows).load(tmp_path / "cache"))
    assert [sample["id"] for sample in samples] == ["0", "1", "2", "3", "5"]
    assert samples[1]["images"] == samples[0]["images"] == [stored(png(seed=0))]
    assert (samples[2]["width"], samples[2]["height"]) == (0, 0)  # found broken when it is decoded
    assert len(samples[3]["images"]) == 2
    assert (samples[3]["width"], samples[3]["height"]) == (10, 11)
    assert samples[4]["images"] == samples[3]["images"]


@pytest.mark.parametrize(
    ("missing", "choices"), [("pandas", ["x", "", "x"]), ("none", ["x", "NA", "x", "None"])]
)
def test_options_whose_text_means_missing(missing: str, choices: list[str], tmp_path: Path) -> None:
    row = tsv_row(0, B="NA", D="None")
    (sample,) = rows_of(tsv_source(tmp_path, [row], missing=missing).load(tmp_path / "cache"))
    assert sample["choices"] == choices


def hub(folder: Path, rows: list[Row], **options: Any) -> HubSource:
    features = {"image": IMAGE, "question": TEXT, "answer": TEXTS, "kind": TEXT, "number": NUMBER}
    hub_id = write_hub(folder / "hub", {("default", "test"): rows}, features)
    settings = {"name": "mine", "task": "vqa", "split": "test", "columns": COLUMNS}
    return HubSource(**settings | {"hub_ids": [hub_id]} | options)


def hub_rows(n: int) -> list[Row]:
    return [
        {"image": stored(png(seed=i)), "question": f"{i}?", "answer": [str(i)], "number": i,
         "kind": "ab"[i % 2]}
        for i in range(n)
    ]  # fmt: skip


def test_images_of_a_hub_table_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = hub_rows(2)
    rows[1]["image"] = stored(CORRUPT)
    samples = rows_of(hub(tmp_path, rows).load(tmp_path / "cache"))
    assert [sample["images"] for sample in samples] == [[stored(png(seed=0))], [stored(CORRUPT)]]


def test_the_first_repository_that_answers_is_used(tmp_path: Path) -> None:
    source = hub(tmp_path, hub_rows(2))
    with_a_moved_one = hub(
        tmp_path, hub_rows(2), hub_ids=[str(tmp_path / "moved"), *source.hub_ids]
    )
    assert len(with_a_moved_one.load(tmp_path / "cache")) == 2
    lost = hub(tmp_path, hub_rows(2), hub_ids=[str(tmp_path / "moved"), str(tmp_path / "gone")])
    with pytest.raises(FileNotFoundError, match=r"'mine' cannot be loaded .*moved.*gone.*hub_ids="):
        lost.load(tmp_path / "cache")


def test_what_was_converted_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = hub(tmp_path, hub_rows(3), expected_rows=3)
    first = rows_of(source.load(tmp_path / "cache"))
    with monkeypatch.context() as without_network:
        without_network.delattr(HubSource, "read")
        assert rows_of(source.load(tmp_path / "cache")) == first
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(FileNotFoundError, match="cannot be loaded"):
        source.load(tmp_path / "other_cache")


def test_a_changed_source_is_converted_anew(tmp_path: Path) -> None:
    assert len(hub(tmp_path, hub_rows(1)).load(tmp_path / "cache")) == 1
    assert len(hub(tmp_path, hub_rows(2)).load(tmp_path / "cache")) == 2
    source = tsv_source(tmp_path, [tsv_row(0)])
    assert len(source.load(tmp_path / "cache")) == 1
    assert len(tsv_source(tmp_path, [tsv_row(0), tsv_row(1)]).load(tmp_path / "cache")) == 2


def test_rows_are_chosen_by_their_cells(tmp_path: Path) -> None:
    def questions(where: dict[str, Any]) -> list[str]:
        return list(hub(tmp_path, hub_rows(6), where=where).load(tmp_path / "cache")["question"])

    assert questions({"kind": "b"}) == ["1?", "3?", "5?"]
    assert questions({"kind": "b", "number": [1, 2, 5]}) == ["1?", "5?"]
    with pytest.raises(ValueError, match=r"no samples: data.where={'kind': 'c'} and"):
        questions({"kind": "c"})


@pytest.mark.parametrize(("written", "wanted"), [("True", True), ("true", True), ("FALSE", False)])
def test_truth_in_a_csv_is_chosen_by_its_meaning(
    written: str, wanted: bool, tmp_path: Path
) -> None:
    rows = [{"question": "?", "answer": f"{i}", "kept": cell} for i, cell in enumerate(
        (written, "maybe", str(not wanted)))]  # fmt: skip
    write_table(tmp_path / "t.csv", rows, separator=",")
    columns = {"question": "question", "answer": "answer"}
    source = file_source(tmp_path / "t.csv", columns=columns, where={"kept": wanted})
    assert source.load(tmp_path / "cache")["answers"][:] == [["0"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "question,answer\n"),
        ("t.csv", ""),
        ("t.tsv", "\n\n"),
        ("t.json", "[]"),
        ("t.jsonl", ""),
        ("t.jsonl", "{}\n"),
    ],
)
def test_a_table_without_rows_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"'mine' has no rows \(data.path is '.*{name}'\): name"):
        asked_and_answered(tmp_path / name).load(tmp_path / "cache")


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"question": [], "answer": []}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"'mine' has no rows \(data.path is '.*t.parquet'\)"):
        asked_and_answered(tmp_path / "t.parquet").load(tmp_path / "cache")


def asked_and_answered(file: Path) -> FileSource:
    return file_source(file, columns={"question": "question", "answer": "answer"})


def test_metadata_and_joined_columns(tmp_path: Path) -> None:
    columns = COLUMNS | {
        "group": ["kind", "number"],
        "category": ["kind", "question"],
        "id": "question",
    }
    source = hub(tmp_path, hub_rows(1), columns=columns, metadata={"n": "number"})
    (sample,) = rows_of(source.load(tmp_path / "cache"))
    assert (sample["id"], sample["group_id"], sample["category"]) == ("0?", "a-0", "a / 0?")
    assert sample["metadata"] == '{"n": 0}'


def test_a_changed_number_of_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'mine' has 3 rows where 4 are expected"):
        hub(tmp_path, hub_rows(3), expected_rows=4).load(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"'mine' gives 3 samples where 2 are expected"):
        hub(tmp_path, hub_rows(3), expected_samples=2).load(tmp_path / "cache")
    assert len(hub(tmp_path, hub_rows(3), expected_samples=3).load(tmp_path / "cache")) == 3


def test_an_uncertain_number_of_samples_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = hub(tmp_path, hub_rows(3), expected_samples=2, samples_certain=False)
    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        assert len(source.load(tmp_path / "cache")) == 3
    assert "gives 3 samples where 2 are expected" in caplog.text


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    source = hub(tmp_path, hub_rows(2), columns=COLUMNS | {"category": "topic"})
    with pytest.raises(ValueError, match=r"'mine' has no column 'topic': its columns are .*'kind'"):
        source.load(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"no column \['index'\]"):
        tsv_source(tmp_path, [{"image": "x", "question": "?"}]).load(tmp_path / "cache")


def test_a_damaged_download_is_noticed(tmp_path: Path) -> None:
    source = tsv_source(tmp_path, [tsv_row(0)], md5="0" * 32)
    with pytest.raises(ValueError, match=r"has the md5 [0-9a-f]{32} instead of 0{32}: .*delete it"):
        source.load(tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("t.csv", b"question,answer\na,b\na,b,c,d\n", "repair the file"),  # cells too many
        ("t.csv", b"question,answer\na,\xff\xfe\n", "save the file in UTF-8"),
        ("t.csv", b",,\n1,2,3\n", "repair the file"),
        ("t.jsonl", b'{"question": "a", "answer": "b"}\n{"question": \n', "repair the file"),
        ("t.parquet", b"PAR1 nothing", "replace the file by a whole one"),
    ],
)
def test_a_file_that_is_no_table_is_named(
    name: str, content: bytes, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"{name}, the table of 'mine', cannot be read as .*\): {remedy}"
    ):
        asked_and_answered(tmp_path / name).load(tmp_path / "cache")


def test_a_folder_without_images_says_what_belongs_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=r"cannot be read as images .*: images need a whole meta"):
        asked_and_answered(tmp_path / "photos").load(tmp_path / "cache")


def test_a_broken_download_is_to_be_deleted(server: str, tmp_path: Path) -> None:
    (tmp_path / "web/t.csv").write_text('question,answer\na,"b\n')
    source = file_source(tmp_path, path=f"{server}/t.csv")
    with pytest.raises(ValueError, match=r"cannot be read as csv .*: delete .* to download it"):
        source.load(tmp_path / "cache")


def test_maps_in_a_parquet_file_are_read_as_structs(tmp_path: Path) -> None:
    """`datasets` refuses the whole file: "does not have a datasets dtype equivalent"."""
    pairs = [[("answer", b"red"), ("raw", b"\xff")], [("answer", b"blue")], [("A", b"x")] * 2, []]
    table = {
        "question": ["q?"] * 4,
        "answer": pa.array(pairs, pa.map_(pa.string(), pa.binary())),
        "unused": pa.array([[("x", 1)]] * 4, pa.map_(pa.string(), pa.int64())),
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    for column in ("answer", "answer.answer"):
        source = file_source(
            tmp_path / "t.parquet", columns={"question": "question", "answer": column}
        )
        samples = source.load(tmp_path / "cache")
        assert samples["answers"][:2] == [["red"], ["blue"]]
        assert samples["error"][:2] == ["", ""]
        assert "row 2: " in samples["error"][2]
        assert "row 3: " in samples["error"][3]
    assert "column 'answer': [['A', 'x'], ['A', 'x']] is a list" in one_error(tmp_path, 2)


def one_error(folder: Path, row: int) -> str:
    error: str = asked_and_answered(folder / "t.parquet").load(folder / "cache")["error"][row]
    return error


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a web server for the folder `tmp_path / "web"`."""
    (tmp_path / "web").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_file_is_downloaded_and_checked(server: str, tmp_path: Path) -> None:
    content = b"question,answer\nwho?,me\n"
    (tmp_path / "web/t.csv").write_bytes(content)
    options = {"path": f"{server}/t.csv", "columns": {"question": "question", "answer": "answer"}}
    known = file_source(tmp_path, **options, md5=hashlib.md5(content).hexdigest())
    (sample,) = rows_of(known.load(tmp_path / "cache"))
    assert (sample["question"], sample["answers"]) == ("who?", ["me"])
    with pytest.raises(ValueError, match=r"has the md5 \w+ instead of 0"):
        file_source(tmp_path, **options, md5="0" * 32).load(tmp_path / "cache")
    options["path"] = f"{server}/gone.csv"
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded from .*gone.csv .*data.path"
    ):
        file_source(tmp_path, **options).load(tmp_path / "cache")


def test_what_was_converted_before_a_failure_does_not_pass_for_the_whole(tmp_path: Path) -> None:
    source = hub(tmp_path, hub_rows(40), columns=COLUMNS | {"hint": "lost"})
    with pytest.raises(ValueError, match="has no column 'lost'"):
        source.load(tmp_path / "cache")
    source = hub(tmp_path, hub_rows(40), answer_format="zero_one", task="yes_no")
    with pytest.raises(ValueError, match=r"has 40 rows and none can be used \(row 0: the answer"):
        source.load(tmp_path / "cache")
    assert list((tmp_path / "cache/benchmarks").iterdir()) == []


def test_two_processes_may_convert_at_once(tmp_path: Path) -> None:
    source = hub(tmp_path, hub_rows(40), expected_samples=40)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_ids, source, tmp_path / "cache") for _ in range(2)]
        first, second = (job.result() for job in jobs)
    assert first == second
    assert len(first) == 40
    assert len(list((tmp_path / "cache/benchmarks").iterdir())) == 1


def _ids(source: HubSource, cache_dir: Path) -> list[str]:
    return list(source.load(cache_dir)["id"])


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"columns": {"picture": "image"}}, r"data.columns has \['picture'\]"),
        ({"missing": "numpy"}, "data.missing is 'numpy': choose one of"),
        ({"answer_format": "word"}, "data.answer_format is 'word': choose one of"),
        ({"box_format": "cxcywh"}, "data.box_format is 'cxcywh': choose one of"),
        ({"expected_rows": -1}, "data.expected_rows is -1"),
        (
            {"path": "table.xlsx"},
            "data.path is 'table.xlsx': it must be a folder of images, or a file",
        ),
    ],
)
def test_impossible_settings_are_refused(option: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        file_source(Path("table.csv"), **option)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data.path is .*gone.csv"):
        file_source(tmp_path / "gone.csv").load(tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match=r"data.image_folder is 'nowhere', .* no folder"):
        file_source(tmp_path / "t.csv", image_folder="nowhere").load(tmp_path / "cache")
    columns = {"video": "file", "question": "question"}
    with pytest.raises(ValueError, match=r"data.video_folder is null: unpack the videos"):
        file_source(tmp_path / "t.csv", columns=columns).load(tmp_path / "cache")
