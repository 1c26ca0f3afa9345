"""`job=list` shows every choice with one line about it."""

from importlib.resources import files
from pathlib import Path

import pytest

from ivcprune import conf
from ivcprune.evaluation.catalogue import GROUPS, choices_in, config_folder, describe


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_described(group: str) -> None:
    choices = choices_in(group, [files(conf)])
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
