"""What the command line says to mistakes, before it does anything else."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from ivcprune import __version__, cli
from ivcprune.configuration.build import compose
from ivcprune.configuration.command_line import choices_of


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
        (
            ["fastv"],
            "'fastv' is no setting, which is written key=value: did you mean policy=fastv?",
        ),
        (["list"], "'list' is no setting, which is written key=value: did you mean job=list?"),
        (
            ["fastw"],
            "'fastw' is no setting, which is written key=value: `ivcprune --help` explains",
        ),
        (["data=grounding_al"], "data=grounding_al does not exist: did you mean 'grounding_all'?"),
        (["trainer.devces=2"], "did you mean 'devices'? choose one of accelerator, devices"),
        (["family=lava"], "family=lava does not exist: did you mean 'llava'?"),
        (["job=list", "job.group=polic"], "job.group is 'polic': did you mean 'policy'?"),
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
    assert exit_.value.code == cli.REFUSED
    out, message = capsys.readouterr()
    assert message.startswith("error: ")
    assert sentence in message
    assert message.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_what_another_time_may_cure_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(_: object) -> None:
        raise BlockingIOError("another process is at it")

    monkeypatch.setattr(cli, "build_job", lambda cfg: locked)
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch)
    assert exit_.value.code == cli.FAILED


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


def test_help_teaches_and_names_what_exists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ivcprune(monkeypatch, "--help")
    out = capsys.readouterr().out
    assert "job=list" in out
    assert "hydra.verbose=true" in out
    assert "_target_" not in out  # not the whole configuration
    for code in (cli.REFUSED, cli.INTERRUPTED, cli.TERMINATED):
        assert re.search(rf"(^|\s){code}  ", out, re.MULTILINE)
    commands = re.findall(
        r"^ +ivcprune ((?:--multirun )?[a-z_.]+=\S.*?)(?:  .*)?$", out, re.MULTILINE
    )
    settings = re.findall(r"^ {2,4}([a-z_.]+=[^\s<]+)", out, re.MULTILINE)
    assert len(commands) >= 5
    assert len(settings) >= 5
    for line in (*commands, *settings):
        overrides = [word for word in shlex.split(line) if word != "--multirun"]
        for override in overrides:
            job = [other for other in overrides if other.startswith("job=") and other != override]
            for choice in choices_of(override):
                compose([*job, choice])


def test_help_is_what_hydra_would_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for arguments in (["--help"], ["-h"], ["--help", "seed=1"]):  # the last is left to Hydra
        ivcprune(monkeypatch, *arguments)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2]


def test_version_is_our_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ivcprune(monkeypatch, "--version")
    assert capsys.readouterr().out == f"ivcprune {__version__}\n"


def interrupted(_: object) -> None:
    """As Lightning's trainer leaves after Ctrl-C."""
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize("flags", [[], ["-m", "seed=1,2", "sweep=separate"]], ids=["run", "sweep"])
def test_ctrl_c_stops_everything_with_its_own_code(
    flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[object] = []
    monkeypatch.setattr(cli, "build_job", lambda cfg: started.append(cfg) or interrupted)
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch, *flags)
    assert exit_.value.code == cli.INTERRUPTED
    assert len(started) == 1
    assert "stopped: the same command goes on" in capsys.readouterr().err


def test_ctrl_c_stops_the_passes_of_a_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    passes: list[list[list[str]]] = []

    def run(cfgs: list[object], overrides: list[list[str]], only: bool) -> None:
        assert not only
        passes.append(overrides)
        interrupted(cfgs)

    monkeypatch.setattr(cli, "get_method", lambda name: run)
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch, "-m", "policy=none,fastv", "seed=1,2")
    assert exit_.value.code == cli.INTERRUPTED
    assert passes == [[["policy=none", "seed=1"], ["policy=fastv", "seed=1"]]]


def test_a_pass_that_fails_leaves_the_next_one_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [ValueError("no such model"), [None, RuntimeError("broken")], [None, None]]

    def run(cfgs: object, overrides: object, only: bool) -> list[Exception | None]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cli, "get_method", lambda name: run)
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch, "-m", "policy=none,fastv", "seed=1,2,3")
    assert exit_.value.code == cli.FAILED
    assert answers == []
    err = capsys.readouterr().err
    assert "error: no such model\n" in err
    assert "error: RuntimeError: broken\n" in err


def test_sigterm_stops_the_commands_of_an_experiment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(cli, "commands_of", lambda arguments: [["seed=1"], ["seed=2"]])
    monkeypatch.setattr(
        cli, "build_job", lambda cfg: started.append(cfg) or (lambda _: sys.exit(cli.TERMINATED))
    )
    with pytest.raises(SystemExit) as exit_:
        ivcprune(monkeypatch)
    assert exit_.value.code == cli.TERMINATED
    assert len(started) == 1
