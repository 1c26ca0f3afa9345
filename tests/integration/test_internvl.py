"""InternVL: tiles and thumbnails of real inputs, and pruning with the published selection."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from family_run import run_family
from internvl_chat_checkpoint import write_tiny_checkpoint
from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.models.internvl.processor import InternVLImageTextProcessor
from ivcprune.models.registry import family_named
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from ivcprune.testing.inputs import chat
from ivcprune.testing.reference import Spy, masked
from pruning_helpers import batch, generate, picture

FAMILY = family_named("internvl")
TILE, N = 56, 16
WIDE, TALL, SINGLE = (140, 56), (84, 112), (56, 60)
"""Pictures of 1 x 3 tiles, of 3 x 2 tiles (rows x columns) and of one."""


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("internvl")


@pytest.fixture(scope="module")
def inputs(tiny):
    """Three samples: one image, two images, none; left-padded."""
    return batch(
        tiny[1],
        ("where is it", [picture(*WIDE)]),
        ("how many blobs are in there please", [picture(*TALL, 1), picture(*SINGLE, 2)]),
        ("hello", []),
    )


def blocks_of(model, inputs, **changes):
    kwargs = {"input_ids": inputs["input_ids"], "image_sizes": inputs["image_sizes"]} | changes
    positions = torch.arange(kwargs["input_ids"].shape[1])
    return FAMILY.blocks(model.model, kwargs, positions.expand(1, len(kwargs["input_ids"]), -1))


def _of_images(blocks):
    """Blocks grouped by sample and image."""
    grouped = {}
    for block in blocks:
        grouped.setdefault((block.sample, block.image), []).append(block)
    return list(grouped.values())


def assert_equals_mask_reference(model, inputs, name):
    """A policy of one stage, at layer 2, against the same model with attention masks."""
    policy = load_policy(name, family="internvl")
    ((stage_name, stage),) = policy.stages.items()
    spy = Spy(stage.selector)
    policy = PruningPolicy({stage_name: Stage(2, spy)}, cache=policy.cache)
    with prune(model, policy) as run:
        pruned = generate(model, inputs)
    visual = inputs["input_ids"] == model.config.image_token_id
    keep = torch.zeros_like(visual)
    for sample, index in spy.log[0]:
        keep[sample, index] = True
    bound = policy.bind(4, 2, (), 1)
    decoder, real = model.model.language_model, inputs["attention_mask"].bool()
    with masked(decoder, bound, visual, [keep], real):
        reference = generate(model, inputs)
    for ours, theirs in zip(pruned.logits, reference.logits, strict=True):
        assert (ours - theirs).abs().max() < 1e-5
    assert torch.equal(pruned.sequences, reference.sequences)
    assert [len(kept) for kept in run.stats.kept] == keep.sum(dim=1).tolist()


class TestBlocks:
    def test_tiles_come_before_the_thumbnail_of_their_image(self, tiny, inputs):
        blocks = blocks_of(tiny[0], inputs)
        described = [(b.sample, b.image, b.kind) for b in blocks]
        assert described == [
            *[(0, 0, "tile")] * 3,
            (0, 0, "thumbnail"),
            *[(1, 0, "tile")] * 6,
            (1, 0, "thumbnail"),
            (1, 1, "thumbnail"),
        ]
        assert {block.grid for block in blocks} == {(4, 4)}

    def test_they_cover_the_image_tokens_and_nothing_else(self, tiny, inputs):
        covered = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
        for block in blocks_of(tiny[0], inputs):
            covered[block.sample, block.start : block.start + N] = True
        assert torch.equal(covered, inputs["input_ids"] == tiny[0].config.image_token_id)

    def test_xy_is_where_the_token_looks_in_the_image(self, tiny):
        """Red grows from left to right and green from top to bottom: pixels tell their place."""
        model, processor = tiny
        for width, height in (WIDE, TALL, (196, 140), SINGLE):
            ramp = np.zeros((height, width, 3))
            ramp[..., 0] = (np.arange(width) + 0.5) / width
            ramp[..., 1] = ((np.arange(height) + 0.5) / height)[:, None]
            image = Image.fromarray((ramp * 255).round().astype(np.uint8))
            inputs = batch(processor, ("where", [image]))
            pixels = inputs["pixel_values"]
            means, deviations = (
                torch.tensor(getattr(processor.image_processor, name))[:, None, None]
                for name in ("image_mean", "image_std")
            )
            seen = (pixels * deviations + means)[:, :2].unfold(2, 14, 14).unfold(3, 14, 14)
            seen = seen.mean(dim=(-2, -1)).permute(0, 2, 3, 1).reshape(len(pixels), N, 2)
            for block, colour in zip(blocks_of(model, inputs), seen, strict=True):
                assert (block.xy - colour).abs().max() < 0.03

    def test_the_thumbnail_shows_the_area_of_a_tile(self, tiny, inputs):
        for block in blocks_of(tiny[0], inputs):
            if block.kind == "tile":
                assert torch.equal(block.thumbnail_cell, (block.xy.flip(-1) * 4).long())

    def test_without_sizes_tiles_have_no_place(self, tiny, inputs):
        blocks = blocks_of(tiny[0], inputs, image_sizes=None)
        assert [b.kind for b in blocks] == [b.kind for b in blocks_of(tiny[0], inputs)]
        assert all(b.thumbnail_cell is None and b.xy.isnan().all() for b in blocks[:3])
        assert blocks[3].xy.isfinite().all()

    def test_a_later_turn_brings_the_sizes_of_earlier_images_along(self, tiny, inputs):
        start = blocks_of(tiny[0], inputs)[-1].start
        ids = inputs["input_ids"][1:2, start - 3 :]
        (block,) = blocks_of(tiny[0], inputs, input_ids=ids, image_sizes=inputs["image_sizes"][1:2])
        assert (block.kind, block.start) == ("thumbnail", 3)

    def test_sizes_that_do_not_fit_are_an_error(self, tiny, inputs):
        with pytest.raises(ValueError, match=r"image 0 of sample 0 has 3 tiles .* 1 x 1 by"):
            blocks_of(tiny[0], inputs, image_sizes=torch.full((3, 2, 3), TILE))
        with pytest.raises(ValueError, match=r"sample 1 has 2 pictures in input_ids, but 1 in"):
            blocks_of(tiny[0], inputs, image_sizes=inputs["image_sizes"][:, :1])
        with pytest.raises(ValueError, match=r"image_sizes has the shape \(3, 2\)"):
            blocks_of(tiny[0], inputs, image_sizes=torch.full((3, 2), TILE))
        ids = inputs["input_ids"].clone()
        ids[0, blocks_of(tiny[0], inputs)[0].start] = 0
        with pytest.raises(ValueError, match=r"63 image tokens in a row, .* the 16 of a tile"):
            blocks_of(tiny[0], inputs, input_ids=ids)


class TestPruning:
    @pytest.mark.parametrize("backend", ["sdpa", "eager"])
    @pytest.mark.parametrize("name", ["ivc_prune", "ivc_prune_paper", "fastv"])
    def test_equals_a_model_that_cannot_see_the_dropped_tokens(self, inputs, backend, name):
        model, _ = tiny_model("internvl")
        model.set_attn_implementation(backend)
        assert_equals_mask_reference(model, inputs, name)

    def test_embeddings_in_the_place_of_input_ids(self, tiny, inputs):
        """Types of tokens tell images apart, as the processor gives them on request."""
        model, processor = tiny
        prompts = [chat(processor, "where is it", n) for n in (1, 2)]
        pictures = [[picture(*WIDE)], [picture(*TALL), picture(*SINGLE)]]
        given = processor(
            text=prompts,
            images=pictures,
            padding=True,
            return_mm_token_type_ids=True,
            return_tensors="pt",
        )
        with torch.no_grad(), prune(model, "ivc_prune") as run:
            model(**given)
            kept = run.stats.kept
            embeddings = model.get_input_embeddings()(given.pop("input_ids"))
            features = model.get_image_features(given.pop("pixel_values")).pooler_output
            is_image = (given["mm_token_type_ids"] == 1)[..., None]
            model(inputs_embeds=embeddings.masked_scatter(is_image, features), **given)
        assert all(map(torch.equal, kept, run.stats.kept))

    def test_half_of_each_image_stays_in_every_layer(self, tiny, inputs):
        with prune(tiny[0], "ivc_prune") as run:
            generate(tiny[0], inputs)
        assert run.stats.n_visual == [64, 128, 0]
        assert run.stats.kept_by_stage == {"select": [32, 64, 0]}
        visual = run.stats.kv_tokens - torch.tensor(run.stats.n_text)
        assert visual.tolist() == [[32, 64, 0]] * 4
        maps = run.stats.kept_maps()
        thumbnails = [int(m.keep.sum()) for m in maps if m.kind == "thumbnail"]
        assert min(thumbnails) >= N // 2

    def test_text_after_the_last_image_asks(self, tiny, inputs):
        """The closing token and the line break behind it are no queries, as published."""
        model, processor = tiny
        with prune(model, "ivc_prune") as run:
            model(**inputs)
        last = run.stats.before.index[-1, N - 1]
        after = inputs["input_ids"][1, last + 1 :]
        assert processor.tokenizer.decode(after[:2]) == "</img>\n"
        assert processor.tokenizer.decode(after[2:5]) == "how"
        assert FAMILY.text_skip == 2

    def test_a_sample_keeps_the_same_alone_and_in_a_batch(self, tiny, inputs):
        model, processor = tiny
        alone = batch(processor, ("where is it", [picture(*WIDE)]))
        with prune(model, "ivc_prune") as run:
            generate(model, inputs)  # which numbers positions from the first real token on
            together = [m.keep for m in run.stats.kept_maps()][:4]
            generate(model, alone)
            assert all(map(torch.equal, together, [m.keep for m in run.stats.kept_maps()]))

    def test_every_beam_keeps_what_the_sample_keeps(self, tiny, inputs):
        """`generate` repeats the sizes of a sample's images together, whatever their number."""
        with prune(tiny[0], "ivc_prune") as run:
            generate(tiny[0], inputs)
            greedy = run.stats.kept
            generate(tiny[0], inputs, num_beams=3)
        assert len(run.stats.kept) == 9
        for number, kept in enumerate(run.stats.kept):
            assert torch.equal(kept, greedy[number // 3])

    def test_vanilla_is_bit_identical(self, tiny, inputs):
        """With and without the sizes, which the model ignores."""
        model, _ = tiny
        stock = {name: x for name, x in inputs.items() if name != "image_sizes"}
        plain = generate(model, stock)
        with prune(model, "none"):
            ours = generate(model, inputs)
        assert torch.equal(ours.sequences, plain.sequences)
        assert all(map(torch.equal, ours.logits, plain.logits))

    def test_inputs_of_the_stock_processor(self, tiny, inputs):
        """Without sizes only what maps thumbnails to tiles is impossible, and says so."""
        model, _ = tiny
        stock = {name: x for name, x in inputs.items() if name != "image_sizes"}
        with prune(model, "fastv") as run:
            generate(model, stock)
        assert run.stats.average_tokens < 1
        with prune(model, "ivc_prune"), pytest.raises(ValueError, match=r"Family\.load_processor"):
            generate(model, stock)

    def test_other_budgets(self, tiny, inputs):
        for share in (0.3, 0.4, 0.6):
            policy = load_policy("ivc_prune", f"average_tokens={share}", family="internvl")
            with prune(tiny[0], policy) as run:
                tiny[0](**inputs)
            assert run.stats.average_tokens == pytest.approx(share, abs=0.02)

    @pytest.mark.parametrize("text", ["llama", "qwen3"])
    def test_other_language_models(self, tiny, inputs, text):
        config = tiny[0].config.to_dict()
        sizes = {
            key: config["text_config"][key]
            for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        }
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
        config["text_config"] = {"model_type": text, "pad_token_id": 0, **sizes, **heads}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = InternVLForConditionalGeneration(InternVLConfig(**config)).eval()
        for policy in ("ivc_prune", "fastv"):
            with prune(model, policy) as run:
                generate(model, inputs)
            assert run.stats.average_tokens < 0.7
        assert_equals_mask_reference(model, inputs, "ivc_prune")


class TestVideo:
    @pytest.fixture(scope="class")
    def inputs(self, tiny):
        """A video of 3 frames and an image; a video of 2 frames."""
        _, processor = tiny
        parts = [{"type": "video"}, {"type": "image"}, {"type": "text", "text": "what happens"}]
        prompts = [
            processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            for content in (parts, [parts[0], parts[2]])
        ]
        videos = [[picture(*WIDE, seed) for seed in range(n)] for n in (3, 2)]
        return processor(
            text=prompts,
            images=[[picture(*WIDE, 7)], []],
            videos=videos,
            padding=True,
            return_tensors="pt",
        )

    def test_frames_are_one_tile_each_behind_their_number(self, tiny, inputs):
        model, processor = tiny
        assert [(b.sample, b.image, b.kind) for b in blocks_of(model, inputs)] == [
            *[(0, 0, "frame")] * 3,
            *[(0, 1, "tile")] * 3,
            (0, 1, "thumbnail"),
            *[(1, 0, "frame")] * 2,
        ]
        text = processor.tokenizer.decode(inputs["input_ids"][1])
        frame = "<img>" + N * "<IMG_CONTEXT>" + "</img>"
        assert f"user\nFrame-1: {frame}\nFrame-2: {frame}\nwhat happens" in text

    def test_frames_have_the_pixels_of_images_that_are_not_cut(self, tiny, inputs):
        frames = [picture(*WIDE, seed) for seed in range(3)]
        images = tiny[1].image_processor(frames, crop_to_patches=False, return_tensors="pt")
        assert torch.equal(inputs["pixel_values"][:3], images["pixel_values"])
        assert torch.equal(inputs["pixel_values"][7:], images["pixel_values"][:2])

    def test_each_frame_is_pruned_by_itself(self, tiny, inputs):
        with prune(tiny[0], "ivc_prune") as run:
            generate(tiny[0], inputs)
        frames = [int(m.keep.sum()) for m in run.stats.kept_maps() if m.kind == "frame"]
        assert all(N // 2 <= n <= N // 2 + 1 for n in frames)

    @pytest.mark.parametrize("name", ["ivc_prune", "ivc_prune_paper"])
    def test_equals_a_model_that_cannot_see_the_dropped_tokens(self, tiny, inputs, name):
        assert_equals_mask_reference(tiny[0], inputs, name)

    def test_arrays_count_like_frames(self, tiny):
        _, processor = tiny
        frames = [picture(*WIDE, seed) for seed in range(2)]
        videos = ([frames], [np.stack([np.array(frame) for frame in frames])])
        one, other = (
            processor(text="<video>", videos=video, return_tensors="pt") for video in videos
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


class TestProcessor:
    def test_pixels_are_those_of_the_stock_image_processor(self, tiny, inputs):
        stock = GotOcr2ImageProcessorPil(
            size={"height": TILE, "width": TILE}, crop_to_patches=True, max_patches=6
        )
        pictures = [picture(*WIDE), picture(*TALL, 1), picture(*SINGLE, 2)]
        pixels = stock(pictures, return_tensors="pt")["pixel_values"]
        assert torch.equal(inputs["pixel_values"], pixels)

    def test_sizes_are_those_of_the_tiles_of_each_sample(self, tiny, inputs):
        sizes = (inputs["image_sizes"][..., :2] / TILE).tolist()
        assert sizes == [[[1, 3], [0, 0]], [[3, 2], [1, 1]], [[0, 0], [0, 0]]]
        assert not inputs["image_sizes"][..., 2].any()
        assert FAMILY.input_sizes(inputs, tiny[1]) == [(168, 56), (112, 168), (56, 56)]

    @pytest.mark.parametrize(("n_images", "tiles"), [(1, 4), (16, 4), (17, 1), (70, 1)])
    def test_the_images_of_a_sample_share_their_tiles(self, tiny, n_images, tiles):
        """At most 64 // n each, as in the published evaluation; other samples keep theirs."""
        model, processor = tiny
        square, alone = picture(448, 448), picture(448, 448, 1)
        made = processor(
            text=["<IMG_CONTEXT>" * n_images, "<IMG_CONTEXT>"],
            images=[[square] * n_images, [alone]],
            padding=True,
            return_tensors="pt",
        )
        height, width = made["image_sizes"][0, 0, :2] // TILE
        assert int(height * width) == tiles  # a square takes 4 of 4 or more, and 1 of 2 or 3
        n_blocks = [len(blocks) for blocks in _of_images(blocks_of(model, made))]
        with_thumbnail = {1: 1, 4: 5}
        assert n_blocks == [with_thumbnail[tiles]] * n_images + [5]

    def test_a_smaller_limit_of_the_configuration_stays(self, tiny):
        _, processor = tiny
        made = processor(
            text="<IMG_CONTEXT>" * 2,
            images=[picture(448, 448)] * 2,
            max_patches=3,
            return_tensors="pt",
        )
        assert (made["image_sizes"][0, :, :2] == TILE).all()

    def test_arrays_count_like_pictures(self, tiny, inputs):
        _, processor = tiny
        prompt = chat(processor, "where is it")
        pictured = processor(text=prompt, images=[picture(*WIDE)], return_tensors="pt")
        array = processor(text=prompt, images=[np.array(picture(*WIDE))], return_tensors="pt")
        assert all(torch.equal(array[name], pictured[name]) for name in pictured)

    def test_one_tile_each_where_images_are_not_cut(self, tiny):
        """Each is an image of its own, which is its own thumbnail."""
        model, processor = tiny
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}] * 3}], tokenize=False
        )
        frames = [picture(*WIDE, seed) for seed in range(3)]
        inputs = processor(text=prompt, images=frames, crop_to_patches=False, return_tensors="pt")
        assert (inputs["image_sizes"] == torch.tensor([TILE, TILE, 0])).all()
        assert [(b.image, b.kind) for b in blocks_of(model, inputs)] == [
            (number, "thumbnail") for number in range(3)
        ]
        with prune(model, "ivc_prune") as run:
            model(**inputs)
        assert [int(m.keep.sum()) for m in run.stats.kept_maps()] == [N // 2] * 3

    def test_text_alone(self, tiny):
        inputs = batch(tiny[1], ("hello", []))
        assert "image_sizes" not in inputs
        with prune(tiny[0], "ivc_prune") as run:
            generate(tiny[0], inputs)
        assert run.stats.average_tokens == 1

    def test_it_is_loaded_from_a_saved_checkpoint(self, tiny, inputs, tmp_path):
        model, processor = tiny
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        loaded = FAMILY.load_processor(tmp_path)
        assert isinstance(loaded, InternVLImageTextProcessor)
        again = batch(loaded, ("where is it", [picture(*WIDE)]))
        assert torch.equal(again["pixel_values"], inputs["pixel_values"][:4])
        assert (again["image_sizes"] == torch.tensor([TILE, 3 * TILE, 0])).all()
        config = FAMILY.read_config(AutoConfig.from_pretrained(tmp_path).to_dict())
        assert FAMILY.selection_layer(config) == 2

    def test_limits_of_pixels_are_limits_of_tiles(self, tmp_path, tiny):
        _, processor = tiny
        processor.save_pretrained(tmp_path)
        loaded = InternVLImageTextProcessor.from_pretrained(tmp_path)
        FAMILY.limit_pixels(loaded, None, 4 * TILE**2 + 1)
        assert loaded.image_processor.max_patches == 4
        assert batch(loaded, ("", [picture(*TALL)]))["image_sizes"].tolist() != [[[168, 112, 0]]]
        FAMILY.limit_pixels(loaded, 3 * TILE**2, None)
        images = loaded.image_processor
        assert (images.min_patches, images.max_patches) == (3, 4)
        FAMILY.limit_pixels(loaded, None, 10)
        assert images.max_patches == 1


def test_a_checkpoint_in_its_own_format_runs_on_the_command_line(tmp_path, monkeypatch):
    """From the published weight names and InternLM2's tokenizer to scores, without its code."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_tiny_checkpoint(folder)
    run = run_family(
        "internvl2_5_8b",
        folder,
        tmp_path / "outputs",
        monkeypatch,
        "policy=ivc_prune",
        f"model.max_pixels={6 * TILE**2}",
    )
    assert run.metrics["layers"] == {"select": 1}
    assert [row["error"] for row in run.rows] == [None] * 8
    assert all(0 < row["n_kept"] < row["n_visual"] for row in run.rows)


@pytest.mark.parametrize("name", ["internvl2_5_8b", "internvl3_8b", "internvl3_5_8b"])
def test_configurations_say_how_the_checkpoint_is_used(name):
    spec = build_model_spec(compose([f"model={name}"]))
    assert (spec.name, spec.family, spec.box_format) == (name, "internvl", "normalised_1000")
    assert spec.max_pixels == 6 * 448**2
    assert compose([f"model={name}"]).family.name == "internvl"
    asked = spec.prompts["grounding"].replace("{question}", "the cat")
    assert asked.endswith("this sentence describes: <ref>the cat</ref>")


def test_tokens_without_values_can_be_ranked_per_thumbnail(tiny, inputs):
    """The number of tokens of other policies is counted per image, tiles included."""
    with prune(tiny[0], PruningPolicy({"select": Stage(1, RandomSelector(keep=0.25))})) as run:
        tiny[0](**inputs)
    assert [int(m.keep.sum()) for m in run.stats.kept_maps()] == [4] * 12
