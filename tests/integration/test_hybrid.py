"""Qwen3.5, three recurrent layers to each of full attention: what pruning means there."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from transformers import DynamicCache

from hybrid_reference import built_of_layers, compared
from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.api import bind
from ivcprune.models.registry import family_named
from ivcprune.models.token_rules import TokenRule, token_rules
from ivcprune.selectors import (
    FastVSelector,
    Per,
    RandomSelector,
    SeedSelector,
    UpcomingSimilaritySelector,
)
from ivcprune.testing import reference
from ivcprune.testing.reference import Spy
from ivcprune.testing.tiny import qwen3_5, tiny_model
from layer_helpers import cached, readable
from pruning_helpers import batch, generate, picture, ragged_batch
from qwen_helpers import ragged_clips

FAMILY = family_named("qwen3_5")
TYPES = (["linear_attention"] * 3 + ["full_attention"]) * 2
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def tiny(request):
    return built_of_layers(qwen3_5.build_of_layers, TYPES, request.param)


def difference(model, inputs, policy):
    """Largest difference of logits to the reference, over prefill and all steps of decoding."""
    found = compared(model, inputs, policy, generate)
    return max(found.differences), found.run


HALF = RandomSelector(keep=0.5)
POLICIES = {
    "at the input": {"a": Stage(0, HALF)},
    "on a recurrent layer": {"a": Stage(2, HALF)},
    "on the layer of attention": {"a": Stage(3, HALF)},
    "behind it": {"a": Stage(4, Per("sample", FastVSelector(keep=0.4)))},
    "on the second one": {"a": Stage(7, HALF)},
    "several": {
        "a": Stage(1, RandomSelector(keep=0.8)),
        "b": Stage(3, UpcomingSimilaritySelector(keep=0.6)),
        "c": Stage(4, Per("image", SeedSelector(keep=0.4))),
        "d": Stage(6, RandomSelector(keep=0.2)),
    },
}


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
@pytest.mark.parametrize("stages", POLICIES.values(), ids=POLICIES)
def test_equals_a_model_whose_recurrent_layers_skip_what_is_dropped(tiny, stages, cache):
    model, processor = tiny
    samples = [
        ("what is " * 3, [picture(140, 112), picture(56, 84, 1)]),
        ("where", [picture(84, 84, 2)]),
        ("no picture", []),
    ]
    for inputs in (batch(processor, *samples), batch(processor, samples[0])):
        found, _ = difference(model, inputs, PruningPolicy(stages, cache=cache))
        assert found < TOLERANCE


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_videos_too(tiny, cache):
    """Frames stand apart, with their times as text between them."""
    model, processor = tiny
    stages = {"a": Stage(2, RandomSelector(keep=0.7)), "b": Stage(4, SeedSelector(keep=0.3))}
    found, run = difference(model, ragged_clips(processor), PruningPolicy(stages, cache=cache))
    assert found < TOLERANCE
    assert {row.kind for row in run.stats.before.rows} == {"image", "frame"}


def test_a_token_that_is_masked_is_not_one_that_is_skipped(tiny, monkeypatch):
    """The reference of other families, which hides tokens, is not what pruning computes here."""
    model, processor = tiny
    inputs, policy = ragged_batch(processor), PruningPolicy({"a": Stage(1, HALF)})
    assert difference(model, inputs, policy)[0] < TOLERANCE

    class Hiding:
        """A layer whose mixer sees zeros in the place of what is dropped."""

        def __init__(self, layer, left):
            self.layer, self.left = layer, left

        def __enter__(self):
            forward, left = self.layer.forward, self.left

            def hide(hidden, **kwargs):
                whole = hidden.shape[1] == left.shape[1]
                return forward(hidden, **kwargs | {"attention_mask": left if whole else None})

            self.layer.forward = hide

        def __exit__(self, *_):
            del self.layer.forward

    monkeypatch.setattr(reference, "skipping", Hiding)
    assert difference(model, inputs, policy)[0] > 1e-2
    monkeypatch.setattr(reference, "skipping", lambda *_: nullcontext())
    assert difference(model, inputs, policy)[0] > 1e-2


def test_average_tokens_count_the_layers_that_have_a_cache(tiny):
    """Two of eight: one below the stage, which stays full, and one above."""
    model, processor = tiny
    inputs = batch(processor, ("where", [picture(112, 112)]))
    stage = {"a": Stage(5, RandomSelector(keep=0.25))}
    for cache, average in {"from_stage": (1 + 0.25) / 2, "all_layers": 0.25}.items():
        with prune(model, PruningPolicy(stage, cache=cache)) as run, torch.no_grad():
            model(**inputs)
        assert run.stats.kv_tokens.shape == (2, 1)
        assert run.stats.average_tokens == pytest.approx(average)
    policy = PruningPolicy(stage, cache="from_stage", average_tokens=0.75)
    with prune(model, policy) as run, torch.no_grad():
        model(**inputs)
    assert run.stats.average_tokens == pytest.approx(0.75)


def test_recomputed_states_have_never_seen_what_is_dropped(tiny):
    model, processor = tiny
    inputs = ragged_batch(processor)
    ends = []
    for cache in ("recomputed", "all_layers"):
        spy = Spy(Per("sample", FastVSelector(keep=0.4)))
        with prune(model, PruningPolicy({"a": Stage(4, spy)}, cache=cache)), torch.no_grad():
            ends.append(model(**inputs).cache)
        chosen = spy.log[0]
    keep = inputs["input_ids"] != model.config.image_token_id
    keep &= inputs["attention_mask"].bool()
    for sample, index in chosen:
        keep[sample, index] = True
    given = {}
    hook = FAMILY.text_model(model).register_forward_pre_hook(
        lambda _, args, kwargs: given.update(kwargs), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    for sample, tokens in enumerate(keep):
        decoder = FAMILY.text_model(model)
        alone = DynamicCache(config=decoder.config)
        embeddings = given["inputs_embeds"][sample, tokens][None]
        positions = given["position_ids"][:, sample, tokens][:, None]
        with torch.no_grad():
            decoder(inputs_embeds=embeddings, position_ids=positions, cache=alone)
        for index in (0, 1, 2, 4, 5, 6):
            expected = alone.layers[index].recurrent_states[0][0]
            clean, used = (end.layers[index].recurrent_states[0][sample] for end in ends)
            assert (clean - expected).abs().max() < TOLERANCE
            assert index > 3 or (used - expected).abs().max() > 1e-3


def test_a_cache_of_the_caller_and_beams(tiny):
    model, processor = tiny
    inputs, policy = ragged_batch(processor), PruningPolicy({"a": Stage(2, HALF)})
    answers = []
    for given in ({}, {"cache": DynamicCache(config=model.config.get_text_config())}):
        with prune(model, policy) as run:
            run.identify(["a", "b"])
            answers.append(generate(model, inputs, num_beams=2, **given).sequences)
    assert torch.equal(*answers)


def test_recomputed_in_a_later_turn_starts_from_the_states_of_the_first(tiny):
    model, processor = tiny
    first = batch(processor, ("hello there", []))
    second = batch(processor, ("and here", [picture(112, 84, 4)]))
    whole = dict(second)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        whole[name] = torch.cat([first[name], second[name]], dim=1)
    seen = []
    for layer in (0, 3):
        policy = PruningPolicy({"a": Stage(layer, HALF)}, cache="recomputed")
        with torch.no_grad(), prune(model, policy) as run:
            cache = model(**first).cache
            run.identify(["sample"])
            seen.append(torch.cat(generate(model, whole, cache=cache).logits))
    assert (seen[0] - seen[1]).abs().max() < TOLERANCE


class TestPlaces:
    """Qwen3.5-9B: 32 layers, of which 3, 7, ..., 31 have full attention."""

    @pytest.fixture(scope="class")
    def config(self):
        model, _ = tiny_model("qwen3_5")
        config = type(model.config)(text_config={"num_hidden_layers": 32})
        assert readable_of(config) == list(range(3, 32, 4))
        return config

    @pytest.mark.parametrize(
        ("policy", "layers"),
        [
            ("ivc_prune", {"select": 20}),  # 16/28 of 32 is 18; layer 19 has values and attention
            ("fastv", {"prune": 4}),
            ("random", {"select": 18}),  # needs no attention
            ("ivc_prune_progressive", {"early": 3, "select": 20}),
        ],
    )
    def test_stages_without_a_number_move_on_to_where_their_signals_are(
        self, config, policy, layers
    ):
        bound = bind(load_policy(policy, family="qwen3_5"), FAMILY, config)
        assert list(bound.layers.values()) == list(layers.values())

    def test_a_numbered_stage_is_refused_with_the_layers_that_could(self, config):
        policy = PruningPolicy({"prune": Stage(2, FastVSelector(keep=0.5))})
        with pytest.raises(ValueError, match=r"stages.prune.layer is 2.*choose one of 4, 8, 12"):
            bind(policy, FAMILY, config)
        policy = PruningPolicy({"prune": Stage(2, UpcomingSimilaritySelector(keep=0.5))})
        with pytest.raises(ValueError, match=r"needs values_next.*choose one of 3, 7, 11"):
            bind(policy, FAMILY, config)

    def test_no_layer_is_left_behind_the_last_one(self, config):
        policy = PruningPolicy({"prune": Stage("31 of 32", FastVSelector(keep=0.5))})
        with pytest.raises(ValueError, match=r"stages.prune.layer is 31"):
            bind(policy, FAMILY, config)

    def test_layers_of_an_unknown_type_are_refused(self, config):
        text = config.get_text_config()
        with pytest.raises(ValueError, match=r"LinearAttentionLayer \(linear_attention\) in 24 of"):
            token_rules(text, {"full_attention": TokenRule.CACHED})
        with pytest.raises(ValueError, match=r"\(linear_attention\) in 24 of its 32 layers"):
            token_rules(text, FAMILY.token_rules | {"linear_attention": TokenRule.CACHED})


def readable_of(config):
    rules = token_rules(config.get_text_config(), FAMILY.token_rules)
    return [i for i, rule in enumerate(rules) if rule is TokenRule.CACHED]


def test_layers_of_the_tiny_models():
    model, _ = tiny_model("qwen3_5_moe", depth=5)
    assert readable(model) == cached(model) == [1, 2, 3]
