"""The example of a family in a package of its own: its own tests, and its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin_family"
COMPOSED = """
from ivcprune import load_policy
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.models.registry import family_of
print(type(family_of("vipllava")).__name__)
print(build_model_spec(compose(["model=vipllava_7b"])).path)
for policy in ("ivc_prune", "ivc_prune_paper"):
    print(load_policy(policy, family="vipllava").name)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What installing the package leaves in a folder: the package, and its entry points."""
    site = tmp_path_factory.mktemp("site")
    (site / "ivcprune_vipllava").symlink_to(PLUGIN / "ivcprune_vipllava")
    metadata = site / "ivcprune_vipllava-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: x\nVersion: 0.1.0\n")
    text = (PLUGIN / "pyproject.toml").read_text("utf-8")
    groups = text.split('[project.entry-points."')[1:]
    entries = [group.partition("\n\n")[0].replace('"]', "]").replace('"', "") for group in groups]
    (metadata / "entry_points.txt").write_text("\n".join(f"[{entry}" for entry in entries))
    return site


def run(site: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(site: Path) -> None:
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"))
    assert "2 passed" in done


def test_family_model_and_policies_are_composed(site: Path) -> None:
    expected = ["VipLlava", "llava-hf/vip-llava-7b-hf", "ivc_prune", "ivc_prune_paper"]
    assert run(site, "-c", COMPOSED).splitlines() == expected
