"""The run key covers what results depend on, and nothing else."""

from collections.abc import Sequence

import pytest

from ivcprune.configuration.build import compose
from ivcprune.provenance.code import code_of
from ivcprune.runs.key import as_file_name, run_key


def key(*overrides: str, fingerprint: str = "sha256:0") -> str:
    return run_key(compose(overrides), fingerprint)


def test_it_names_policy_model_and_data() -> None:
    assert key("policy=fastv").startswith("fastv-tiny-scenes-")


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=3",
        "num_workers=2",
        "threads=1",
        "overlays=0",
        "trainer=ddp_sim",
        "logger=csv",
        "paths.output_dir=elsewhere",
        "experiment_name=mine",
        "job=list",
    ],
)
def test_how_and_where_it_is_computed_does_not_matter(override: str) -> None:
    assert key(override) == key()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "generation.repetition_penalty=1.05",
        "generation.eos_token_id=5",
        "generation.do_sample=true",
        "data.limit=7",
        "data.seed=1",
        "attention=eager",
        "policy.average_tokens=0.4",
        "policy.stages.select.layer=2",
        "selector@policy.stages.select.selector=random",
        "model.max_new_tokens=5",
        "model.max_pixels=50176",
        "model.revision=abc",
        "prompt@model.prompts=qwen_custom",
    ],
)
def test_what_is_computed_matters(override: str) -> None:
    assert key(override) != key()


def test_weights_trained_again_make_another_run() -> None:
    assert key(fingerprint="sha256:1") != key(fingerprint="sha256:0")


def test_another_version_of_the_package_makes_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("ivcprune.runs.key.__version__", "99.0")
    assert key() != before


def test_the_code_of_what_a_run_is_made_of_makes_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key("policy=random"), key("policy=divprune")
    edited = {"ivcprune.selectors.random": "0"}
    own = code_of

    def after_an_edit(components: Sequence[object]) -> dict[str, str]:
        return {name: edited.get(name, digest) for name, digest in own(components).items()}

    monkeypatch.setattr("ivcprune.runs.key.code_of", after_an_edit)
    after = key("policy=random"), key("policy=divprune")
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_batch_that_is_sampled_together_matters() -> None:
    assert key("batch_size=3") == key("batch_size=4")
    sampled = "generation.do_sample=true"
    assert key(sampled, "batch_size=3") != key(sampled, "batch_size=4")


def test_a_swapped_selector_is_named() -> None:
    swapped = key("policy=random", "selector@policy.stages.select.selector=border")
    assert swapped.startswith("border-in-random-tiny-scenes-")


def test_vanilla_is_one_run_at_every_budget() -> None:
    assert key("policy=none", "policy.average_tokens=0.3") == key("policy=none")


def test_file_names_are_safe_and_distinct() -> None:
    assert as_file_name("scenes-test-000001-vqa") == "scenes-test-000001-vqa"
    names = [as_file_name(text) for text in ("a/b", "a_b", "a:b", "..", "", "x" * 300, ".hidden")]
    assert len(set(names)) == len(names)
    assert all(name and "/" not in name and name[0] != "." for name in names)
    assert all(len(name) < 150 for name in names)
