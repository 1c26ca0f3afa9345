"""Models whose layers are on several devices, pruned as on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload

from family_run import run_family, save_tiny
from ivcprune import load_policy, prune
from ivcprune.models.base import Family
from ivcprune.models.loading import ModelSpec
from ivcprune.models.registry import family_of_model
from ivcprune.testing import tiny_model
from pretended_devices import FIRST, SECOND, Placed, PretendedDevices, place, sharded
from pruning_helpers import ragged_batch

DEPTH = 4


def test_pretended_devices_refuse_to_mix() -> None:
    with PretendedDevices():
        first, second = torch.ones(3, device=FIRST), torch.ones(3).to(SECOND)
        with pytest.raises(RuntimeError, match="different devices"):
            first + second
        with pytest.raises(RuntimeError, match="different devices"):
            first[torch.zeros(2, dtype=torch.long, device=SECOND)]
        assert (first[torch.tensor([0, 1])] + 1).tolist() == [2, 2]
        assert (first + second.to(FIRST)).device == FIRST
        assert isinstance(first, Placed)


def generate(model, inputs):
    return model.generate(
        **inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False, pad_token_id=0
    )


def in_here(family: str, name: str, *overrides: str):
    """Model, inputs, policy, what is generated on one device, and the statistics."""
    model, processor = tiny_model(family, depth=DEPTH)
    model.set_attn_implementation("eager")
    inputs = ragged_batch(processor)
    policy = load_policy(name, *overrides, family=family)
    with prune(model, policy) as run:
        run.identify(["a", "b"])
        ids = generate(model, inputs)
    return model, inputs, policy, ids, run.stats


def assert_same(stats, expected) -> None:
    assert [kept.tolist() for kept in stats.kept] == [kept.tolist() for kept in expected.kept]
    assert stats.kv_tokens.tolist() == expected.kv_tokens.tolist()


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl"])
@pytest.mark.parametrize(
    ("name", "split"), [("ivc_prune", 1), ("ivc_prune", 2), ("pdrop", 2), ("random", 1)]
)
def test_layers_on_another_device_are_pruned_alike(family: str, name: str, split: int) -> None:
    model, inputs, policy, expected, stats = in_here(family, name)
    decoder = family_of_model(model).text_model(model)
    names = {module: name for name, module in model.named_modules()}
    second = [names[layer] for layer in decoder.layers[split:]]
    with sharded(model, second), prune(model, policy) as run:
        run.identify(["a", "b"])
        ids = generate(model, place(inputs))
        assert ids.tolist() == expected.tolist()
        assert_same(run.stats, stats)


def test_contiguous_positions_go_on_on_another_device() -> None:
    """The shift of later positions is known where the stage's layer is."""
    model, inputs, policy, expected, _ = in_here(
        "llava", "random", "positions=reassign", "cache=from_stage"
    )
    decoder = family_of_model(model).text_model(model)
    names = {module: name for name, module in model.named_modules()}
    with (
        sharded(model, [names[layer] for layer in decoder.layers[1:]]),
        prune(model, policy) as run,
    ):
        run.identify(["a", "b"])
        assert generate(model, place(inputs)).tolist() == expected.tolist()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("name", ["ivc_prune", "fastv"])
def test_offloaded_weights_are_pruned_alike(family: str, name: str) -> None:
    """Outside of each module's forward its weights are on the meta device."""
    model, inputs, policy, expected, stats = in_here(family, name)
    cpu_offload(model, torch.device("cpu"))
    assert next(model.parameters()).is_meta
    with prune(model, policy) as run:
        ids = generate(model, inputs)
    assert torch.equal(ids, expected)
    assert_same(run.stats, stats)


def test_a_device_map_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, given = Family.load_model, []

    def recorded(family, folder, **options):
        given.append(options.get("device_map"))
        return load(family, folder, **options)

    monkeypatch.setattr(Family, "load_model", recorded)
    folder = str(save_tiny("llava", tmp_path))
    spec = ModelSpec("test", "llava", folder, {}, device_map="auto")
    model = spec.load_model("eager", "cpu")
    with prune(model, "ivc_prune") as run:
        generate(model, ragged_batch(spec.load_processor()))
    assert all(len(kept) < n for kept, n in zip(run.stats.kept, run.stats.n_visual, strict=True))
    ModelSpec("test", "llava", folder, {}).load_model("eager", "cpu")
    assert given == ["auto", None]


def test_a_device_map_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.device_map is 'all': choose one of auto"):
        ModelSpec("test", "llava", "anywhere", {}, device_map="all")
    spec = ModelSpec("test", "llava", "anywhere", {}, device_map="auto")
    spec.check_devices(processes=1)
    with pytest.raises(ValueError, match="2 processes would each do so: use one process"):
        spec.check_devices(processes=2)


def test_the_predict_loop_leaves_a_model_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    apply = torch.nn.Module._apply

    def watched(module, *args, **kwargs):
        moved.append(type(module).__name__)
        return apply(module, *args, **kwargs)

    load = ModelSpec.load_model

    def load_and_watch(spec, *args, **kwargs):
        model = load(spec, *args, **kwargs)
        monkeypatch.setattr(torch.nn.Module, "_apply", watched)
        return model

    monkeypatch.setattr(ModelSpec, "load_model", load_and_watch)
    checkpoint = save_tiny("llava", tmp_path / "checkpoint")
    arguments = ("data.limit=2", "model.device_map=auto")
    run = run_family("llava_1_5_7b", checkpoint, tmp_path / "outputs", monkeypatch, *arguments)
    assert len(run.rows) == 2
    assert "PredictModule" in moved
    assert not {"LlavaForConditionalGeneration", "LlavaModel"} & set(moved)
