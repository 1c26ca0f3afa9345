"""What attention backends are given after pruning, and that they agree on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask

from ivcprune.api import prune
from ivcprune.policy import PruningPolicy, Stage
from ivcprune.selectors import FastVSelector, IVCSelector, PDropSelector, RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture, ragged_batch

STAND_IN = "flash_stand_in"
FAMILIES = ["qwen2_5_vl", "llava", "qwen3_vl"]
DEPTH, STAGE = 4, 2
NEW_TOKENS = 3

ONE_STAGE = PruningPolicy({"select": Stage(STAGE, FastVSelector(keep=0.5))})
TWO_STAGES = PruningPolicy(
    {"early": Stage(1, PDropSelector(keep=0.7)), "late": Stage(3, PDropSelector(keep=0.3))},
    cache="from_stage",
)
SAME_TOKENS = {
    "coordinates": PruningPolicy({"select": Stage(STAGE, IVCSelector(keep=0.2))}),
    "random": PruningPolicy({"select": Stage(1, RandomSelector(keep=0.5))}, cache="from_stage"),
}
"""Policies whose choice no rounding can change, so that backends can be compared in bfloat16."""


@dataclass(frozen=True)
class Call:
    """The arguments of one attention call, by the names that FlashAttention has for them."""

    layer: int
    n_queries: int
    n_keys: int
    mask: torch.Tensor | None
    position_ids: torch.Tensor | None
    is_causal: bool


def reference_attention(query, key, value, mask, scaling):
    """FlashAttention's result: causal to the bottom right, padding keys unseen, empty rows 0."""
    n_queries, n_keys = query.shape[2], key.shape[2]
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    place = torch.arange(n_queries)[:, None] + n_keys - n_queries
    seen = torch.arange(n_keys) <= place
    if mask is not None:
        seen = seen & mask[:, None, None]
    logits = (query @ key.transpose(2, 3)).float() * scaling
    weights = logits.masked_fill(~seen, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
    return (weights.to(value.dtype) @ value).transpose(1, 2)


@pytest.fixture
def calls():
    """Registers the stand-in, and takes it out again; the calls that it receives, in order."""
    received: list[Call] = []

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any
    ) -> Any:
        is_causal = kwargs.get("is_causal")
        received.append(
            Call(
                layer=module.layer_idx,
                n_queries=query.shape[2],
                n_keys=key.shape[2],
                mask=attention_mask,
                position_ids=kwargs.get("position_ids"),
                is_causal=module.is_causal if is_causal is None else is_causal,
            )
        )
        return reference_attention(query, key, value, attention_mask, kwargs["scaling"]), None

    AttentionInterface.register(STAND_IN, attention)
    AttentionMaskInterface.register(STAND_IN, flash_attention_mask)
    yield received
    del AttentionInterface._global_mapping[STAND_IN]
    del AttentionMaskInterface._global_mapping[STAND_IN]
    assert STAND_IN not in ALL_MASK_ATTENTION_FUNCTIONS


def forced_logits(model, inputs, policy, implementation):
    """Raw logits `[steps, B, V]` of a generation whose tokens are given, and what was kept."""
    model.set_attn_implementation({"text_config": implementation})
    with prune(model, policy) as run, torch.inference_mode():
        run.identify([f"sample {i}" for i in range(len(inputs["input_ids"]))])
        output = model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            prefix_allowed_tokens_fn=lambda sample, ids: [7],
            output_logits=True,
            return_dict_in_generate=True,
        )
    return torch.stack(output.logits).float(), run.stats


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", [ONE_STAGE, TWO_STAGES], ids=["one_stage", "two_stages"])
def test_flash_attention_gets_no_mask_without_padding(calls, family, policy):
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    _, stats = forced_logits(model, inputs, policy, STAND_IN)
    assert stats.average_tokens < 1.0
    assert len(calls) == DEPTH * NEW_TOKENS
    assert all(call.mask is None and call.is_causal for call in calls)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", [ONE_STAGE, TWO_STAGES], ids=["one_stage", "two_stages"])
def test_flash_attention_gets_a_2d_mask_exactly_where_padding_remains(calls, family, policy):
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = ragged_batch(processor)
    assert not inputs["attention_mask"].all()
    _, stats = forced_logits(model, inputs, policy, STAND_IN)
    real = stats.kv_tokens
    for number, call in enumerate(calls):
        decoded = number // DEPTH
        if call.n_queries > 1 and call.layer < min(run_layers(policy)):
            expected = inputs["attention_mask"].sum(dim=1)  # compacted only later
        else:
            expected = real[call.layer] + decoded
        if call.mask is None:
            assert expected.tolist() == [call.n_keys] * len(expected)
        else:
            assert call.mask.dtype == torch.bool
            assert call.mask.shape == (len(expected), call.n_keys)
            assert call.mask.sum(dim=1).tolist() == expected.tolist()
            assert not call.mask.all()
        assert call.is_causal
    assert any(call.mask is not None for call in calls)


def run_layers(policy):
    return [stage.layer for stage in policy.stages.values()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", [ONE_STAGE, TWO_STAGES], ids=["one_stage", "two_stages"])
def test_lengths_are_those_of_the_caches(calls, family, policy):
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    _, stats = forced_logits(model, inputs, policy, STAND_IN)
    stored = [layer.stored for layer in stats.cache_layers]
    length = inputs["input_ids"].shape[1]
    first = min(run_layers(policy))
    for number, call in enumerate(calls):
        step, layer = divmod(number, DEPTH)
        assert call.layer == layer
        if step == 0:
            expected = length if layer < first else stored[layer]
            assert (call.n_queries, call.n_keys) == (expected, expected)
        else:
            assert (call.n_queries, call.n_keys) == (1, stored[layer] + step)


@pytest.mark.parametrize("family", FAMILIES)
def test_pruned_layers_get_no_position_ids_with_gaps(calls, family):
    """FlashAttention takes position ids with gaps for the borders of packed sequences."""
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    forced_logits(model, inputs, ONE_STAGE, STAND_IN)
    for number, call in enumerate(calls):
        if number >= STAGE:
            assert call.position_ids is None
        elif call.position_ids is not None:
            assert (call.position_ids.diff(dim=-1) == 1).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", [ONE_STAGE, TWO_STAGES], ids=["one_stage", "two_stages"])
def test_what_flash_attention_is_given_makes_sdpas_logits(calls, family, policy):
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = ragged_batch(processor)
    sdpa, kept = forced_logits(model, inputs, policy, "sdpa")
    assert not calls
    flash, kept_too = forced_logits(model, inputs, policy, STAND_IN)
    assert calls
    assert kept.kv_tokens.tolist() == kept_too.kv_tokens.tolist()
    torch.testing.assert_close(flash, sdpa, atol=1e-5, rtol=1e-5)


def assert_agree_in_bfloat16(model, inputs, policy, implementation):
    """The error of one backend against the other is that of rounding: SDPA's own to float32."""
    exact, _ = forced_logits(model.float(), as_float(inputs, torch.float32), policy, "sdpa")
    model, inputs = model.bfloat16(), as_float(inputs, torch.bfloat16)
    sdpa, kept = forced_logits(model, inputs, policy, "sdpa")
    other, kept_too = forced_logits(model, inputs, policy, implementation)
    assert [x.tolist() for x in kept.kept] == [x.tolist() for x in kept_too.kept]
    assert kept.kv_tokens.tolist() == kept_too.kv_tokens.tolist()
    rounding = (sdpa - exact).abs().max()
    assert rounding > 0
    assert (other - sdpa).abs().max() <= 2 * rounding


def as_float(inputs, dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", SAME_TOKENS.values(), ids=SAME_TOKENS)
def test_the_stand_in_agrees_in_bfloat16(calls, family, policy):
    model, processor = tiny_model(family, depth=DEPTH)
    assert_agree_in_bfloat16(model, ragged_batch(processor), policy, STAND_IN)
    assert calls


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", SAME_TOKENS.values(), ids=SAME_TOKENS)
def test_flash_attention_agrees_with_sdpa_in_bfloat16(family, policy):
    """On a ragged batch: what is left after pruning is padded."""
    pytest.importorskip("flash_attn", reason="the package flash-attn is not installed")
    model, processor = tiny_model(family, depth=DEPTH)
    inputs = {name: value.cuda() for name, value in ragged_batch(processor).items()}
    assert_agree_in_bfloat16(model.cuda(), inputs, policy, "flash_attention_2")
