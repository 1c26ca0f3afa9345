"""The wheel holds everything: it is built, installed into a clean folder and used from there."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]

# Run with the installed wheel ahead of everything. The editable install of the checkout would
# stand in for what the wheel lacks, so the report says where each module really came from.
USE = """
import importlib, json, pkgutil, sys
import ivcprune
from hydra import compose, initialize_config_module

for module in pkgutil.walk_packages(ivcprune.__path__, "ivcprune."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:  # parts for clients, which only extras bring
            if error.name not in ("lmms_eval", "prometheus_client", "vllm"):
                raise
with initialize_config_module("ivcprune.conf", version_base="1.3"):
    config = compose("config", overrides=["model=tiny", "data=scenes", "policy=ivc_prune"])
print(json.dumps({
    "policy": config.policy.name,
    "modules": {name: m.__file__ for name, m in sys.modules.items() if name.startswith("ivcprune")},
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that neither leftovers of earlier builds nor this one's get in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("src", "conf"):
        shutil.copytree(
            CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    # Without isolation the build needs no network.
    build = ["build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    _run("-m", *build)
    return next(folder.glob("*.whl"))


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    files = {
        str(PurePosixPath(package, path.relative_to(CHECKOUT / folder).as_posix()))
        for folder, package in (("src", "ivcprune"), ("conf", "ivcprune/conf"))
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "ivcprune/py.typed" in files
    assert "ivcprune/assets/tiny/model.safetensors" in files
    missing = files.difference(zipfile.ZipFile(wheel).namelist())
    assert not missing, "add them to [tool.setuptools] in pyproject.toml"


def test_installed_wheel_imports_and_composes(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    _run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    report: dict[str, Any] = json.loads(_run("-c", USE, cwd=tmp_path, python_path=site))
    assert report["policy"] == "ivc_prune"
    elsewhere = {
        name: file
        for name, file in report["modules"].items()
        if not Path(file).is_relative_to(site)
    }
    assert not elsewhere
    assert {"ivcprune.api", "ivcprune.conf", "ivcprune.selectors"} <= report["modules"].keys()


def _run(*arguments: str, cwd: Path | None = None, python_path: Path | None = None) -> str:
    environment = os.environ | ({"PYTHONPATH": str(python_path)} if python_path else {})
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
