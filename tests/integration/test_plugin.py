"""Third-party selectors: as an installed package and in a folder, the way users have them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PLUGIN = CHECKOUT / "examples" / "plugin"
PAGE = CHECKOUT / "docs" / "adding_a_selector.md"

USE = """
from ivcprune import load_policy
print(load_policy("dart", "stages.select.selector.selector.keep=0.25"))
print(load_policy("random", "selector@stages.select.selector=first_token"))
"""


def run(*arguments: str, cwd: Path, python_path: Path) -> subprocess.CompletedProcess[str]:
    """Python with that folder among its packages, on one thread as all our tests."""
    environment = os.environ | {"PYTHONPATH": str(python_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def add_plugin(site: Path, name: str, files: dict[str, str]) -> None:
    """What installing a package `name` with an entry point `<name>.conf` leaves in a folder."""
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[ivcprune.conf]\n{name} = {name}.conf\n")
    for path, text in {"__init__.py": "", **files}.items():
        file = site / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, installed, among three others: one is a clash and two are broken."""
    folder = tmp_path_factory.mktemp("plugins")
    # a copy, since building leaves files behind
    source = shutil.copytree(PLUGIN, folder / "source", ignore=shutil.ignore_patterns("build"))
    site = folder / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    install = ["-m", "pip", "install", *options, "--target", str(site), str(source)]
    run(*install, cwd=folder, python_path=folder)
    clash = "# Of a plugin\n_target_: ivcprune.selectors.RandomSelector\nkeep: 0.1\n"
    files = {"conf/__init__.py": "", "conf/selector/first_token.yaml": clash}
    add_plugin(site, "clashing", files)
    add_plugin(site, "raising", {"conf/__init__.py": "import no_such_library"})
    add_plugin(site, "without_files", {"conf/__init__.py": ""})
    add_plugin(site, "without_folder", {})
    return site


@pytest.fixture(scope="module")
def listing(site: Path) -> subprocess.CompletedProcess[str]:
    return run("-m", "ivcprune", "job=list", cwd=site.parent, python_path=site)


def test_list_shows_selector_and_policy_of_the_plugin(listing) -> None:
    policies, _, rest = listing.stdout.partition("selector@policy")
    assert re.search(r"^ +dart +DART: half of the tokens", policies, re.MULTILINE)
    assert re.search(r"^ +dart +DART: the tokens least similar", rest, re.MULTILINE)


def test_broken_plugins_are_named_once_and_stop_nothing(listing) -> None:
    reported = [line for line in listing.stderr.splitlines() if line.startswith("plugin ")]
    assert reported == [
        "plugin 'raising' is left out: raising.conf cannot be imported "
        "(ModuleNotFoundError: No module named 'no_such_library')",
        "plugin 'without_files' is left out: without_files.conf holds no configuration, "
        "for example selector/mine.yaml",
        "plugin 'without_folder' is left out: without_folder.conf cannot be imported "
        "(ModuleNotFoundError: No module named 'without_folder.conf')",
    ]


def test_built_in_names_win(listing) -> None:
    assert "first tokens of each image" in listing.stdout
    assert "Of a plugin" not in listing.stdout


def test_policies_are_composed_with_the_plugin(site: Path) -> None:
    done = run("-c", USE, cwd=site.parent, python_path=site)
    dart, first_token = done.stdout.splitlines()
    assert "DARTSelector(keep=0.25" in dart
    assert "FirstTokenSelector(keep=0.1" in first_token


def test_the_plugin_passes_its_own_tests(site: Path) -> None:
    tests = site.parent / "source" / "tests"
    done = run("-m", "pytest", "-p", "no:cacheprovider", str(tests), cwd=tests, python_path=site)
    assert " passed" in done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page on adding a selector."""
    folder = tmp_path_factory.mktemp("folder")
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (folder / "my_conf" / "selector").mkdir(parents=True)
    for name, text in zip(
        ("centre.py", "my_conf/selector/centre.yaml", "check.py"), blocks, strict=True
    ):
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("option", ["--config-dir=my_conf", "hydra.searchpath=[file://my_conf]"])
def test_selectors_of_a_folder_can_be_chosen(folder: Path, option: str) -> None:
    chosen = "selector@policy.stages.select.selector=centre"
    arguments = ["-m", "ivcprune", option, "job=list", "policy=random", chosen]
    done = run(*arguments, cwd=folder, python_path=folder)
    assert re.search(r"^ +centre +Tokens near the centre of the image", done.stdout, re.MULTILINE)


def test_the_commands_of_the_page_work_as_printed(folder: Path) -> None:
    """In the folder, with nothing on Python's path but what they put there."""
    (block,) = re.findall(r"```console\n(\$ export.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    script = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("outputs/*/*/metrics.json"))) == 1  # one run, chosen in two ways


def test_the_example_of_the_page_keeps_the_contract(folder: Path) -> None:
    run("check.py", cwd=folder, python_path=folder)


def test_the_page_names_every_rule() -> None:
    from ivcprune.testing import RULES

    rows = re.findall(r"^\| `([a-z ]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == list(RULES)
