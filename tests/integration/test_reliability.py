"""A small part of `make reliability`: two processes, killed at random moments and started again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tools.reliability.trial import LossError, check_kept, check_same_rows, check_same_samples

from ivcprune.runs.schema import SampleRow

REPOSITORY = Path(__file__).parents[2]


def row(sample_id: str, prediction: str = "", error: str | None = None) -> SampleRow:
    return SampleRow(sample_id, task="vqa", rank=0, prediction=prediction, error=error)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the second process in /proc")
def test_two_processes_that_are_killed_end_with_the_samples_of_one(tmp_path: Path) -> None:
    options = ["--kills", "1", "--faults", "0", "--seed", "3", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "tools.reliability", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "reliability.json").read_text())
    assert (record["kills"], record["problems"]) == (1, [])
    assert all(kill["victims"] in {"both", "first", "second"} for kill in record["each_kill"])


def test_a_finished_sample_that_is_gone_is_noticed() -> None:
    check_kept({"a"}, [row("a"), row("b")])
    with pytest.raises(LossError, match=r"1 finished samples are lost: \['b'\]"):
        check_kept({"a", "b"}, [row("a"), row("b", error="out of memory")])


def test_a_finished_row_that_changed_is_noticed() -> None:
    check_same_rows([row("a"), row("b", error="first try")], [row("a"), row("b")])
    with pytest.raises(LossError, match=r"lost or changed: \['a'\]"):
        check_same_rows([row("a", "yes")], [row("a", "no")])


def test_other_samples_than_those_of_the_undisturbed_run_are_noticed() -> None:
    samples = [{"sample_id": "a", "score": 1.0}, {"sample_id": "b", "score": 0.0}]
    check_same_samples(samples, list(samples))
    with pytest.raises(LossError, match="1 samples instead of 2"):
        check_same_samples(samples[:1], samples)
    with pytest.raises(LossError, match="came out differently"):
        check_same_samples([samples[0], samples[0]], samples)
