"""Gemma 3, two windows to each full layer: image blocks and windows stay what they were."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from transformers import DynamicCache

from hybrid_reference import WINDOW_POLICIES, built_of_layers, compared, hiding_dropped, spied
from ivcprune import PruningPolicy, Stage, prune
from ivcprune.pruning.caches.windows import WindowLayer
from ivcprune.pruning.masks import OwnMasks
from ivcprune.selectors import (
    MergeDropped,
    RandomSelector,
    UpcomingSimilaritySelector,
)
from ivcprune.testing import greedy
from ivcprune.testing.tiny import gemma3, tiny_model
from pruning_helpers import batch, picture

TYPES = (["sliding_attention"] * 2 + ["full_attention"]) * 2
WINDOW = gemma3.WINDOW
TOLERANCE, STEPS = 1e-5, 30
"""So many steps that the window leaves the prompt behind."""
HALF = RandomSelector(keep=0.5)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def tiny(request):
    return built_of_layers(gemma3.build_of_layers, TYPES, request.param)


generate = partial(greedy.generate, steps=STEPS)
SAMPLES = [
    ("what is it " * 4, [picture(140, 112), picture(56, 84, 1)]),
    ("where", [picture(84, 84, 2)]),
    ("no picture", []),
]


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
@pytest.mark.parametrize("stages", WINDOW_POLICIES.values(), ids=WINDOW_POLICIES)
def test_equals_a_model_that_cannot_see_what_is_dropped(tiny, stages, cache):
    model, processor = tiny
    for samples in (SAMPLES, SAMPLES[:1], SAMPLES[1:2]):
        inputs = batch(processor, *samples)
        found = compared(model, inputs, PruningPolicy(stages, cache=cache), generate)
        assert max(found.differences) < TOLERANCE


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_a_window_over_what_is_stored_would_be_wider(tiny, cache, monkeypatch):
    """Measured by the entries of the cache, it reaches tokens that had left it, in decoding too."""
    model, processor = tiny
    inputs = batch(processor, SAMPLES[1])  # its picture is near the end
    policy = PruningPolicy({"a": Stage(1, HALF)}, cache=cache)
    assert max(compared(model, inputs, policy, generate).differences) < TOLERANCE
    extend = OwnMasks.extend

    def by_entries(self, layer, past, hidden, origin):
        extend(self, layer, past, hidden, origin)
        if past:  # a step of decoding
            stored = layer.index.shape[1]
            last = layer.index[:, -1:]
            layer.index = last - torch.arange(stored - 1, -1, -1)

    monkeypatch.setattr(OwnMasks, "extend", by_entries)
    differences = compared(model, inputs, policy, generate).differences
    assert differences[0] < TOLERANCE  # the prompt
    assert max(differences[1:]) > 1e-3


def test_windows_forget_what_no_token_can_see(tiny):
    model, processor = tiny
    inputs = batch(processor, *SAMPLES)
    policy = PruningPolicy({"a": Stage(2, HALF)})
    pruned = compared(model, inputs, policy, generate).pruned
    length = inputs["input_ids"].shape[1] + STEPS - 1
    for kind, layer in zip(TYPES, pruned.cache.layers, strict=True):
        assert layer.get_seq_length() == length
        if kind == "sliding_attention":
            assert type(layer) is WindowLayer
            assert layer.stored <= WINDOW
            assert (layer.index[:, -1] == length - 1).all()
        else:
            assert layer.stored > WINDOW


def test_average_tokens_are_those_that_were_kept_before_a_window_forgets(tiny):
    model, processor = tiny
    inputs = batch(processor, SAMPLES[0])
    for cache, average in {"all_layers": 0.5, "from_stage": (2 + 4 * 0.5) / 6}.items():
        with prune(model, PruningPolicy({"a": Stage(2, HALF)}, cache=cache)) as run:
            generate(model, inputs)
        assert run.stats.average_tokens == pytest.approx(average)
    with prune(model, "none") as run:
        generate(model, inputs)
    assert run.stats.average_tokens == 1


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_and_batches_agree_with_samples_alone(tiny, beams):
    model, processor = tiny
    options = {"num_beams": beams, "do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
    policy = PruningPolicy({"a": Stage(1, HALF)})
    with prune(model, policy) as run:
        run.identify(["one", "two"])
        together = model.generate(**batch(processor, *SAMPLES[:2]), **options)[:, -8:]
        for name, sample, expected in zip(["one", "two"], SAMPLES[:2], together, strict=True):
            run.identify([name])
            alone = model.generate(**batch(processor, sample), **options)[0, -8:]
            assert torch.equal(alone, expected)


def test_a_cache_of_the_caller(tiny):
    model, processor = tiny
    inputs, policy = batch(processor, *SAMPLES), PruningPolicy({"a": Stage(1, HALF)})
    answers = []
    for given in ({}, {"cache": DynamicCache(config=model.config.get_text_config())}):
        with prune(model, policy) as run:
            run.identify(["a", "b", "c"])
            answers.append(generate(model, inputs, **given).sequences)
    assert torch.equal(*answers)


def test_a_later_turn_goes_on_in_the_same_windows(tiny):
    """Text after a pruned picture, as a whole: its tokens see what the reference sees."""
    model, processor = tiny
    inputs = batch(processor, SAMPLES[0])
    more = torch.randint(20, 250, (1, 31), generator=torch.Generator().manual_seed(1))
    policy = spied(PruningPolicy({"a": Stage(1, HALF)}))
    logits = []
    for block in (prune(model, policy), hiding_dropped(model, policy, inputs)):
        with torch.no_grad(), block:
            cache = model(**inputs).cache
            logits.append(model(input_ids=more, cache=cache).logits)
    ours, theirs = logits
    assert (ours - theirs).abs().max() < TOLERANCE


def test_what_is_refused():
    model, processor = tiny_model("gemma3")
    inputs = batch(processor, SAMPLES[1])
    policy = PruningPolicy({"a": Stage(2, HALF)}, cache="from_stage", positions="reassign")
    with pytest.raises(ValueError, match="a rotary embedding for each of their types"):
        prune(model, policy)
    stage = Stage(2, MergeDropped(selector=HALF))
    with prune(model, PruningPolicy({"a": stage})), torch.no_grad():
        model(**inputs)  # merged states stay in their places
    text = model.config.get_text_config()
    text.use_bidirectional_attention = True
    with pytest.raises(ValueError, match="use_bidirectional_attention"):
        prune(model, policy)
    text.use_bidirectional_attention = False


def test_stages_that_read_windows_are_refused():
    model, _ = tiny_model("gemma3")
    policy = PruningPolicy({"a": Stage(3, UpcomingSimilaritySelector(keep=0.5))})
    with pytest.raises(ValueError, match=r"only the layers 1, 2 .* choose one of 1, 2"):
        prune(model, policy)
