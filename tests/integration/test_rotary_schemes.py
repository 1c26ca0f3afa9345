"""Scaled and partial rotary embeddings, and a model without any."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import family_of_model
from ivcprune.selectors import IVCSelector, Selector
from ivcprune.testing import tiny_model
from ivcprune.testing.reference import Spy
from ivcprune.tokens import Signal
from pruning_helpers import ragged_batch

SCHEMES = {
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 1e4,
    },
    "yarn": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 1e4,
    },
}


def with_text(**changes):
    """The tiny LLaVA, its text configuration changed, with new random weights."""
    model, processor = tiny_model("llava")
    settings = model.config.to_dict()
    settings["text_config"] |= changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        changed = LlavaForConditionalGeneration(LlavaConfig(**settings)).eval()
    for parameter in changed.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return changed, processor


@pytest.mark.parametrize("scheme", SCHEMES)
def test_coordinates_follow_the_scaled_rotations(scheme):
    """V(m) is what the model's own cos adds up to, whatever scales its frequencies."""
    model, processor = with_text(rope_parameters=SCHEMES[scheme])
    family, inputs = family_of_model(model), ragged_batch(processor)
    rotary = model.model.language_model.rotary_emb
    positions = torch.arange(inputs["input_ids"].shape[1])[None]
    cos, sin = rotary(torch.zeros(1, 1, 64), positions)
    inv_freq = family.inverse_frequencies(model)
    angles = positions[0, :, None] * inv_freq
    # yarn also scales the length of the rotated vectors, which ranks alike
    for ours, theirs in ((angles.cos(), cos), (angles.sin(), sin)):
        assert (ours * rotary.attention_scaling - theirs[0, :, : len(inv_freq)]).abs().max() < 1e-5
    spy = Spy(IVCSelector(keep=0.1))
    with prune(model, PruningPolicy({"select": Stage(2, spy)})), torch.no_grad():
        model(**inputs)
    first = (inputs["input_ids"] == model.config.image_token_id)[0].nonzero()[:36, 0]
    top = {int(first[i]) for scores in (cos, sin) for i in scores[0, first].sum(-1).topk(4).indices}
    assert {index for sample, index in spy.log[0] if sample == 0} == top
    plain, _ = with_text()
    assert not torch.equal(inv_freq, family.inverse_frequencies(plain))


@dataclass(frozen=True, eq=False)
class Rows(Selector):
    """Notes the last token's attention."""

    found: list = field(default_factory=list)

    needs = frozenset({Signal.ATTENTION_PREVIOUS, Signal.ATTENTION_NEXT})

    def select(self, tokens):
        for layer in ("previous", "next"):
            self.found.append((layer, tokens.slot, tokens.attention(layer=layer)))
        return tokens.valid


def test_partial_rotary_attention_is_the_models_own():
    """Half of the dimensions turn (StableLM): rows still equal the eager weights."""
    model, processor = with_text(
        model_type="stablelm",
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    )
    assert len(family_of_model(model).inverse_frequencies(model)) == 4
    assert model.model.language_model.layers[0].self_attn.head_dim == 16
    model.set_attn_implementation("eager")
    probe = Rows()
    with prune(model, PruningPolicy({"look": Stage(2, probe)})), torch.no_grad():
        attentions = model(**ragged_batch(processor), output_attentions=True).attentions
    for (layer, slot, rows), index in zip(probe.found, (1, 2), strict=True):
        assert layer == {1: "previous", 2: "next"}[index]
        expected = attentions[index].mean(dim=1)[0, -1, slot[0]]
        assert (rows[0, 0] - expected).abs().max() < 1e-5


def test_a_model_without_rotary_is_refused_clearly():
    model, _ = tiny_model("llava")
    del model.model.language_model.rotary_emb
    with pytest.raises(ValueError, match="has no rotary position embedding"):
        prune(model, "ivc_only")
