"""Composition: everything shipped composes, mistakes are explained, Hydra is left as it was."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase

from ivcprune import conf
from ivcprune.configuration import build
from ivcprune.configuration.build import compose, compose_policy
from ivcprune.configuration.command_line import choices_of
from ivcprune.policy import PruningPolicy


def names_in(group: str) -> list[str]:
    return sorted(f.name[:-5] for f in (files(conf) / group).iterdir() if f.name.endswith(".yaml"))


@pytest.mark.parametrize("name", names_in("policy"))
def test_every_policy_is_built_under_its_own_name(name: str) -> None:
    policy = build.build_policy(compose([f"policy={name}"]))
    assert isinstance(policy, PruningPolicy)
    assert policy.name == name


@pytest.mark.parametrize("name", names_in("experiment"))
def test_every_experiment_keeps_its_runs_apart(name: str) -> None:
    assert compose([f"experiment={name}"]).experiment_name == name


@pytest.mark.parametrize("name", names_in("model"))
def test_every_model_is_built_under_its_own_name(name: str) -> None:
    assert build.build_model_spec(compose([f"model={name}"])).name == name


@pytest.mark.parametrize("name", names_in("data"))
def test_every_source_is_built_without_the_keys_that_choose_samples(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "own.csv").write_text("image,prompt\n")
    given = [f"data.path={tmp_path}/own.csv"] if name == "prompts" else []
    cfg = compose([f"data={name}", "data.limit=3", "data.subset_seed=1", *given])
    assert build.build_source(cfg).name == name


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        # tiles of InternVL on documents, and Qwen2-VL's smallest image, as published
        (["model=internvl2_5_8b", "data=pope"], "max_pixels", 6 * 448**2),
        (["model=internvl2_5_8b", "data=docvqa"], "max_pixels", 18 * 448**2),
        (["model=internvl3_1b", "data=infovqa"], "max_pixels", 24 * 448**2),
        (["model=internvl3_5_38b", "data=ocrbench"], "max_pixels", 24 * 448**2),
        (["model=qwen2_vl_7b", "data=ocrbench"], "min_pixels", 100 * 28**2),
        (["model=qwen2_vl_7b", "data=docvqa"], "min_pixels", 1280 * 28**2),
        # another family, and a limit that is asked for
        (["model=qwen2_5_vl_7b", "data=ocrbench"], "min_pixels", 4 * 28**2),
        (["model=internvl2_5_8b", "data=docvqa", "model.max_pixels=602112"], "max_pixels", 602112),
    ],
)
def test_image_limits_of_a_family_on_a_benchmark(
    overrides: list[str], field: str, value: int
) -> None:
    assert compose(overrides).model[field] == value


@pytest.mark.parametrize("group", ["job", "logger"])
def test_every_other_component_can_be_built(group: str) -> None:
    build_component = {"job": build.build_job, "logger": build.build_logger}[group]
    for name in names_in(group):
        assert build_component(compose([f"{group}={name}"])) is not None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["policy=ivc_prun"], "policy=ivc_prun does not exist: did you mean 'ivc_prune'? choose"),
        (["model=gpt"], "model=gpt does not exist: choose one of .*tiny"),
        (["data=scens"], "data=scens does not exist: did you mean 'scenes'?"),
        (["polcy=none"], "polcy is not in the configuration: did you mean 'policy'?"),
        (["average_tokens=0.5"], "configuration: did you mean policy.average_tokens? choose one"),
        (["limit=3"], "limit is not in the configuration: did you mean data.limit? choose one of"),
        (["data.limt=3"], "data.limt is not in the configuration: did you mean 'limit'?"),
        (["data.limit=[1"], "no viable alternative at input"),
    ],
)
def test_mistakes_are_one_sentence(overrides: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")) as caught:
        compose(overrides)
    assert "\n" not in str(caught.value)


def test_a_refused_value_is_told_with_its_place() -> None:
    cfg = compose(["policy.stages.select.selector.selector.keep=1.5"])
    with pytest.raises(ValueError, match=r"^policy: stages\.select\.selector.*keep.*1\.5"):
        build.build_policy(cfg)


def test_a_component_that_was_deleted_is_missed() -> None:
    with pytest.raises(ValueError, match="the configuration has no data: choose one with data="):
        build.build_source(compose(["~data"]))


def test_policy_overrides_are_relative_to_the_policy() -> None:
    policy = compose_policy(
        "ivc_prune",
        [
            "stages.select.layer=3",
            "selector@stages.select.selector=random",
            "++average_tokens=0.25",
        ],
    )
    assert policy.stages["select"].layer == 3
    assert policy.stages["select"].selector == compose_policy("random").stages["select"].selector
    assert policy.average_tokens == 0.25


def test_composing_leaves_a_running_hydra_app_as_it_was() -> None:
    with initialize_config_module("ivcprune.conf", version_base="1.2"):
        app, version_base = GlobalHydra.instance().hydra, getbase()
        compose_policy("random")
        with pytest.raises(ValueError, match="does not exist"):
            compose_policy("rndom")
        assert GlobalHydra.instance().hydra is app
        assert getbase() == version_base


def test_composing_starts_no_hydra_app() -> None:
    compose([])
    assert not GlobalHydra.instance().is_initialized()


def test_choices_of_a_sweep() -> None:
    assert choices_of("policy=none,fastv") == ["policy=none", "policy=fastv"]
    assert choices_of("seed=range(1,4)") == ["seed=1", "seed=2", "seed=3"]
    assert choices_of("data.limit=8") == ["data.limit=8"]
    assert choices_of("selector@policy.stages.select.selector=ivc,random") == [
        "selector@policy.stages.select.selector=ivc",
        "selector@policy.stages.select.selector=random",
    ]


def test_a_config_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "broken.yaml").write_text("# A policy\nname: [unclosed\n")
    with pytest.raises(ValueError, match=r"broken\.yaml.*line 3"):
        compose([f"hydra.searchpath=[file://{tmp_path}]", "policy=broken"])


class TestPolicyByName:
    def test_composed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = compose_policy("pdrop", ("average_tokens=0.3",), "llava")
        monkeypatch.setattr(build, "hydra_compose", None)
        assert compose_policy("pdrop", ("average_tokens=0.3",), "llava") == first

    def test_every_call_has_a_copy_of_its_own(self) -> None:
        first = compose_policy("pdrop")
        vars(first)["stages"].clear()
        assert len(compose_policy("pdrop").stages) == 3

    def test_other_settings_are_other_policies(self) -> None:
        shares = [
            compose_policy("random", (f"average_tokens={x}",)).average_tokens for x in (0.2, 0.4)
        ]
        assert shares == [0.2, 0.4]
        families = [compose_policy("fastv", (), family) for family in ("llava", "qwen2_5_vl")]
        assert families[0] != families[1]

    def test_mistakes_are_told_again(self) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="did you mean 'pdrop'"):
                compose_policy("pdropp")

    def test_from_several_threads(self) -> None:
        build._composed_policy.cache_clear()
        names = ["fastv", "pdrop", "random", "vscan"] * 4
        start = threading.Barrier(len(names))

        def load(name: str) -> PruningPolicy:
            start.wait(timeout=60)
            return compose_policy(name)

        with ThreadPoolExecutor(len(names)) as pool:
            policies = list(pool.map(load, names))
        assert [policy.name for policy in policies] == names
        assert build._composed_policy.cache_info().misses == 4


@pytest.mark.parametrize(
    ("group", "content"),
    [
        ("family", "one line, `name: my_family`"),
        ("selector/published", "IVC-Prune's selector as published"),
        ("selector/printed", "as Algorithm 1 prints it"),
    ],
)
def test_a_family_without_its_file_is_told_which_one(group: str, content: str) -> None:
    setting = "family" if group == "family" else f"+{group}@policy.stages.select.selector"
    message = re.escape(f"needs the file {group}/my_family.yaml ({content})")
    with pytest.raises(ValueError, match=f"{message}.*'ivcprune.conf'"):
        compose([f"{setting}=my_family"])
