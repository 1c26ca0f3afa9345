"""The self-check of families: right ones pass, and wrong ones are told what is wrong with them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_parameter_counts import FOLDER, published_config
from transformers import AutoModelForImageTextToText

from ivcprune.models.gemma3 import Gemma3
from ivcprune.models.llava import Llava
from ivcprune.models.mistral3 import Mistral3
from ivcprune.models.qwen.qwen2_5_vl import Qwen25VL
from ivcprune.models.qwen.qwen3_5 import Qwen35
from ivcprune.models.qwen.qwen3_vl import Qwen3VL
from ivcprune.models.registry import family_named, family_of, supported
from ivcprune.models.rotary import rotate_pairs
from ivcprune.models.token_rules import TokenRule
from ivcprune.pruning.masks import OwnMasks
from ivcprune.pruning.statistics import PrefillStatistics
from ivcprune.testing import FAMILY_RULES, ContractError, check_family, tiny_model
from ivcprune.testing.family.shallow import WINDOW, shallow, some_layers
from ivcprune.testing.tiny import deepseek_vl2, glm4v, mistral3


@pytest.mark.parametrize("name", supported())
def test_families_of_this_package_pass(name):
    model, processor = tiny_model(name, depth=6)
    check_family(name, model.config, processor)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("deepseek_vl2", deepseek_vl2.build_multi_head),
        ("glm4v", glm4v.build_moe),
        ("mistral3", mistral3.build_mistral),
    ],
)
def test_other_decoders_of_a_family_pass(name, build):
    model, processor = build(4)
    check_family(name, model.config, processor)


def test_the_page_names_every_rule():
    page = Path(__file__).parents[2] / "docs" / "adding_a_model.md"
    section = page.read_text("utf-8").split("## Checking a family")[1].split("## From")[0]
    assert re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE) == list(FAMILY_RULES)


def wrong(family, **changes):
    """A family that states something else than its base."""
    return type("Wrong", (family,), {"name": "wrong", **changes})


def shifted(by):
    def blocks(self, core, inputs, positions):
        return [replace(b, start=b.start + by) for b in Llava.blocks(self, core, inputs, positions)]

    return blocks


def first_alone(self, core, inputs, positions):
    return Llava.blocks(self, core, inputs, positions)[:1]


def specials_forgotten(self, core, inputs, positions):
    return [replace(b, special=None) for b in Mistral3.blocks(self, core, inputs, positions)]


def all_special(self, core, inputs, positions):
    blocks = Llava.blocks(self, core, inputs, positions)
    return [replace(b, special=torch.ones(len(b.cell), dtype=torch.bool)) for b in blocks]


WRONG = {
    "marks off by one": (
        wrong(Llava, blocks=shifted(1)),
        "llava",
        r"'layout': in one sample, sample 0: `blocks` calls these visual, which no picture changes",
    ),
    "the second picture forgotten": (
        wrong(Llava, blocks=first_alone),
        "llava",
        r"'layout': in a ragged batch, sample 1: `blocks` lacks these",
    ),
    "marks of lines as tokens of the picture": (
        wrong(Mistral3, blocks=specials_forgotten),
        "mistral3",
        r"'layout': .* calls these visual, which no picture changes: slots",
    ),
    "tokens as marks": (
        wrong(Llava, blocks=all_special),
        "llava",
        r"'layout': .* calls these special, but the picture changes them",
    ),
    "no pictures found": (
        wrong(Llava, blocks=lambda *_: []),
        "llava",
        r"'layout': ValueError: `blocks` finds no visual tokens",
    ),
    "another type": (
        wrong(Llava, model_types=("mine",)),
        "llava",
        r"'statements': .* type 'llava'",
    ),
    "a layer beyond the last": (
        wrong(Llava, default_layer=lambda self, depth: depth),
        "llava",
        r"`default_layer\(4\)` is 4: it must be one of the 4 layers",
    ),
    "windows without their masks": (
        wrong(Gemma3, own_masks=False),
        "gemma3",
        r"`own_masks` is False: .* would widen them",
    ),
    "windows as full attention": (
        wrong(Gemma3, token_rules=dict.fromkeys(Gemma3.token_rules, TokenRule.CACHED)),
        "gemma3",
        r"attends in a sliding window of 24 tokens in 2 of its 4 layers",
    ),
    "states as full attention": (
        wrong(Qwen35, token_rules=dict.fromkeys(Qwen35.token_rules, TokenRule.CACHED)),
        "qwen3_5",
        r"has a LinearAttentionLayer \(linear_attention\) in 2 of its 4 layers",
    ),
    "sections of frequencies": (
        wrong(Qwen3VL, frequency_axis=Qwen25VL.frequency_axis),
        "qwen3_vl",
        r"'frequencies': \d+ of 8 frequencies .* turn visual tokens otherwise than the model",
    ),
    "rotary halves swapped": (
        wrong(Llava, rotate=lambda self, attention, states, rotary: rotate_pairs(states, rotary)),
        "llava",
        r"'projections': `keys` of layer 0 .*the model turns halves .*so `rotate` is wrong",
    ),
    "values of another projection": (
        wrong(Llava, values=lambda self, layer, hidden: Llava.keys(self, layer, hidden, None)),
        "llava",
        r"'projections': `values` of layer 0 differ by",
    ),
    "a gate taken for queries": (
        wrong(Qwen35, queries=Qwen3VL.queries),
        "qwen3_5",
        r"'attention rows': ",
    ),
}


@pytest.mark.parametrize(("family", "model", "message"), WRONG.values(), ids=WRONG)
def test_wrong_statements_are_named(family, model, message):
    tiny, processor = tiny_model(model)
    with pytest.raises(ContractError, match=message):
        check_family(family, tiny.config, processor)


def test_a_widened_window_is_found_in_the_step_where_it_opens(monkeypatch):
    extend = OwnMasks.extend

    def by_entries(self, layer, past, hidden, origin):
        extend(self, layer, past, hidden, origin)
        if past:
            stored = torch.arange(layer.index.shape[1] - 1, -1, -1)
            layer.index = layer.index[:, -1:] - stored

    monkeypatch.setattr(OwnMasks, "extend", by_entries)
    tiny, processor = tiny_model("gemma3")
    message = r"'exactness': .* decode step \d differ .* layer \d \(sliding_attention\) on"
    with pytest.raises(ContractError, match=message):
        check_family("gemma3", tiny.config, processor)


def test_an_argument_that_nobody_names_is_told(monkeypatch):
    """Attention reads this one, through `**kwargs`."""
    tiny, processor = tiny_model("llava")
    for layer in tiny.model.language_model.layers:
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "position_bias": args[0][..., 0]}),
            with_kwargs=True,
        )
    with pytest.raises(
        ContractError, match=r"'layout': ValueError: LlamaDecoderLayer gets `position_"
    ):
        check_family(Llava, tiny, processor)


def test_wrong_counts_are_told(monkeypatch):
    tiny, processor = tiny_model("llava")
    monkeypatch.setattr(PrefillStatistics, "n_visual", property(lambda self: [1]), raising=False)
    monkeypatch.setattr(PrefillStatistics, "__init__", _without_visual(PrefillStatistics.__init__))
    with pytest.raises(ContractError, match=r"count \[1\] visual tokens, and there are"):
        check_family("llava", tiny, processor)


def _without_visual(init):
    def lighter(self, *, n_visual, **own):
        vars(self).update(own)

    return lighter


# Shallow copies -----------------------------------------------------------------------------------


def test_two_layers_of_each_type_stay():
    types = (["sliding_attention"] * 5 + ["full_attention"]) * 3
    assert some_layers(types) == [0, 1, 5, 11]
    assert some_layers(["full_attention"] * 28) == [0, 1, 2, 3]
    assert some_layers(["full_attention"] * 2) == [0, 1]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_copies_of_checkpoints_are_small_models_with_the_same_statements(name):
    published = published_config(name)
    family = family_of(published["model_type"])
    config = family.read_config(published)
    copy = shallow(config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(copy)
    text, own = copy.get_text_config(), config.get_text_config()
    assert len(family.layers(model)) == 4
    assert text.vocab_size == own.vocab_size
    embeddings = 2 * text.vocab_size * text.hidden_size
    assert sum(x.numel() for x in model.parameters()) - embeddings < 4e8
    types = getattr(own, "layer_types", None) or []
    assert set(getattr(text, "layer_types", None) or []) == set(types)
    if "sliding_attention" in types:
        assert text.sliding_window == WINDOW
    inv_freq = family.inverse_frequencies(model)
    with torch.device("meta"):
        whole = AutoModelForImageTextToText.from_config(config)
    assert torch.equal(inv_freq, family.inverse_frequencies(whole))
    assert family_named(family.name) is family
