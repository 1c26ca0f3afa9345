"""LLaVA-1.5: published settings, published sizes, layout, generation."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from ivcprune import load_policy, prune
from ivcprune.api import bind
from ivcprune.configuration.build import build_model_spec, build_policy, compose
from ivcprune.models.registry import family_named, family_of_model
from ivcprune.selectors import IVCSelector, RefineSelector, SeedSelector, Union
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture, ragged_batch

FAMILY = family_named("llava")
SIZES = {"7b": (4096, 11008, 32), "13b": (5120, 13824, 40)}
"""Width, intermediate width, and depth = number of heads of a published model."""


def published_config(size: str) -> LlavaConfig:
    hidden, intermediate, depth = SIZES[size]
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        image_size=336,
        projection_dim=768,
    )
    text = LlamaConfig(
        vocab_size=32064,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=depth,
        num_attention_heads=depth,
    )
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=32000)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("llava")


@pytest.mark.parametrize(("size", "parameters"), [("7b", 7_063_427_072), ("13b", 13_351_494_656)])
def test_published_sizes_are_recognised(size: str, parameters: int) -> None:
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(published_config(size))
    assert model.num_parameters() == parameters
    assert family_of_model(model) is FAMILY
    assert len(FAMILY.layers(model)) == SIZES[size][2]
    assert len(FAMILY.inverse_frequencies(model)) == 64


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_configurations_say_how_the_checkpoint_is_used(size: str) -> None:
    spec = build_model_spec(compose([f"model=llava_1_5_{size}"]))
    assert (spec.name, spec.family) == (f"llava_1_5_{size}", "llava")
    assert spec.path == f"llava-hf/llava-1.5-{size}-hf"
    assert (spec.box_format, spec.max_new_tokens) == ("unit", 2048)
    assert spec.prompts["vqa"].endswith("Answer the question using a single word or phrase.")


def policy_of(name: str, size: str):
    policy = build_policy(compose([f"model=llava_1_5_{size}", f"policy={name}"]))
    return policy, bind(policy, FAMILY, published_config(size))


@pytest.mark.parametrize(("size", "layer"), [("7b", 16), ("13b", 20)])
def test_ivc_prune_is_the_published_one(size: str, layer: int) -> None:
    policy, bound = policy_of("ivc_prune", size)
    union = policy.stages["select"].selector.selector
    assert isinstance(union, Union)
    ivc, seeds, foreground = (union.named[name] for name in ("ivc", "seeds", "foreground"))
    assert isinstance(ivc, IVCSelector)
    assert isinstance(seeds, SeedSelector)
    assert isinstance(foreground, RefineSelector)
    assert (ivc.keep, seeds.keep, foreground.keep) == (0.05, 0.01, 0.2)
    assert (bound.layers, bound.spare_layers) == ({"select": layer}, {0})


def test_ivc_prune_paper_is_the_printed_one() -> None:
    policy, bound = policy_of("ivc_prune_paper", "7b")
    members = policy.stages["select"].selector.selector.named
    assert (members["ivc"].keep, members["foreground"].keep) == (0.05, 0.25)
    assert bound.layers == {"select": 15}


def test_every_picture_is_a_block_wherever_it_stands(tiny) -> None:
    model, processor = tiny
    text = "a picture <image> and two more <image><image> of it"
    pictures = [picture(84, 84, seed) for seed in range(3)]
    inputs = processor(text=text, images=pictures, return_tensors="pt")
    blocks = FAMILY.blocks(FAMILY.core(model), inputs, torch.empty(0))
    is_image = inputs["input_ids"][0] == model.config.image_token_id
    found = [i for b in blocks for i in range(b.start, b.start + 36)]
    assert found == is_image.nonzero()[:, 0].tolist()
    assert [(b.sample, b.image, b.grid) for b in blocks] == [(0, i, (6, 6)) for i in range(3)]


def test_image_tokens_that_are_no_whole_picture_are_refused(tiny) -> None:
    model, processor = tiny
    inputs = batch(processor, ("what", [picture(84, 84)]))["input_ids"]
    core = FAMILY.core(model)
    with pytest.raises(ValueError, match="no multiple of the 36 of one image"):
        FAMILY.blocks(core, {"input_ids": inputs[:, :20]}, torch.empty(0))
    torn = torch.cat([inputs[:, :20], inputs[:, :1], inputs[:, 20:]], dim=1)
    with pytest.raises(ValueError, match=r"image tokens of sample 0 from .* are not 36 in a row"):
        FAMILY.blocks(core, {"input_ids": torn}, torch.empty(0))


def test_layer_0_keeps_its_cache(tiny) -> None:
    model, processor = tiny
    with prune(model, "ivc_prune") as run:
        model.generate(**ragged_batch(processor), max_new_tokens=3, do_sample=False)
    visual = run.stats.kv_tokens - torch.tensor(run.stats.n_text)
    assert visual[0].tolist() == run.stats.n_visual
    assert (visual[1:] == torch.tensor([len(kept) for kept in run.stats.kept])).all()


def test_beams_keep_what_greedy_search_keeps(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    kept = []
    for beams in (1, 2):
        with prune(model, load_policy("ivc_prune", family="llava")) as run:
            model.generate(**inputs, max_new_tokens=3, do_sample=False, num_beams=beams)
        kept.append(run.stats.kept)
    assert all(map(torch.equal, kept[1], [k for k in kept[0] for _ in range(2)]))


def test_without_a_policy_nothing_changes(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    options = {"max_new_tokens": 3, "output_logits": True, "return_dict_in_generate": True}
    plain = model.generate(**inputs, **options)
    with prune(model, "none"):
        watched = model.generate(**inputs, **options)
    assert all(map(torch.equal, plain.logits, watched.logits))
