"""The data group: every configuration builds a source."""

from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from ivcprune.data.sample import FEATURES
from ivcprune.data.sources import ScenesSource

GENERIC = {"_target_", "limit", "subset_seed"}
CONFIGS = resources.files("ivcprune.conf") / "data"


@pytest.mark.parametrize("file", [f.name for f in CONFIGS.iterdir()])
def test_configuration_fits_its_source(file: str) -> None:
    cfg = OmegaConf.create((CONFIGS / file).read_text(encoding="utf-8"))
    assert set(cfg) >= GENERIC
    source = get_class(cfg["_target_"])
    assert set(cfg) - GENERIC == {field.name for field in fields(source)}
    assert cfg.name == file.removesuffix(".yaml")


def test_scenes_are_canonical_and_hold_both_tasks(tmp_path: Path) -> None:
    samples = ScenesSource(size=6).load(tmp_path)
    assert samples.features == FEATURES
    assert set(samples["task"]) == {"grounding", "vqa"}
    assert len(set(samples["id"])) == len(samples) == 6


@pytest.mark.parametrize("option", [{"split": "val"}, {"size": 0}, {"size": "ten"}, {"seed": -1}])
def test_bad_values_are_refused(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"data.{next(iter(option))} is "):
        ScenesSource(**option)
