"""Gemma 4: pictures of any aspect, two windows to each full layer, inputs of single layers."""

from __future__ import annotations

import pytest
import torch

from hybrid_reference import WINDOW_POLICIES
from ivcprune import PruningPolicy, Stage, prune
from ivcprune.api import bind
from ivcprune.models.gemma4 import Gemma4
from ivcprune.models.registry import family_named
from ivcprune.pruning.masks import OwnMasks
from ivcprune.selectors import (
    RandomSelector,
)
from ivcprune.testing.greedy import compared
from ivcprune.testing.tiny import gemma4, tiny_model
from pruning_helpers import batch, picture

FAMILY = family_named("gemma4")
TYPES = (["sliding_attention"] * 2 + ["full_attention"]) * 2
HALF = RandomSelector(keep=0.5)
TOLERANCE = 1e-5
SAMPLES = [
    ("what is it " * 4, [picture(140, 112), picture(56, 120, 1)]),
    ("why", [picture(84, 84, 2)]),
    ("no picture", []),
]


def random_model(per_layer_width):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = gemma4.build_of_layers(TYPES, per_layer_width)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model.eval(), processor


@pytest.fixture(scope="module", params=["sdpa", "eager", "inputs of single layers"])
def tiny(request):
    backend = request.param if request.param == "eager" else "sdpa"
    model, processor = random_model(8 if request.param.startswith("inputs") else 0)
    model.set_attn_implementation(backend)
    return model, processor


def comparison(model, inputs, policy, steps):
    bound = bind(policy, FAMILY, model.config)
    visual = inputs["input_ids"] == model.config.image_token_id
    return compared(model, FAMILY, inputs, bound, visual, steps)


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
@pytest.mark.parametrize("stages", WINDOW_POLICIES.values(), ids=WINDOW_POLICIES)
def test_equals_a_model_that_cannot_see_what_is_dropped(tiny, stages, cache):
    model, processor = tiny
    for samples, steps in ((SAMPLES, 6), (SAMPLES[1:2], 26)):
        inputs = batch(processor, *samples)
        found = comparison(model, inputs, PruningPolicy(stages, cache=cache), steps)
        assert max(found.differences) < TOLERANCE
        assert found.same_tokens


def test_recomputed_gives_single_layers_their_inputs():
    """Run again from the input on the survivors alone: as if chosen there."""
    model, processor = random_model(8)
    inputs = batch(processor, *SAMPLES[:2])
    logits = []
    for layer in (0, 3):
        policy = PruningPolicy({"a": Stage(layer, HALF)}, cache="recomputed")
        with torch.no_grad(), prune(model, policy) as run:
            run.identify(["one", "two"])
            logits.append(model(**inputs).logits[:, -1])
    assert (logits[0] - logits[1]).abs().max() < TOLERANCE


def test_a_window_over_what_is_stored_would_be_wider(monkeypatch):
    model, processor = random_model(0)
    inputs, policy = batch(processor, SAMPLES[1]), PruningPolicy({"a": Stage(1, HALF)})
    assert max(comparison(model, inputs, policy, 8).differences) < TOLERANCE
    extend = OwnMasks.extend

    def by_entries(self, layer, past, hidden, origin):
        extend(self, layer, past, hidden, origin)
        if past:
            stored = torch.arange(layer.index.shape[1] - 1, -1, -1)
            layer.index = layer.index[:, -1:] - stored

    monkeypatch.setattr(OwnMasks, "extend", by_entries)
    assert max(comparison(model, inputs, policy, 8).differences[1:]) > 1e-3


def test_grids_follow_the_shape_of_the_picture(tiny):
    """70 tokens at most, of 12 pixels a side: 140 x 112 become 108 x 84."""
    model, processor = tiny
    inputs = batch(processor, *SAMPLES)
    assert FAMILY.input_sizes(inputs, processor) == [(108, 84), (60, 144), (96, 96)]
    with torch.no_grad():
        for given in (dict(inputs), dict(inputs) | {"num_beams": 2}):
            beams = given.pop("num_beams", 1)
            with prune(model, "none") as run:
                model.generate(**given, num_beams=beams, max_new_tokens=1, do_sample=False)
            grids = [(7, 9), (12, 5)] * beams + [(8, 8)] * beams
            assert [kept.grid for kept in run.stats.kept_maps()] == grids


def test_beams_and_batches_agree_with_samples_alone(tiny):
    model, processor = tiny
    options = {"num_beams": 3, "do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    with prune(model, PruningPolicy({"a": Stage(1, HALF)})) as run:
        run.identify(["one", "two"])
        together = model.generate(**batch(processor, *SAMPLES[:2]), **options)[:, -6:]
        for name, sample, expected in zip(["one", "two"], SAMPLES[:2], together, strict=True):
            run.identify([name])
            alone = model.generate(**batch(processor, sample), **options)[0, -6:]
            assert torch.equal(alone, expected)


def refused(model, message, **changes):
    text = model.config.get_text_config()
    before = {name: getattr(text, name) for name in changes}
    vars(text).update(changes)
    try:
        with pytest.raises(ValueError, match=message):
            prune(model, "ivc_prune")
    finally:
        vars(text).update(before)


def test_shared_caches_and_prompts_that_see_ahead_are_refused():
    model, _ = tiny_model("gemma4")
    refused(model, "last 2 of this model's 4 layers share the caches", num_kv_shared_layers=2)
    refused(model, "all tokens see each other", use_bidirectional_attention="all")


def test_videos_are_refused_not_left_whole():
    model, processor = tiny_model("gemma4")
    inputs = batch(processor, SAMPLES[1])
    inputs["input_ids"][0, -1] = model.config.video_token_id
    with (
        prune(model, "random"),
        pytest.raises(ValueError, match="does not cover videos"),
        torch.no_grad(),
    ):
        model(**inputs)


def test_places_of_other_pictures_are_refused():
    model, processor = tiny_model("gemma4")
    inputs = batch(processor, *SAMPLES[:2])
    core = family_named("gemma4").core(model)
    positions = torch.zeros(1, *inputs["input_ids"].shape, dtype=torch.long)
    wrong = dict(inputs) | {"image_position_ids": inputs["image_position_ids"].flip(0)}
    with pytest.raises(
        ValueError, match="63 image tokens of sample 0 have patches of a 8 x 8 grid"
    ):
        Gemma4().blocks(core, wrong, positions)
    with pytest.raises(ValueError, match="3 images in input_ids and image_position_ids of 0"):
        Gemma4().blocks(core, {"input_ids": inputs["input_ids"]}, positions)


def test_a_layout_serves_the_call_that_it_was_encoded_for():
    """Whichever generate: a later call of the model that brings no layout gets no earlier one."""
    model, processor = tiny_model("gemma4")
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    half = PruningPolicy({"a": Stage(2, RandomSelector(keep=0.5))})
    with prune(model, half), torch.no_grad():
        type(model).generate(model, **inputs, max_new_tokens=1)
        model.model.get_image_features(inputs["pixel_values"], inputs["image_position_ids"])
        with pytest.raises(ValueError, match="image_position_ids of 0"):
            model(input_ids=inputs["input_ids"])
    assert "get_image_features" not in vars(model.model)
