"""Prompts without answers, folders of them, and benchmarks whose answers are not looked at."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ivcprune.data.files import FileSource
from ivcprune.data.sources import ScenesSource
from ivcprune.data.unlabelled import PromptSource, Unlabelled
from ivcprune.testing.inputs import picture

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files into a folder: pictures, and texts with their content."""

    def into(*names: str, **texts: str) -> Path:
        folder = tmp_path / "mine"
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            picture(32, 24).save(folder / name)
        for name, text in texts.items():
            stem, _, ending = name.rpartition("_")
            (folder / f"{stem}.{ending}").write_text(text, encoding="utf-8")
        return folder

    return into


def load(tmp_path: Path, path: Path, **settings: Any) -> list[dict[str, Any]]:
    source = PromptSource(path=str(path), **settings)
    return source.load(tmp_path / "cache").to_list()


LINES = '{"image": "a.png", "prompt": "what is it"}\n{"image": "sub/b.png", "prompt": "and here"}\n'


class TestPrompts:
    def test_pictures_beside_their_prompts(self, write: Write, tmp_path: Path) -> None:
        folder = write("b.png", "a.JPG", a_txt="\ufeffwhat is it\n", b_txt="and here")
        rows = load(tmp_path, folder)
        assert [row["question"] for row in rows] == ["what is it", "and here"]
        assert [row["task"] for row in rows] == ["prompt"] * 2
        assert [Path(row["images"][0]["path"]).name for row in rows] == ["a.JPG", "b.png"]
        assert [(row["answers"], row["boxes"], row["error"]) for row in rows] == [([], [], "")] * 2

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_table_in_a_folder_or_by_its_name(
        self, whole: bool, write: Write, tmp_path: Path
    ) -> None:
        folder = write("a.png", "sub/b.png", list_jsonl=LINES)
        rows = load(tmp_path, folder if whole else folder / "list.jsonl")
        assert [row["question"] for row in rows] == ["what is it", "and here"]
        assert [row["width"] for row in rows] == [32, 32]

    def test_several_pictures_and_a_task_in_a_csv(self, write: Write, tmp_path: Path) -> None:
        table = "image,prompt,kind\n\"['a.png', 'b.png']\",which is larger,vqa\na.png,so?,\n"
        columns = {"image": "image", "question": "prompt", "task": "kind"}
        rows = load(tmp_path, write("a.png", "b.png", list_csv=table), columns=columns)
        assert [len(row["images"]) for row in rows] == [2, 1]
        assert [row["task"] for row in rows] == ["vqa", "prompt"]

    def test_what_has_no_partner_is_left_out_and_told(
        self, write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = write("a.png", "bare.png", a_txt="what is it", alone_txt="and here")
        with caplog.at_level(logging.WARNING):
            rows = load(tmp_path, folder)
        assert len(rows) == 1
        assert "1 files are left out, since they have no picture of their name: alone.txt" in (
            caplog.text
        )
        assert "1 files are left out, since they have no prompt: bare.png" in caplog.text

    def test_an_empty_prompt_costs_its_own_sample(self, write: Write, tmp_path: Path) -> None:
        rows = load(tmp_path, write("a.png", "b.png", a_txt=" \n", b_txt="and here"))
        assert [row["error"] for row in rows] == ["row 0: the question is empty", ""]

    def test_a_row_without_a_picture_costs_its_own_sample(
        self, write: Write, tmp_path: Path
    ) -> None:
        lines = LINES + '{"image": null, "prompt": "nothing"}\n'
        rows = load(tmp_path, write("a.png", "sub/b.png", list_jsonl=lines))
        assert [row["error"] for row in rows] == ["", "", "row 2: the image is missing"]

    def test_untidy_folders_are_refused(self, write: Write, tmp_path: Path) -> None:
        folder = write("a.png", "a.jpg", a_txt="what is it")
        with pytest.raises(ValueError, match=r"a.txt has several pictures of its name \(a.jpg, a"):
            load(tmp_path, folder)
        (folder / "a.txt").unlink()
        with pytest.raises(ValueError, match="a folder without prompts: put a table into it"):
            load(tmp_path, folder)
        for name in ("one.csv", "two.jsonl"):
            (folder / name).write_text("")
        with pytest.raises(ValueError, match=r"with 2 tables \(one.csv, two.jsonl\): name the one"):
            load(tmp_path, folder)
        (folder / "one.csv").write_text("file,question\na.png,what\n")
        (folder / "two.jsonl").unlink()
        with pytest.raises(ValueError, match=r"no column 'image': its columns are \['file', 'qu"):
            load(tmp_path, folder)

    def test_a_text_that_is_none(self, write: Write, tmp_path: Path) -> None:
        folder = write("a.png")
        (folder / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(ValueError, match=r"a\.txt is no text in UTF-8"):
            load(tmp_path, folder)

    def test_a_path_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="which does not exist: give a folder"):
            PromptSource(path=str(tmp_path / "nowhere"))


class TestUnlabelled:
    def test_the_truth_is_not_told(self, tmp_path: Path) -> None:
        source = ScenesSource(size=4)
        told, untold = (s.load(tmp_path).to_list() for s in (source, Unlabelled(source)))
        assert any(row["answers"] for row in told)
        assert any(row["boxes"] for row in told)
        for row, other in zip(told, untold, strict=True):
            assert other == row | {"answers": [], "boxes": [], "metadata": ""}

    def test_a_table_without_its_answers(self, write: Write, tmp_path: Path) -> None:
        """The column is missing for one, unreadable for the other."""
        rows = [{"image": "a.png", "question": "what is it", "box": "none"}]
        folder = write("a.png", list_json=json.dumps(rows))
        settings: dict[str, Any] = {
            "name": "mine",
            "task": "grounding",
            "path": str(folder / "list.json"),
            "image_folder": str(folder),
        }
        columns = {"image": "image", "question": "question", "box": "box"}
        for roles in (columns, columns | {"answer": "truth"}):
            source = FileSource(**settings, columns=roles)
            with pytest.raises(ValueError, match="mine"):
                source.load(tmp_path)
            (row,) = Unlabelled(source).load(tmp_path).to_list()
            assert (row["question"], row["boxes"], row["error"]) == ("what is it", [], "")
