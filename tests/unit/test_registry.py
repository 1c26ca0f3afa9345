"""Families by name and by model type, and those that plugins bring."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ivcprune.models import registry
from ivcprune.models.base import Family
from ivcprune.models.not_covered import NOT_COVERED
from ivcprune.models.registry import family_named, family_of, family_of_model, supported

MODULE = """
from ivcprune.models.llava import Llava

class Mine(Llava):
    name = "mine"
    model_types = ("my_model", "llava")

class Clash(Llava):
    model_types = ("other",)

class Text(Llava):
    name = "text"
    model_types = "my_text"

instance = type("Instance", (Llava,), {"name": "instance", "model_types": ("by_instance",)})()
number = 7
"""
CONFIGURATIONS = {
    "__init__.py": "",
    "family/mine.yaml": "# A family of a plugin\nname: mine\n",
    "selector/published/mine.yaml": "_target_: ivcprune.selectors.IVCSelector\nkeep: 0.25\n",
}
ENTRIES = {
    "a_missing": "no_such_library:Mine",
    "b_no_family": "their_families:number",
    "c_clash": "their_families:Clash",
    "d_no_tuple": "their_families:Text",
    "e_abstract": "ivcprune.models.base:Family",
    "f_class": "their_families:Mine",
    "g_instance": "their_families:instance",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder in which a package with these entry points is installed."""
    metadata = tmp_path / "their_families-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their_families\nVersion: 1\n")
    lines = [f"{name} = {value}\n" for name, value in ENTRIES.items()]
    lines = ["[ivcprune.families]\n", *lines, "[ivcprune.conf]\ntheirs = their_conf\n"]
    (metadata / "entry_points.txt").write_text("".join(lines))
    (tmp_path / "their_families.py").write_text(MODULE)
    for name, text in CONFIGURATIONS.items():
        file = tmp_path / "their_conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def with_plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(site))
    registry.families.cache_clear()
    yield
    registry.families.cache_clear()
    sys.modules.pop("their_families", None)


def test_every_family_is_found_by_its_name_and_its_model_types() -> None:
    for family in registry.FAMILIES:
        assert family_named(family.name) is family
        assert all(family_of(model_type) is family for model_type in family.model_types)


def test_no_two_families_share_a_name_or_a_model_type() -> None:
    model_types = [t for family in registry.FAMILIES for t in family.model_types]
    assert len(set(model_types)) == len(model_types)
    names = [family.name for family in registry.FAMILIES]
    assert names == sorted(set(names))


@pytest.mark.usefixtures("with_plugins")
def test_families_of_plugins_are_found() -> None:
    assert {"mine", "instance", "llava"} <= set(supported())
    assert type(family_of("my_model")).__name__ == "Mine"
    assert family_named("instance") is family_of("by_instance")
    assert isinstance(family_named("mine"), Family)


@pytest.mark.usefixtures("with_plugins")
def test_built_in_families_win() -> None:
    assert family_of("llava") is family_named("llava")
    assert type(family_named("llava")).__module__ == "ivcprune.models.llava"


@pytest.mark.usefixtures("with_plugins")
def test_broken_plugins_are_named_once_and_stop_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    supported()
    supported()
    lines = [line.partition("family plugin ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines[0].startswith(
        "'a_missing' is left out: no_such_library:Mine cannot be made (ModuleNotFoundError: "
    )
    assert lines[1] == (
        "'b_no_family' is left out: their_families:number is 7, no ivcprune.models.base.Family"
    )
    assert lines[2] == (
        "'c_clash' is left out: there is a family 'llava' already: give it another name"
    )
    assert lines[3] == "'d_no_tuple' is left out: their_families:Text has no tuple `model_types`"
    assert lines[4].startswith("'e_abstract' is left out: ivcprune.models.base:Family cannot be ")
    assert len(lines) == 5


def test_a_plugin_family_prunes_a_model(site: Path) -> None:
    """In a process of its own, with no preparation but the installed package."""
    script = """
from ivcprune import prune
from ivcprune.testing import tiny_model
from ivcprune.testing.inputs import batch, picture
model, processor = tiny_model("llava")
model.config.model_type = "my_model"
with prune(model, "ivc_prune") as run:
    model.generate(**batch(processor, ("what", [picture(84, 84)])), max_new_tokens=2)
print(run.layers, run.stats.n_visual, run.stats.kept_by_stage["select"][0] in range(9, 19))
"""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=site, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "{'select': 2} [36] True\n", done.stderr


@pytest.mark.parametrize("model_type", ["llama", "unknown"])
def test_an_unsupported_model_lists_families_and_the_page(model_type: str) -> None:
    with pytest.raises(ValueError, match=f"model type '{model_type}' is not supported") as error:
        family_of(model_type)
    assert all(name in str(error.value) for name in supported())
    assert "docs/adding_a_model.md" in str(error.value)
    assert (Path(__file__).parents[2] / "docs" / "adding_a_model.md").is_file()


def test_a_module_without_configuration_is_no_model() -> None:
    with pytest.raises(ValueError, match="model type 'Linear' is not supported"):
        family_of_model(nn.Linear(1, 1))


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown model family 'gpt': choose one of .*llava"):
        family_named("gpt")


@pytest.mark.parametrize("model_type", sorted(NOT_COVERED))
def test_what_a_known_type_lacks_is_named(model_type: str) -> None:
    assert model_type in CONFIG_MAPPING
    assert not any(model_type in family.model_types for family in registry.FAMILIES)
    missing = re.escape(f"no family states {NOT_COVERED[model_type]}: ivcprune knows the families")
    with pytest.raises(ValueError, match=rf"'{model_type}' is not supported, since {missing}"):
        family_of(model_type)
