"""LLaVA-OneVision: thumbnail, tiles and newlines, several images, videos; pruned exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.models.registry import family_named, family_of_model
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from ivcprune.testing.reference import Spy, masked
from pruning_helpers import batch, generate, picture, ragged_batch

FAMILY = family_named("llava_onevision")
VIDEO_FRAMES = 3


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("llava_onevision")


def layout(model, inputs, generate=False):
    """(kind, grid, start, sample, image) of each block in a forward call or a prefill."""
    seen = {}
    core = FAMILY.core(model)
    hook = core.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    with torch.inference_mode():
        if generate:
            model.generate(**inputs, max_new_tokens=1, do_sample=False)
        else:
            model(**inputs)
    hook.remove()
    return FAMILY.blocks(core, seen, torch.empty(0))


def described(blocks):
    return [(b.kind, b.grid, b.start, b.sample, b.image) for b in blocks]


def video_inputs(model, processor, n_samples=1):
    """Videos of 3 frames with 2 x 2 pooled tokens each, and a separator."""
    frames = [picture(100, 70, seed) for seed in range(VIDEO_FRAMES)]
    text = ["<|im_start|>user\n<video>\nwhat now<|im_end|>\n"] * n_samples
    return processor(text=text, videos=[frames] * n_samples, return_tensors="pt")


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        # the canvas of tiles has 4 tokens a view and side; the picture keeps its own shape in it
        ((56, 56), (4, 5)),
        ((112, 56), (4, 9)),
        (
            (140, 112),
            (7, 9),
        ),  # 12 x 12 without 2 lines of padding: 9.6 -> 10 x 12, over 1.1 times 64
        ((300, 60), (2, 13)),
        ((40, 300), (12, 3)),
    ],
)
def test_a_picture_alone_is_a_thumbnail_and_tiles(tiny, size, grid) -> None:
    model, processor = tiny
    inputs = batch(processor, ("where", [picture(*size)]))
    (first,) = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[0].tolist()
    expected = [("thumbnail", (4, 4), first, 0, 0), ("tile", grid, first + 16, 0, 0)]
    assert described(layout(model, inputs)) == expected
    assert described(layout(model, inputs, generate=True)) == expected


@pytest.mark.parametrize(
    ("size", "n_tokens"), [((640, 32), 4 * 4), ((32, 640), 4 * 4 + 12), ((800, 9), 4 * 4)]
)
def test_a_picture_too_thin_for_tiles_keeps_its_thumbnail(tiny, size, n_tokens) -> None:
    """Its tiles have no lines at all, or lines with nothing but their newline."""
    model, processor = tiny
    inputs = batch(processor, ("where", [picture(*size)]))
    assert described(layout(model, inputs)) == described(layout(model, inputs, generate=True))
    with prune(model, "ivc_prune") as run:
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert run.stats.n_visual == [n_tokens]
    newlines = n_tokens - 16
    assert 8 + newlines <= len(run.stats.kept[0]) < n_tokens


def test_tiles_know_newlines_places_and_thumbnail_cells(tiny) -> None:
    model, processor = tiny
    _, tiles = layout(model, batch(processor, ("where", [picture(112, 56)])))
    assert tiles.special.view(4, 9).nonzero().tolist() == [[line, 8] for line in range(4)]
    assert torch.equal(tiles.eligible, ~tiles.special)
    xy = tiles.xy.view(4, 9, 2)
    assert xy[0, :, 0].tolist() == pytest.approx([*((c + 0.5) / 8 for c in range(8)), 1.0])
    assert xy[:, 3, 1].tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])
    cells = tiles.thumbnail_cell.view(4, 9, 2)
    assert cells[2, :8].tolist() == [[2, column // 2] for column in range(8)]
    assert (cells[:, 8] == -1).all()


def test_newlines_are_where_the_model_puts_them(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    embedded = []
    hook = FAMILY.text_model(model).register_forward_pre_hook(
        lambda module, args, kwargs: embedded.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    blocks = layout(model, inputs)
    hook.remove()
    is_newline = (embedded[0] == FAMILY.core(model).image_newline).all(dim=-1)
    special = torch.zeros_like(is_newline)
    for block in blocks:
        if block.special is not None:
            special[block.sample, block.start : block.start + len(block.cell)] = block.special
    assert torch.equal(special, is_newline)


def test_pictures_in_company_are_squares_with_a_separator(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    first = [
        int((row == model.config.image_token_id).int().argmax()) for row in inputs["input_ids"]
    ]
    expected = [
        ("thumbnail", (4, 4), first[0], 0, 0),
        ("tile", (7, 9), first[0] + 16, 0, 0),
        ("image", (4, 4), first[1], 1, 0),
        ("image", (1, 1), first[1] + 16, 1, 0),
        ("image", (4, 4), first[1] + 17, 1, 1),
        ("image", (1, 1), first[1] + 33, 1, 1),
    ]
    assert described(layout(model, inputs)) == expected
    assert described(layout(model, inputs, generate=True)) == expected


def test_a_video_is_its_frames_and_a_separator(tiny) -> None:
    model, processor = tiny
    inputs = video_inputs(model, processor, n_samples=2)
    first = int((inputs["input_ids"][0] == model.config.video_token_id).int().argmax())
    expected = [
        part
        for sample in (0, 1)
        for part in [
            *(("frame", (2, 2), first + 4 * frame, sample, 0) for frame in range(VIDEO_FRAMES)),
            ("frame", (1, 1), first + 4 * VIDEO_FRAMES, sample, 0),
        ]
    ]
    assert described(layout(model, inputs)) == expected
    assert described(layout(model, inputs, generate=True)) == expected


def test_text_alone_has_no_blocks(tiny) -> None:
    model, processor = tiny
    assert layout(model, processor(text=["hello"], return_tensors="pt")) == []


def test_tokens_that_fit_no_image_are_refused(tiny) -> None:
    model, processor = tiny
    inputs = batch(processor, ("where", [picture(140, 112)]))
    core = FAMILY.core(model)
    wrong = {"input_ids": inputs["input_ids"], "image_sizes": torch.tensor([[56, 56]])}
    with pytest.raises(ValueError, match=r"image tokens of sample 0 from .* do not fit the sizes"):
        FAMILY.blocks(core, wrong, torch.empty(0))
    with pytest.raises(ValueError, match="do not fit the sizes of the images"):
        FAMILY.blocks(core, {"input_ids": inputs["input_ids"]}, torch.empty(0))


def spied(policy):
    spy = Spy(policy.stages["select"].selector)
    stage = replace(policy.stages["select"], selector=spy)
    return replace(policy, stages={"select": stage}), spy


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["ragged", "video"])
def test_pruned_equals_masked(tiny, backend, kind) -> None:
    model, processor = tiny
    model.set_attn_implementation(backend)
    is_video = kind == "video"
    inputs = video_inputs(model, processor) if is_video else ragged_batch(processor)
    policy, spy = spied(load_policy("ivc_prune", family="llava_onevision"))
    with prune(model, policy) as run:
        pruned = generate(model, inputs)
    config = model.config
    visual = inputs["input_ids"] == (config.video_token_id if is_video else config.image_token_id)
    keep = torch.zeros_like(visual)
    for sample, index in spy.log[0]:
        keep[sample, index] = True
    padding = inputs["attention_mask"].bool()
    with masked(FAMILY.text_model(model), run._policy, visual, [keep], padding):
        reference = generate(model, inputs)
    for ours, theirs in zip(pruned.logits, reference.logits, strict=True):
        assert (ours - theirs).abs().max() < 1e-5
    assert torch.equal(pruned.sequences, reference.sequences)
    assert run.stats.n_visual == visual.sum(dim=1).tolist()
    assert all(
        kept < n for kept, n in zip(map(len, run.stats.kept), run.stats.n_visual, strict=True)
    )


def test_newlines_stay_whatever_is_selected(tiny) -> None:
    model, processor = tiny
    inputs = batch(processor, ("where", [picture(140, 112)]))
    with prune(model, PruningPolicy({"select": Stage(1, RandomSelector(keep=0.1))})) as run:
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    tiles = layout(model, inputs)[1]
    newlines = tiles.start + tiles.special.nonzero()[:, 0]
    assert set(newlines.tolist()) <= set(run.stats.kept[0].tolist())
    assert len(run.stats.kept[0]) == 7 + round(0.1 * 16) + round(0.1 * 63)


def test_beams_repeat_the_layout(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    with prune(model, load_policy("ivc_prune", family="llava_onevision")) as greedy:
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    with prune(model, load_policy("ivc_prune", family="llava_onevision")) as beams:
        model.generate(**inputs, max_new_tokens=2, do_sample=False, num_beams=2)
    expected = [kept for kept in greedy.stats.kept for _ in range(2)]
    assert len(beams.stats.kept) == 4
    assert all(map(torch.equal, beams.stats.kept, expected))


def test_without_a_policy_nothing_changes(tiny) -> None:
    model, processor = tiny
    inputs = ragged_batch(processor)
    plain = generate(model, inputs)
    with prune(model, "none"):
        watched = generate(model, inputs)
    assert all(map(torch.equal, plain.logits, watched.logits))


@pytest.mark.parametrize(("depth", "layer"), [(28, 16), (24, 14), (4, 2)])
def test_the_layer_follows_the_depth(depth: int, layer: int) -> None:
    assert FAMILY.default_layer(depth) == layer


def test_pixels_are_those_of_the_stock_image_processor(tiny) -> None:
    _, processor = tiny
    stock = LlavaOnevisionImageProcessorPil(**processor.image_processor.to_dict())
    pictures = [picture(140, 112), picture(30, 90, 1)]
    ours = processor(text=["<image>", "<image>"], images=[[p] for p in pictures], padding=True)
    theirs = stock([[p] for p in pictures])
    for mine, its in zip(ours["pixel_values"], theirs["pixel_values"], strict=True):
        assert (torch.as_tensor(mine) == torch.as_tensor(its)).all()


def test_frames_are_resized_as_pictures_are(tiny) -> None:
    _, processor = tiny
    frames = [picture(100, 70, seed) for seed in range(2)]
    seen = processor(text="<video>", videos=[frames], return_tensors="pt")["pixel_values_videos"]
    views = [processor.image_processor(f, return_tensors="pt")["pixel_values"] for f in frames]
    assert seen.shape == (1, 2, 3, 56, 56)
    # the first view of a picture is all of it
    assert torch.equal(seen[0], torch.stack([view[0, 0] for view in views]).to(seen))


def test_videos_of_different_length_are_refused_in_one_batch(tiny) -> None:
    _, processor = tiny
    frames = [picture(56, 56, seed) for seed in range(3)]
    with pytest.raises(ValueError, match=r"videos of \[3, 2\] frames in one batch"):
        processor(text=["<video>", "<video>"], videos=[frames, frames[:2]])


@pytest.mark.parametrize(
    ("text", "tied", "parameters"),
    [
        ({"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
          "num_attention_heads": 28, "num_key_value_heads": 4}, False, 8_029_890_080),
        ({"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
          "num_attention_heads": 14, "num_key_value_heads": 2}, True, 893_675_552),
    ],
)  # fmt: skip
def test_published_sizes_are_recognised(text, tied, parameters) -> None:
    text = {"model_type": "qwen2", "vocab_size": 152000, "tie_word_embeddings": tied, **text}
    config = LlavaOnevisionConfig(text_config=text, tie_word_embeddings=tied)
    with torch.device("meta"):
        model = LlavaOnevisionForConditionalGeneration(config)
    assert model.num_parameters() == parameters
    assert family_of_model(model) is FAMILY
    assert len(FAMILY.layers(model)) == text["num_hidden_layers"]
