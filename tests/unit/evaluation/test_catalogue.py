"""`job=list`: every choice on one line, under a heading, without loading PyTorch."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from ivcprune import cli
from ivcprune.configuration.build import compose
from ivcprune.jobs.list import GROUPS, REST, choices_in, config_folder, describe, in_sections
from ivcprune.models.registry import supported

CONF = files("ivcprune.conf")
LISTED_WITHOUT_TORCH = """
import sys
sys.argv = ["ivcprune", "job=list"]
from ivcprune.cli import main
main()
heavy = {"torch", "transformers", "lightning", "datasets", "wandb", "matplotlib"} & set(sys.modules)
sys.exit(f"job=list imported {heavy}" if heavy else 0)
"""


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `ivcprune job=list` prints where the output is no terminal."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED_WITHOUT_TORCH],
        cwd=tmp_path_factory.mktemp("empty"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_has_one_line_with_its_description(listed: str, group: str) -> None:
    block = listed.split(f"{GROUPS[group]}\n", 1)[1].split("\n\n", 1)[0]
    lines = [line.split(maxsplit=1) for line in block.splitlines() if line.startswith("    ")]
    assert sorted(map(tuple, lines)) == sorted(choices_in(group, [CONF]).items())


@pytest.mark.parametrize("group", ["policy", "selector", "model"])
def test_headings_cover_what_is_shipped(group: str) -> None:
    patterns = compose(["job=list"]).job.sections[group]
    sections = in_sections(choices_in(group, [CONF]), patterns)
    assert REST not in sections
    assert list(sections) == list(patterns)


def test_the_first_pattern_counts_and_the_rest_comes_last() -> None:
    choices = {"b": "2", "ab": "3", "a": "1"}
    assert in_sections(choices, {"None": ["x"], "One": ["a"], "Two": ["a*"]}) == {
        "One": {"a": "1"},
        "Two": {"ab": "3"},
        REST: {"b": "2"},
    }


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name in ("tab10", "tab2", "demo"):
        (tmp_path / "experiment" / f"{name}.yaml").touch()
    assert list(choices_in("experiment", [tmp_path])) == ["demo", "tab2", "tab10"]


def test_one_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ivcprune", "job=list", "job.group=logger"])
    cli.main()
    out = capsys.readouterr().out
    assert "logger=<name>" in out
    assert "policy=<name>" not in out


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_described(group: str) -> None:
    choices = choices_in(group, [CONF])
    assert choices
    assert [name for name, description in choices.items() if not description] == []


def test_the_first_folder_wins_and_others_add(tmp_path: Path) -> None:
    for folder, name in (("ours", "same"), ("plugin", "same"), ("plugin", "more")):
        path = tmp_path / folder / "policy" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# of {folder}\n_target_: x\n")
    folders = [tmp_path / "ours", tmp_path / "absent", tmp_path / "plugin"]
    assert choices_in("policy", folders) == {"same": "of ours", "more": "of plugin"}


def test_describe() -> None:
    assert describe("# @package _global_\n# A sweep\n# more\na: 1\n") == "A sweep"
    assert describe("a: 1\n# too late\n") == ""


def test_config_folder(tmp_path: Path) -> None:
    assert config_folder("file", str(tmp_path)) == tmp_path
    package = config_folder("pkg", "ivcprune.conf")
    assert package is not None
    assert (package / "config.yaml").is_file()
    assert config_folder("structured", "") is None


README = Path(__file__).parents[3] / "README.md"
PARTS = ("selection", "prompts", "boxes")


def test_every_family_says_what_it_was_held_to() -> None:
    """On its line, and in the table of the front page in the same words."""
    table = README.read_text("utf-8").split("| Family | `model=` |", 1)[1].split("\n\n", 1)[0]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    families = choices_in("family", [CONF])
    assert sorted(families) == supported()
    assert len(rows) == len(families)
    for name, status in families.items():
        title, _, told = status.partition(": ")
        exact, *parts, run = told.split("; ")
        assert exact == "exact in tests"
        stated = dict(part.split(": ", 1) for part in parts)
        assert tuple(stated) == PARTS
        assert rows[title].endswith(" | ".join(["", *stated.values()]) + " |")
        expected = (
            "the bundled checkpoint was run" if name == "qwen2_5_vl" else "no checkpoint was run"
        )
        assert run == expected
