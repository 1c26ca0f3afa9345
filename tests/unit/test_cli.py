"""What the command line says to mistakes, before it does anything else."""

from pathlib import Path

import pytest

from ivcprune import cli


def ivcprune(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["ivcprune", *arguments])
    cli.main()


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["policy=fastw"], "policy=fastw does not exist: did you mean 'fastv'? choose one of"),
        (["-m", "seed=1,2", "policy=none,fastw"], "policy=fastw does not exist: did you mean"),
        (["policy=none,fastv"], "Ambiguous value for argument 'policy=none,fastv'"),
        (["model=unknown"], "model=unknown does not exist: choose one of"),
        (["data=unknown"], "data=unknown does not exist: choose one of"),
        (["policy.stages.select.layer=99"], "stages.select.layer is 99, but the model has"),
        (["policy.average_tokens=1.5"], "average_tokens is 1.5: it must be in (0, 1]"),
        (["model.path=/no/such/folder"], "model.path='/no/such/folder' does not exist"),
        (["overlays=-1"], "overlays is -1: it must be a whole number, at least 0"),
        (["threads=0"], "threads is 0: it must be a whole number, at least 1"),
        (["experiment_name=a/b"], "experiment_name is 'a/b': it names a folder"),
        (["job=status"], "no runs in outputs: start one"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch, *arguments)
    message = str(exit_.value)
    assert message.startswith("error: ")
    assert sentence in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_one_job_that_fails_does_not_stop_the_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch, "-m", "job=status", "paths.output_dir=first,second")
    assert exit_.value.code == 1
    out, err = capsys.readouterr()
    assert "#1" in out
    assert "no runs in first: start one" in err
    assert "Traceback" not in err


def test_the_traceback_can_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        ivcprune(monkeypatch, "job=status", "hydra.verbose=true")
    assert "Traceback" in capsys.readouterr().err


def test_job_list_shows_policies_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ivcprune(monkeypatch, "job=list")
    out = capsys.readouterr().out
    assert "policy=<name>" in out
    assert "ivc_prune " in out
    assert "--multirun experiment=<name>" in out
