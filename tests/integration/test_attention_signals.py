"""Attention rows that selectors get equal the eager model's own weights, in every turn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import family_of_model, supported
from ivcprune.selectors import PDropSelector, Per, RandomSelector, Selector
from ivcprune.testing import tiny_model
from ivcprune.tokens import Signal
from ivcprune.tokens.attention import Queries
from layer_helpers import cached
from pruning_helpers import batch, picture, ragged_batch

LAYER, TOLERANCE = 2, 1e-5


@dataclass(frozen=True, eq=False)
class Probe(Selector):
    """Keeps everything, and writes down the attention rows that it gets."""

    found: list = field(default_factory=list)

    needs = frozenset({Signal.ATTENTION_PREVIOUS, Signal.ATTENTION_NEXT, Signal.RATERS})

    def select(self, tokens):
        last = tokens.signals.last_token().slots
        slots = torch.cat([last, last - 2], dim=1)
        several = Queries(slots, torch.ones_like(slots, dtype=torch.bool))
        rows = {
            (name, layer): (queries, tokens.attention(queries, layer=layer))
            for layer in ("previous", "next")
            for name, queries in {"last": "last", "raters": "raters", "several": several}.items()
        }
        for (name, layer), (queries, mean) in rows.items():
            each = tokens.head_attention(queries, layer=layer)
            torch.testing.assert_close(each.mean(dim=1), mean, atol=1e-6, rtol=0, msg=name)
        self.found.append((tokens, rows, tokens.raters()))
        return tokens.valid


@pytest.fixture(params=supported())
def family(request):
    return request.param


def eager(family):
    model, processor = tiny_model(family)
    model.set_attn_implementation("eager")
    return model, processor


def check_rows(found, attentions, past):
    """Compares each recorded row with `attentions`, head means by layer `[B, S, past + S]`."""
    tokens, rows, raters = found
    batches = torch.arange(len(raters.slots))[:, None]
    for (name, layer), (queries, got) in rows.items():
        weights = attentions[LAYER - (layer == "previous")].mean(dim=1)
        if name == "last":
            # left-padded: every sample ends in the last slot
            slots = torch.full((len(weights), 1), weights.shape[1] - 1)
            mask = torch.ones_like(slots, dtype=torch.bool)
        else:
            slots = raters.slots if name == "raters" else queries.slots
            mask = raters.mask if name == "raters" else queries.mask
        expected = weights[batches, slots][:, :, past:] * mask[:, :, None]
        expected = expected[tokens.sample[:, None], :, tokens.slot].transpose(1, 2)
        valid = tokens.valid[:, None]
        difference = (got - expected).masked_fill(~valid, 0.0).abs().max()
        assert difference < TOLERANCE, f"{name} queries, {layer} layer"
        assert got.masked_fill(~valid, 0.0).max() > 1e-3


def test_rows_of_a_ragged_batch(family):
    model, processor = eager(family)
    probe = Probe()
    with prune(model, PruningPolicy({"look": Stage(LAYER, probe)})), torch.no_grad():
        output = model(**ragged_batch(processor), output_attentions=True)
    # a recurrent layer has no weights to show
    attentions = dict(zip(cached(model), output.attentions, strict=True))
    check_rows(probe.found[0], attentions, past=0)


def first_turns():
    yield "vanilla", PruningPolicy()
    yield "all_layers", PruningPolicy({"a": Stage(3, RandomSelector(keep=0.4))})
    yield (
        "two_stages",
        PruningPolicy(
            {"a": Stage(1, RandomSelector(keep=0.7)), "b": Stage(2, RandomSelector(keep=0.3))},
            cache="from_stage",
        ),
    )
    stages = {"a": Stage(1, RandomSelector(keep=0.7)), "b": Stage(2, PDropSelector(keep=0.3))}
    yield (
        "reassigned",
        PruningPolicy(
            {n: Stage(s.layer, Per("sample", s.selector)) for n, s in stages.items()},
            cache="from_stage",
            positions="reassign",
        ),
    )


@pytest.mark.parametrize("policy", [p for _, p in first_turns()], ids=[n for n, _ in first_turns()])
def test_rows_of_an_image_in_a_later_turn(policy):
    """Earlier turns are keys too: ragged, pruned, or at reassigned positions."""
    model, processor = eager("llava")
    family = family_of_model(model)
    assert family.rotary_axes == 1
    first = ragged_batch(processor)
    later = [("and here", [picture(90, 90, 4)]), ("what about that one", [picture(90, 90, 5)])]
    second = batch(processor, *later)
    mask = torch.cat([first["attention_mask"], second["attention_mask"]], dim=1)
    probe = Probe()
    with torch.no_grad():
        with prune(model, policy):
            cache = model(**first).past_key_values
        past = [layer.keys.shape[2] for layer in cache.layers]
        seen = cache.get_seq_length()
        with prune(model, PruningPolicy({"look": Stage(LAYER, probe)})):
            output = model(
                input_ids=second["input_ids"],
                pixel_values=second["pixel_values"],
                attention_mask=mask,
                past_key_values=cache,
                output_attentions=True,
            )
    assert seen == first["input_ids"].shape[1]
    for layer in (LAYER - 1, LAYER):
        assert output.attentions[layer].shape[-1] == past[layer] + second["input_ids"].shape[1]
    tokens, rows, raters = probe.found[0]
    for layer, name in ((LAYER - 1, "previous"), (LAYER, "next")):
        of_layer = {key: value for key, value in rows.items() if key[1] == name}
        check_rows((tokens, of_layer, raters), output.attentions, past[layer])


def test_unrotated_rows_over_the_image():
    """`rope=False, over="image"`: softmax(q k) of the bare projections over the row's tokens."""
    model, processor = tiny_model("llava")
    found = []

    @dataclass(frozen=True, eq=False)
    class Bare(Selector):
        needs = frozenset({Signal.ATTENTION_PREVIOUS})

        def select(self, tokens):
            rows = tokens.attention("last", layer="previous", rope=False, over="image")
            found.append((tokens, rows))
            return tokens.valid

    inputs = ragged_batch(processor)
    with prune(model, PruningPolicy({"look": Stage(LAYER, Bare())})), torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[LAYER - 1]
    tokens, got = found[0]
    layer = model.model.language_model.layers[LAYER - 1]
    states = layer.input_layernorm(hidden)
    query = layer.self_attn.q_proj(states[:, -1]).view(len(states), 2, 2, 16)
    keys = layer.self_attn.k_proj(states).view(*states.shape[:2], 2, 16)
    for row, count in enumerate(tokens.count):
        sample, slots = tokens.sample[row], tokens.slot[row, :count]
        logits = torch.einsum("kgd,nkd->kgn", query[sample], keys[sample, slots]) / 4
        expected = logits.softmax(dim=-1).mean(dim=(0, 1))
        assert (got[row, 0, :count] - expected).abs().max() < TOLERANCE
        assert got[row, 0].sum() == pytest.approx(1.0, abs=1e-5)


def test_raters_are_the_text_tokens_that_resemble_the_image(family):
    model, processor = tiny_model(family)
    probe, given = Probe(), []
    decoder = family_of_model(model).text_model(model)
    hook = decoder.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with prune(model, PruningPolicy({"look": Stage(LAYER, probe)})), torch.no_grad():
        model(**ragged_batch(processor))
    hook.remove()
    tokens, _, raters = probe.found[0]
    for sample in range(len(raters.slots)):
        rows = tokens.sample == sample
        visual = given[0][sample, tokens.index[rows][tokens.valid[rows]]]
        slots, mask = tokens.signals.text_slots("following_image")
        text = slots[sample][mask[sample]]
        received = (visual @ given[0][sample, text].T).softmax(dim=-1).mean(dim=0)
        expected = text[received > received.mean()].tolist()
        assert raters.slots[sample][raters.mask[sample]].tolist() == expected
        assert 0 < len(expected) < len(text)
