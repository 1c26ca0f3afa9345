"""Pruned models compute what a model computes that merely cannot see the dropped tokens."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from ivcprune import load_policy, prune
from ivcprune.models.registry import family_of_model, supported
from ivcprune.policy import PruningPolicy, Stage
from ivcprune.selectors import (
    FastVSelector,
    IVCSelector,
    PDropSelector,
    Per,
    RandomSelector,
    RefineSelector,
    SeedSelector,
    TopUp,
    Union,
)
from ivcprune.testing import tiny_model
from ivcprune.testing.greedy import compared
from layer_helpers import HYBRID, cached, readable
from pruning_helpers import batch, generate, picture, ragged_batch

DEPTH = 4
TOLERANCE = 1e-5


def ivc_prune(keep=0.5):
    first = Union(members={"ivc": IVCSelector(), "seeds": SeedSelector()})
    return Per(scope="image", selector=TopUp(first=first, then=RefineSelector(), keep=keep))


def bound(model, policy):
    family = family_of_model(model)
    by = int(family.name in HYBRID)  # past the first layer, which has no attention
    return moved(policy, by).bind(
        len(family.layers(model)),
        2 + by,
        family.spare_layers,
        family.rotary_axes,
        cached=cached(model),
        readable=readable(model),
    )


def moved(policy, by):
    """The policy with its numbered layers, but for the input, moved by so many."""
    stages = {
        name: replace(s, layer=s.layer + by) if isinstance(s.layer, int) and s.layer else s
        for name, s in policy.stages.items()
    }
    spare = policy.spare_layers and tuple(layer + by for layer in policy.spare_layers)
    return replace(policy, stages=stages, spare_layers=spare)


def assert_equals_mask_reference(model, inputs, policy):
    visual = inputs["input_ids"] == model.config.image_token_id
    found = compared(model, family_of_model(model), inputs, bound(model, policy), visual)
    assert max(found.differences) < TOLERANCE
    assert found.same_tokens
    for index, kept in zip(found.run.stats.kept, found.kept, strict=True):
        assert torch.equal(index, kept.nonzero()[:, 0])
    return found.run


@pytest.fixture(
    params=[(family, backend) for family in supported() for backend in ("sdpa", "eager")],
    ids="-".join,
    scope="module",
)
def model_and_processor(request):
    family, backend = request.param
    model, processor = tiny_model(family, depth=DEPTH + 2 * (family in HYBRID))
    model.set_attn_implementation(backend)
    return model, processor


def test_none_is_bit_identical(model_and_processor):
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    expected = generate(model, inputs)
    with prune(model, "none") as run:
        found = generate(model, inputs)
    assert torch.equal(found.sequences, expected.sequences)
    for ours, theirs in zip(found.logits, expected.logits, strict=True):
        assert torch.equal(ours, theirs)
    assert run.stats.average_tokens == 1


@pytest.mark.parametrize("layer", [1, 2, DEPTH - 1])
@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_single_stage(model_and_processor, layer, cache):
    model, processor = model_and_processor
    policy = PruningPolicy({"select": Stage(layer, ivc_prune())}, cache=cache)
    assert_equals_mask_reference(model, ragged_batch(processor), policy)


def test_before_the_language_model(model_and_processor):
    model, processor = model_and_processor
    policy = PruningPolicy({"select": Stage(0, RandomSelector(keep=0.4))})
    run = assert_equals_mask_reference(model, ragged_batch(processor), policy)
    assert (run.stats.kv_tokens == run.stats.kv_tokens[0]).all()


def test_spare_layers_keep_their_cache(model_and_processor):
    model, processor = model_and_processor
    policy = PruningPolicy({"select": Stage(2, ivc_prune())}, spare_layers=(0,))
    run = assert_equals_mask_reference(model, ragged_batch(processor), policy)
    text = torch.tensor(run.stats.n_text)
    visual = run.stats.kv_tokens - text
    spared = int(readable(model)[0] > 0)  # with a cache that holds every token
    counted = cached(model).index(spared)
    assert visual[counted].tolist() == run.stats.n_visual
    assert visual[counted + 1].tolist() == run.stats.kept_by_stage["select"]


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_several_stages(model_and_processor, cache):
    model, processor = model_and_processor
    stages = {
        "late": Stage(3, Per(scope="sample", selector=PDropSelector(keep=0.2))),
        "early": Stage(1, Per(scope="sample", selector=FastVSelector(keep=0.7))),
        "middle": Stage(2, ivc_prune(0.5)),
    }
    run = assert_equals_mask_reference(
        model, ragged_batch(processor), PruningPolicy(stages, cache=cache)
    )
    assert list(run.stats.kept_by_stage) == ["early", "middle", "late"]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("ivc_prune_progressive", ()),
        ("ivc_prune_progressive", ("stages.early.layer=1",)),
        ("ivc_prune", ("selector@stages.select.selector=adaptive",)),
        ("ivc_prune", ("selector@stages.select.selector=adaptive_frames",)),
    ],
)
def test_beyond_the_paper(model_and_processor, name, overrides):
    model, processor = model_and_processor
    policy = load_policy(name, *overrides, family=family_of_model(model).name)
    assert_equals_mask_reference(model, ragged_batch(processor), policy)


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_stages_that_leave_the_longest_sample_alone(model_and_processor, cache):
    """The padding of the others changes while the length of the batch does not."""
    model, processor = model_and_processor
    inputs = batch(processor, ("a long question " * 24, []), ("short", [picture(112, 84)]))
    stages = {
        "early": Stage(1, RandomSelector(keep=0.6)),
        "late": Stage(2, RandomSelector(keep=0.3)),
    }
    assert_equals_mask_reference(model, inputs, PruningPolicy(stages, cache=cache))


def test_unpadded_single_sample(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where", [picture(196, 140)]))
    policy = PruningPolicy({"select": Stage(2, ivc_prune())})
    assert_equals_mask_reference(model, inputs, policy)


@pytest.mark.parametrize("seed", range(16))
def test_random_policies(model_and_processor, seed):
    """Random stages, scopes, budgets and batches."""
    model, processor = model_and_processor
    draw = random.Random(seed)
    kinds = [
        lambda keep: ivc_prune(keep),
        lambda keep: RandomSelector(keep=keep, seed=seed),
        lambda keep: Per(scope="sample", selector=FastVSelector(keep=keep)),
        lambda keep: Per(scope="row", selector=PDropSelector(keep=keep)),
        lambda keep: IVCSelector(keep=keep),
    ]
    layers = sorted(draw.sample(range(1, DEPTH), draw.randint(1, 3)))
    stages = {
        f"stage{layer}": Stage(layer, draw.choice(kinds)(draw.uniform(0.1, 0.9)))
        for layer in layers
    }
    cache = draw.choice(["all_layers", "from_stage"])
    spare = tuple(draw.sample([0], draw.randint(0, 1)))
    samples = [
        (
            "what is " * draw.randint(1, 4),
            [
                picture(28 * draw.randint(1, 7), 28 * draw.randint(1, 7), seed + i)
                for i in range(draw.randint(1, 2))
            ],
        )
        for _ in range(draw.randint(1, 3))
    ]
    policy = PruningPolicy(stages, cache=cache, spare_layers=spare)
    assert_equals_mask_reference(model, batch(processor, *samples), policy)
