"""A command that is repeated after its run was finished: nothing heavy is imported."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from ivcprune import cli
from ivcprune.jobs import predict
from ivcprune.runs.read import load_run

PROGRAM = """
import sys
from ivcprune.cli import main
sys.argv = ["ivcprune", *sys.argv[1:]]
main()
print("torch" in sys.modules)
"""
Command = Callable[..., str]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command on a few samples in this process; returns what it prints."""
    own = (
        "policy=random",
        "data.limit=4",
        f"paths.output_dir={tmp_path}",
        f"paths.cache_dir={tmp_path / 'cache'}",
    )

    def run(*arguments: str) -> str:
        few = [] if any(word.startswith("data=") for word in arguments) else ["data.size=4"]
        monkeypatch.setattr("sys.argv", ["ivcprune", *own, *few, *arguments])
        capsys.readouterr()
        cli.main()
        return capsys.readouterr().out

    return run


def alone(*arguments: str) -> str:
    """What a command prints in a process of its own, and whether it imported PyTorch."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    ).stdout


def table_of(printed: str) -> list[str]:
    """The lines from the table on."""
    lines = printed.splitlines()
    return lines[lines.index(next(line for line in lines if line.startswith("tiny on scenes"))) :]


def test_it_prints_the_same_without_pytorch(command: Command, tmp_path: Path) -> None:
    first = table_of(command())
    again = alone(
        "policy=random",
        "data.limit=4",
        f"paths.output_dir={tmp_path}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        "data.size=4",
    )
    assert "already finished: nothing to compute" in again
    assert table_of(again)[:-1][:5] == first[:5]
    assert again.endswith("False\n")


def test_a_row_that_was_removed_is_computed_again(command: Command, tmp_path: Path) -> None:
    command()
    (rows,) = tmp_path.glob("*/*/samples/rank00.jsonl")
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    command()
    assert len(rows.read_text().splitlines()) == 4


def test_a_process_of_several_goes_the_long_way(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command()
    (environment,) = tmp_path.glob("*/*/env.json")
    written = environment.stat().st_mtime_ns
    command()
    assert environment.stat().st_mtime_ns == written
    monkeypatch.setenv("SLURM_PROCID", "0")
    command()
    assert environment.stat().st_mtime_ns > written


def test_a_run_that_a_logger_is_told_of_ends_as_before(command: Command, tmp_path: Path) -> None:
    command("logger=csv")
    assert any(tmp_path.glob("*/*/metrics.json"))
    assert not any(tmp_path.glob("cache/finished/*.json"))


def test_weights_that_are_replaced_during_a_run_are_another_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark of what lies there at the end would pass the old rows off as those of the new ones."""
    model = tmp_path / "model"
    shutil.copytree(str(files("ivcprune.assets") / "tiny"), model)
    go_through = predict.go_through

    def and_replace(*arguments: object) -> None:
        go_through(*arguments)  # type: ignore[arg-type]
        settings = model / "generation_config.json"
        settings.write_text(settings.read_text() + "\n")

    monkeypatch.setattr(predict, "go_through", and_replace)
    command(f"model.path={model}")
    monkeypatch.setattr(predict, "go_through", go_through)
    command(f"model.path={model}")
    assert len(list(tmp_path.glob("default/*/metrics.json"))) == 2


def test_a_sample_that_was_edited_in_its_place_is_asked_anew(
    command: Command, tmp_path: Path
) -> None:
    """Rows are known by their numbers: the answer to an old one is not that to the new one."""
    file = tmp_path / "t.tsv"

    def write(question: str, answer: str) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (168, 168), "red").save(picture, "PNG")
        image = base64.b64encode(picture.getvalue()).decode()
        options = "\t".join("wxyz")
        line = "\t".join(["0", image, question, answer, "", options])
        head = "index\timage\tquestion\tanswer\tcategory\tA\tB\tC\tD"
        file.write_text(f"{head}\n{line}\n", encoding="utf-8")

    any_number = ("data.md5=null", "data.expected_rows=null", "data.expected_samples=1")
    own = ("data=mmstar", f"data.path={file}", *any_number)
    first, second = ("which one?", "A"), ("which other?", "B")
    write(*first)
    command(*own)
    (rows,) = tmp_path.glob("default/*/samples/rank00.jsonl")
    answered = rows.read_text()
    command(*own)
    assert rows.read_text() == answered
    write(*second)
    assert "edited after they were answered: 1 samples" in command(*own)
    assert rows.read_text().startswith(answered)
    assert len(rows.read_text().splitlines()) == 2
    folder = rows.parents[1]
    (row,) = load_run(folder).samples()
    assert [row["question"], row["target"]] == list(second)
    write(*first)
    assert "after they were answered" not in command(*own)
    assert len(rows.read_text().splitlines()) == 2
    (row,) = load_run(folder).samples()
    assert [row["question"], row["target"]] == list(first)


def test_a_picture_in_a_file_of_its_own_may_be_edited(command: Command, tmp_path: Path) -> None:
    picture, table = tmp_path / "a.png", tmp_path / "t.tsv"
    head = "index\timage_path\tquestion\tanswer\tcategory\tA\tB\tC\tD"
    line = "\t".join(["0", picture.name, "which one?", "A", "", *"wxyz"])
    table.write_text(f"{head}\n{line}\n", encoding="utf-8")
    own = ("data=mmstar", f"data.path={table}", f"data.image_folder={tmp_path}",
           "data.columns.image=image_path", "data.md5=null", "data.expected_rows=null",
           "data.expected_samples=1")  # fmt: skip
    Image.new("RGB", (168, 168), "red").save(picture)
    command(*own)
    (rows,) = tmp_path.glob("default/*/samples/rank00.jsonl")
    command(*own)
    assert len(rows.read_text().splitlines()) == 1
    Image.new("RGB", (168, 168), "blue").save(picture)
    command(*own)
    assert len(rows.read_text().splitlines()) == 2
