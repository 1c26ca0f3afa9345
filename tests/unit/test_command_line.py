"""One reading of the command line: what Hydra's parser says, wherever ivcprune looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivcprune.configuration.command_line import choices_of, read
from ivcprune.configuration.experiments import commands_of, expand_groups
from ivcprune.sweeps import expand_experiment

SWEEP = ["--multirun", "experiment=tab3"]


def policies(*arguments: str) -> str:
    """`policy=` of the only command."""
    (command,) = expand_experiment([*SWEEP, *arguments])
    (policy,) = [part for part in command if part.startswith("policy=")]
    return policy


@pytest.mark.parametrize(
    "spelling",
    ["smoke=true", "smoke=True", "++smoke=true", "+smoke=TRUE", "smoke=yes", "smoke=1",
     "smoke='true'", "smoke=choice(true)", "smoke=on"],
)  # fmt: skip
def test_every_spelling_of_true_is_a_trial(spelling: str) -> None:
    (command,) = expand_experiment([*SWEEP, spelling])
    assert {"model=tiny", "data=scenes", "smoke=true", "experiment_name=tab3-smoke"} <= {*command}
    (report,) = expand_experiment(["job=report", "experiment=tab3", spelling])
    assert report == [
        "job=report", "experiment=tab3", "smoke=true", "experiment_name=tab3-smoke"
    ]  # fmt: skip


@pytest.mark.parametrize("spelling", ["smoke=false", "smoke=no", "smoke=0", "++smoke=False"])
def test_every_spelling_of_false_is_the_real_thing(spelling: str) -> None:
    (command,) = expand_experiment([*SWEEP, spelling])
    assert {"model=qwen2_5_vl_7b", "smoke=false"} <= {*command}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SWEEP, "smoke=maybe"], "smoke is 'maybe': it must be true or false"),
        ([*SWEEP, "smoke=true,false"], "a trial and the real runs are two commands"),
        (["smoke=true"], "smoke=true is for experiments with a list of sweeps"),
        (["++smoke=true", "experiment=demo", "-m"], "smoke=true is for experiments with a list"),
        ([*SWEEP, "data=[pope,mme]"], r"data=\[pope,mme\] restricts no experiment"),
        (["policy=[]"], r"policy=\[\] must list names of policies"),
        (["policy=[none,[fastv]]"], r"policy=\[none,\[fastv\]\] must list names of policies"),
        (["policy=[none,fastv]", "seed=0,1"], "seed=0,1 has several values: add --multirun"),
        ([*SWEEP, "policy=fastv", "policy=pdrop"], "policy is given 2 times: write policy=fastv"),
        ([*SWEEP, "policy=fastv,random"], "no run with policy=random: choose from policy=none,"),
        (["experiment=demo"], "stands for 8 runs: add --multirun, or choose one with policy="),
        (["job=predict", "experiment=tab3"], "experiment=tab3 stands for 4 runs: add --multirun"),
        (["experiment=beyond"], "experiment=beyond stands for 36 runs: add --multirun"),
        (["--help", "policy"], "--help takes no 'policy': `ivcprune job=list job.group=policy`"),
        (["--config-dir=nodir"], "--config-dir is 'nodir', which is no folder"),
        (["hydra.searchpath=[file://nodir]"], "hydra.searchpath has 'file://nodir', which is no"),
        (["--no-such-flag"], "'--no-such-flag' is no flag: settings are written key=value"),
        (["policy=interval(0,1)", *SWEEP], r"policy=interval\(0,1\) has no list of values"),
    ],
)
def test_what_could_mean_another_run_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commands_of(arguments)


@pytest.mark.parametrize(
    "spelling",
    ["policy=fastv, ivc_prune", "policy='fastv','ivc_prune'", 'policy="fastv", ivc_prune',
     "policy=choice(fastv, ivc_prune)", "policy=choice(ivc_prune,fastv)"],
)  # fmt: skip
def test_every_spelling_of_a_list_keeps_all_of_it(spelling: str) -> None:
    assert policies(spelling) == "policy=fastv,ivc_prune"


def test_a_pattern_chooses_what_the_experiment_has_of_it() -> None:
    assert policies("policy=glob(*v)") == "policy=fastv"
    assert choices_of("policy=glob(pattern_ivc_*)") == [
        "policy=pattern_ivc_10", "policy=pattern_ivc_20", "policy=pattern_ivc_5"
    ]  # fmt: skip


def test_groups_are_found_in_any_spelling() -> None:
    members = "docvqa,infovqa,ocrbench"
    for spelling in ("data=scenes, ocr", "data=choice(scenes,ocr)", "data='scenes','ocr'"):
        assert expand_groups(["-m", spelling]) == ["-m", f"data=scenes,{members}"]
    with pytest.raises(ValueError, match="data=ocr stands for 3 benchmarks"):
        expand_groups(["data='ocr'"])


def test_flags_may_stand_anywhere_and_the_mode_is_one() -> None:
    (command,) = expand_experiment(["experiment=tab3", "-m", "policy=none", "seed=1"])
    assert command[:3] == ["-m", "experiment=tab3", "seed=1"]
    assert read(["policy=none", "--multirun", "seed=1"]).is_multirun
    (command,) = expand_experiment(["hydra.mode=multirun", "experiment=tab3", "policy=none"])
    assert command[-1] == "policy=none"
    assert "~sweeps" in command


def test_several_experiments_are_a_command_each() -> None:
    both = expand_experiment(["-m", "experiment=tab3,tab15", "seed=1"])
    assert [command[1] for command in both] == ["experiment=tab3", "experiment=tab15"]
    assert all("~sweeps" in command and "seed=1" in command for command in both)


def test_what_only_shows_runs_nothing_and_passes() -> None:
    for command in (["--cfg", "job", "experiment=tab1"], ["--help"], ["--info=defaults"]):
        assert commands_of(command) == [command]


@pytest.mark.parametrize("flag", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_an_experiment_is_found_wherever_hydra_finds_it(tmp_path: Path, flag: str) -> None:
    (tmp_path / "experiment").mkdir()
    content = "# @package _global_\nexperiment_name: mine\nsmoke: true\nsweeps:\n"
    content += "  - {model: llava_1_5_7b, data: pope, policy: [none, pdrop]}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    place = flag.format(tmp_path)
    (command,) = expand_experiment(["-m", place, "experiment=mine"])
    assert command[-1] == "policy=none,pdrop"
    assert "model=tiny" in command  # its own file says that it is a trial
    assert place in command


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["policy=[none,fastv]", "seed=1"], ["--multirun", "policy=none,fastv", "seed=1"]),
        (["-m", "policy=[none,fastv]", "seed=0,1"], ["-m", "policy=none,fastv", "seed=0,1"]),
        (["policy=['none', fastv]"], ["--multirun", "policy=none,fastv"]),
        (["policy=[fastv]"], ["policy=fastv"]),
        (["policy=none,fastv"], ["policy=none,fastv"]),
        (["policy=fastv"], ["policy=fastv"]),
    ],
)
def test_a_list_of_policies_is_a_sweep_over_them(arguments: list[str], meant: list[str]) -> None:
    assert commands_of(arguments) == [meant]


def test_a_list_of_policies_restricts_an_experiment_as_commas_do() -> None:
    commas, listed = (
        commands_of([*SWEEP, p]) for p in ("policy=fastv,pdrop", "policy=[fastv,pdrop]")
    )
    assert commas == listed
