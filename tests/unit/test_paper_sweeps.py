"""`--multirun experiment=tab1`: what one command stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ivcprune.configuration.build import choices_of, compose
from ivcprune.configuration.experiments import expand_experiment, sweeps_of
from ivcprune.evaluation.preparation import prepare


def test_other_commands_stay_as_they_are() -> None:
    for command in (
        ["policy=none"],
        ["-m", "policy=none,fastv", "experiment=demo"],
        ["--multirun", "experiment=of_a_plugin", "model=tiny"],
        ["job=report", "experiment=tab1"],
        ["job=report", "experiment=demo", "smoke=true"],
    ):
        assert expand_experiment(command) == [command]


def test_one_command_for_each_sweep() -> None:
    common = ["-m", "experiment=tab13", "logger=csv", "~sweeps", "model=qwen2_5_vl_7b"]
    common.append("data=docvqa,infovqa,ocrbench")
    assert expand_experiment(["experiment=tab13", "logger=csv", "--multirun"]) == [
        [*common, "policy=none,ivc_prune"],
        [*common, "policy=fastv,pdrop", "policy.average_tokens=0.52"],
    ]


def test_model_data_and_policy_restrict() -> None:
    restriction = ["model=qwen2_5_vl_7b", "policy=vscan,none", "data=refcoco_val"]
    (command,) = expand_experiment(["-m", "experiment=tab1", *restriction])
    assert command == [
        "-m", "experiment=tab1", "~sweeps", "model=qwen2_5_vl_7b", "data=refcoco_val",
        "policy=none,vscan",
    ]  # fmt: skip
    (command,) = expand_experiment(["-m", "experiment=tab12", "policy=none", "data=grounding_all"])
    assert "data=" + ",".join(sweeps_of("tab1")[0].axes["data"]) in command


def test_a_restriction_that_leaves_nothing() -> None:
    with pytest.raises(ValueError, match=r"experiment=tab5 has no run with model=tiny: choose from "
                       r"model=qwen2_5_vl_3b,qwen2_5_vl_7b,qwen2_5_vl_32b, or leave"):  # fmt: skip
        expand_experiment(["-m", "experiment=tab5", "model=tiny"])


def test_many_runs_need_a_sweep() -> None:
    with pytest.raises(ValueError, match="experiment=tab1 stands for 128 runs: add --multirun"):
        expand_experiment(["experiment=tab1"])


def test_hydras_own_sweeps_need_the_flag_too() -> None:
    """Without it Hydra runs one job of the eight, under the default policy, without a word."""
    advice = "experiment=demo stands for 8 runs: add --multirun, or choose one with policy=<one of"
    with pytest.raises(ValueError, match=advice):
        expand_experiment(["experiment=demo", "data.limit=4"])
    chosen = ["experiment=demo", "policy=fastv"]
    assert expand_experiment(chosen) == [chosen]


def test_smoke_keeps_names_and_has_its_own_folder() -> None:
    (command,) = expand_experiment(["-m", "experiment=tab15", "smoke=true"])
    assert command == [
        "-m", "experiment=tab15", "smoke=true", "experiment_name=tab15-smoke", "~sweeps",
        "model=tiny", "data=scenes", "data.limit=2", "judge=none", "model.name=qwen2_5_vl_7b",
        "data.name=ocrbench", "policy=ivc_prune",
    ]  # fmt: skip
    assert expand_experiment(["job=report", "experiment=tab15", "smoke=true"]) == [
        ["job=report", "experiment=tab15", "smoke=true", "experiment_name=tab15-smoke"]
    ]
    (command,) = expand_experiment(["-m", "experiment=tab15", "smoke=true", "experiment_name=mine"])
    assert "experiment_name=tab15-smoke" not in command


def test_the_configuration_of_a_run_is_of_that_run_alone() -> None:
    (command,) = expand_experiment(["-m", "experiment=tab15"])
    config = compose(command[1:])
    assert "sweeps" not in config
    assert config.experiment_name == "tab15"
    assert config.judge.name == "gpt_4_1"
    assert config.overlays == 1000


@pytest.mark.parametrize("smoke", [False, True])
def test_the_settings_of_a_sweep_are_in_every_run(smoke: bool) -> None:
    command = expand_experiment(["-m", "experiment=tab17", *["smoke=true"] * smoke])[-1]
    config = compose([choices_of(override)[0] for override in command[1:]])
    assert config.policy.name == "ivc_prune_k_c_20"
    assert config.model.name == "qwen2_5_vl_7b"
    assert config.policy.stages.select.selector.selector.first.members.ivc.keep == 0.2
    assert (config.data.limit == 2) is smoke


def test_an_experiment_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    content = (
        "experiment_name: mine\nsweeps:\n  - {model: tiny, data: scenes, policy: [none, pdrop]}\n"
    )
    (folder / "mine.yaml").write_text(f"# @package _global_\n{content}")
    sweep = ["~sweeps", "model=tiny", "data=scenes", "policy=none,pdrop"]
    for flags in ([f"--config-dir={tmp_path}"], ["-cd", str(tmp_path)]):
        command = [*flags, "--multirun", "experiment=mine"]
        assert expand_experiment(command) == [["-m", *flags, "experiment=mine", *sweep]]
        with pytest.raises(ValueError, match="experiment=mine stands for 2 runs"):
            expand_experiment([*flags, "experiment=mine"])


def test_a_list_of_sweeps_that_nothing_read_is_no_run() -> None:
    """Of an experiment elsewhere, on Hydra's search path: it would be one run of the defaults."""
    cfg = compose(["+sweeps=[{model: tiny, data: scenes, policy: none}]"])
    with pytest.raises(ValueError, match="experiment 'default' has `sweeps`, but was not found"):
        prepare(cfg)


def test_policies_of_another_family_are_no_run() -> None:
    cfg = compose(["model=llava_1_5_7b", "model.family=internvl"])
    with pytest.raises(ValueError, match=r"'internvl', but the policy has the settings of 'llava'"):
        prepare(cfg)
