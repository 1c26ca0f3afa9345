"""Names of several benchmarks on the command line."""

from __future__ import annotations

from importlib import resources

import pytest

from ivcprune.configuration.build import compose
from ivcprune.configuration.data_groups import data_groups
from ivcprune.configuration.experiments import expand_groups

GROUPS = data_groups()
CONFIGS = resources.files("ivcprune.conf") / "data"


def test_members_exist_and_no_group_hides_a_benchmark() -> None:
    for name, members in GROUPS.items():
        assert members
        assert all((CONFIGS / f"{member}.yaml").is_file() for member in members)
        with pytest.raises(ValueError, match=f"data={name} does not exist"):
            compose([f"data={name}"])


def test_a_group_stands_for_its_members_in_a_sweep() -> None:
    arguments = ["-m", "data=ocr", "policy=none,fastv", "data.limit=3"]
    assert expand_groups(arguments) == [
        "-m", "data=docvqa,infovqa,ocrbench", "policy=none,fastv", "data.limit=3",
    ]  # fmt: skip
    assert expand_groups(["--multirun", "data=scenes,ocr,docvqa,spatial"]) == [
        "--multirun", "data=scenes,docvqa,infovqa,ocrbench,spatialeval",
    ]  # fmt: skip


def test_without_a_sweep_a_group_is_refused() -> None:
    assert expand_groups(["data=scenes"]) == ["data=scenes"]
    with pytest.raises(ValueError, match=r"data=video stands for 4 benchmarks.*add --multirun"):
        expand_groups(["data=video"])
