"""Policies in files of their own, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivcprune import load_policy
from ivcprune.cli import _check
from ivcprune.configuration.build import compose
from ivcprune.configuration.experiments import commands_of

FILE = """# Random tokens of my own
defaults:
  - /selector@stages.select.selector: random
  - base/all_layers@_here_
  - _self_
name: mine
average_tokens: 0.25
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a folder, of mine" / "policy" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(FILE)
    return path


def test_a_file_is_a_policy_in_python(file: Path) -> None:
    policy = load_policy(str(file), "stages.select.layer=2")
    assert (policy.name, policy.average_tokens) == ("mine", 0.25)
    assert policy.stages["select"].layer == 2
    file.write_text(FILE.replace("0.25", "0.5"))
    assert load_policy(str(file)).average_tokens == 0.5


def test_a_file_is_a_policy_on_the_command_line(file: Path) -> None:
    (command,) = commands_of([f"policy='{file}'", "seed=1"])
    assert command == ["policy=mine", "seed=1", f"hydra.searchpath=['file://{file.parents[1]}']"]
    _check(command)
    cfg = compose(command[:2], [f"file://{file.parents[1]}"])
    assert cfg.policy.name == "mine"


def test_files_among_the_policies_of_a_sweep(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "policy" / "other.yaml"
    other.parent.mkdir()
    other.write_text(FILE)
    searching = f"hydra.searchpath=['file://{file.parents[1]}','file://{tmp_path}']"
    (listed,) = commands_of([f"policy=[none,'{file}','{other}']"])
    assert listed == ["--multirun", "policy=none,mine,other", searching]
    (swept,) = commands_of(
        ["-m", f"policy={other},none", f"hydra.searchpath=['file://{file.parents[1]}']"]
    )
    assert swept == ["-m", "policy=other,none", searching]


def test_what_cannot_be_taken_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"policy=nowhere.yaml is no file: give the one"):
        commands_of(["policy=nowhere.yaml"])
    astray = tmp_path / "mine.yaml"
    astray.write_text(FILE)
    with pytest.raises(ValueError, match=r"lies in a folder .* put it into one called"):
        load_policy(str(astray))
    taken = file.with_name("fastv.yaml")
    taken.write_text(FILE)
    with pytest.raises(ValueError, match="has the name of a policy that comes with the package"):
        load_policy(str(taken))
