"""Signals of the vision tower under any attention backend equal those of the eager tower."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.base import Family
from ivcprune.models.registry import family_named, family_of_model
from ivcprune.testing import tiny_model
from ivcprune.tokens import Signal, chunks
from pruning_helpers import batch, picture, ragged_batch
from qwen_helpers import encode, ragged_clips
from vision_reference import Probe, assert_equal, eager_pictures, on_canvas

TOWERS = ("internvl", "llava", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_vl")
PACKED = ("qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_vl")


def deep(name):
    """A tiny model whose early and late layers differ; Qwen2.5-VL's with windows between them."""
    model, processor = tiny_model(name)
    config = deepcopy(model.config)
    if name == "qwen2_5_vl":
        config.vision_config.depth, config.vision_config.fullatt_block_indexes = 4, [1, 3]
        config.vision_config.window_size = 56
    elif name != "qwen3_vl":
        key = "depth" if name in ("qwen2_vl", "qwen3_5") else "num_hidden_layers"
        setattr(config.vision_config, key, 6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = type(model)(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model.eval(), processor


@pytest.fixture(scope="module", params=TOWERS)
def model_and_processor(request):
    return deep(request.param)


@pytest.fixture(scope="module", params=PACKED)
def video_model_and_processor(request):
    return deep(request.param)


def probed(probe, layer=0):
    return PruningPolicy({"look": Stage(layer, probe)})


def of_samples(pictures, samples):
    """The pictures of each row, from their numbers sample by sample."""
    return [pictures[number] for numbers in samples for number in numbers]


class TestExact:
    @pytest.mark.parametrize("layer", [0, 2])
    def test_ragged_images_in_a_batch(self, model_and_processor, layer):
        model, processor = model_and_processor
        inputs, probe = ragged_batch(processor), Probe()
        with prune(model, probed(probe, layer)):
            model(**inputs)
        assert_equal(probe.found[0], eager_pictures(model, inputs))

    def test_generate(self, model_and_processor):
        model, processor = model_and_processor
        inputs, probe = ragged_batch(processor), Probe()
        with prune(model, probed(probe)):
            model.generate(**inputs, max_new_tokens=2)
        (found,) = probe.found
        assert_equal(found, eager_pictures(model, inputs))

    @pytest.mark.parametrize(
        "options", [{"num_beams": 3}, {"num_return_sequences": 3, "do_sample": True}]
    )
    def test_repeated_sequences_share_the_pictures_of_their_sample(
        self, model_and_processor, options
    ):
        model, processor = model_and_processor
        one, two = ("where", [picture(140, 112)]), ("how", [picture(84, 112, 1)] * 2)
        probe, alone = Probe(), Probe()
        with prune(model, probed(probe)):
            model.generate(**batch(processor, one, two), max_new_tokens=2, **options)
        with prune(model, probed(alone)):
            model(**batch(processor, one))
            model(**batch(processor, two))
        first, second = alone.found
        assert_equal(probe.found[0], first * 3 + second * 3)

    def test_a_sample_without_picture(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, ("hi", []), ("where", [picture(140, 112)]), ("and", []))
        probe = Probe()
        with prune(model, probed(probe)):
            model.generate(**inputs, num_beams=2, max_new_tokens=2)
        assert_equal(probe.found[0], eager_pictures(model, inputs) * 2)

    @pytest.mark.parametrize("chunk", [1, 500, 7_000])
    def test_in_chunks_of_queries(self, model_and_processor, chunk, monkeypatch):
        model, processor = model_and_processor
        inputs, probe = ragged_batch(processor), Probe()
        monkeypatch.setattr(chunks, "LARGEST", chunk)
        with prune(model, probed(probe)):
            model(**inputs)
        assert_equal(probe.found[0], eager_pictures(model, inputs))

    def test_each_prefill_has_its_own(self, model_and_processor):
        model, processor = model_and_processor
        probe = Probe()
        several = [batch(processor, ("where", [picture(140, 112, seed)])) for seed in range(3)]
        with prune(model, probed(probe)):
            for inputs in several:
                model(**inputs)
        for found, inputs in zip(probe.found, several, strict=True):
            assert_equal(found, eager_pictures(model, inputs))

    def test_a_picture_in_a_later_turn(self):
        model, processor = deep("llava")
        first = batch(processor, ("where", [picture(140, 112)]))
        second = batch(processor, ("and here", [picture(112, 140, 1)]))
        probe = Probe()
        with prune(model, probed(probe)):
            cache = model(**first).past_key_values
            masks = [first["attention_mask"], second["attention_mask"]]
            later = {**second, "attention_mask": torch.cat(masks, dim=1)}
            model(**later, past_key_values=cache)
        for found, inputs in zip(probe.found, (first, second), strict=True):
            assert_equal(found, eager_pictures(model, inputs))


class TestCanvas:
    """DeepSeek-VL2: tiles that lie side by side, and newline tokens between their lines."""

    @pytest.fixture(scope="class")
    def model_and_processor(self):
        return deep("deepseek_vl2")

    @pytest.fixture
    def inputs(self, model_and_processor):
        return ragged_batch(model_and_processor[1])

    @pytest.fixture
    def expected(self, model_and_processor, inputs):
        grids = inputs["images_spatial_crop"].flatten(0, 1).tolist()
        pictures = eager_pictures(model_and_processor[0], inputs)
        return on_canvas(pictures, [(h, w) for w, h in grids if w * h])

    def test_forward(self, model_and_processor, inputs, expected):
        model, _ = model_and_processor
        probe = Probe()
        with prune(model, probed(probe)):
            model(**inputs)
        assert max(len(row["features"]) for row in expected) > 4 * 3
        assert_equal(probe.found[0], expected)

    def test_beams(self, model_and_processor, inputs, expected):
        model, _ = model_and_processor
        probe = Probe()
        with prune(model, probed(probe)):
            model.generate(**inputs, num_beams=2, max_new_tokens=2)
        assert_equal(probe.found[0], expected[:3] * 2 + expected[3:] * 2)


class TestVideo:
    def test_images_and_videos_in_any_order(self, video_model_and_processor):
        model, processor = video_model_and_processor
        inputs, probe = ragged_clips(processor), Probe()
        with prune(model, probed(probe)):
            model(**inputs)
        expected = eager_pictures(model, inputs)
        # images are encoded first: 0 and 1; frames of two pictures each follow
        assert_equal(probe.found[0], of_samples(expected, [[2, 3, 4, 0], [1, 5, 6, 7]]))

    def test_beams(self, video_model_and_processor):
        model, processor = video_model_and_processor
        inputs, probe = ragged_clips(processor), Probe()
        with prune(model, probed(probe)):
            model.generate(**inputs, num_beams=2, max_new_tokens=2)
        samples = [[2, 3, 4, 0]] * 2 + [[1, 5, 6, 7]] * 2
        assert_equal(probe.found[0], of_samples(eager_pictures(model, inputs), samples))

    def test_a_video_after_an_image_of_a_failed_call(self, video_model_and_processor):
        model, processor = video_model_and_processor
        image = batch(processor, ("where", [picture(56, 84)]))
        video = encode(processor, [[picture(56, 84, 1)] * 2, "what"])
        probe = Probe()
        with prune(model, probed(probe)):
            model.get_image_features(image["pixel_values"], image["image_grid_thw"])
            model(**video)
        assert_equal(probe.found[0], eager_pictures(model, video))


class TestLayers:
    """Early and late layers of the real towers, as VScan names them."""

    def test_qwen2_5_vl(self):
        model, _ = tiny_model("qwen2_5_vl")
        config = deepcopy(model.config.vision_config)
        config.depth, config.fullatt_block_indexes = 32, [7, 15, 23, 31]
        core = model.model
        with torch.device("meta"):
            core.visual = type(core.visual)(config)
        tower = family_named("qwen2_5_vl").vision_tower(core)
        assert tower.attention["early"] is core.visual.blocks[7].attn
        assert tower.attention["late"] is core.visual.blocks[31].attn

    @pytest.mark.parametrize(("number", "late"), [(-2, 22), (23, 22), (-1, 23)])
    def test_llava(self, number, late):
        model, _ = tiny_model("llava")
        config = deepcopy(model.config.vision_config)
        config.num_hidden_layers = 24
        core = model.model
        core.config.vision_feature_layer = number
        with torch.device("meta"):
            core.vision_tower = type(core.vision_tower)(config)
        tower = family_named("llava").vision_tower(core)
        layers = core.vision_tower.encoder.layers
        assert tower.attention["early"] is layers[5].self_attn
        assert tower.attention["late"] is layers[late].self_attn


class TestRefused:
    @pytest.mark.parametrize(
        ("key", "value"),
        [("vision_feature_layer", [-2, -1]), ("vision_feature_select_strategy", "full")],
    )
    def test_features_that_are_no_single_layer_of_patches(self, key, value):
        model, _ = tiny_model("llava")
        setattr(model.config, key, value)
        with pytest.raises(ValueError, match="for one layer and 'default'"):
            prune(model, probed(Probe()))

    def test_a_tower_without_full_attention(self):
        model, _ = tiny_model("qwen2_5_vl")
        model.model.visual.fullatt_block_indexes = []
        with pytest.raises(ValueError, match="fullatt_block_indexes of the vision tower is empty"):
            prune(model, probed(Probe()))

    def test_a_family_without_tower_when_the_policy_is_bound(self, monkeypatch):
        model, _ = tiny_model("llava")
        family = type(family_of_model(model))
        monkeypatch.setattr(family, "vision_tower", Family.vision_tower)
        with pytest.raises(ValueError, match="not offered by the family 'llava'"):
            prune(model, probed(Probe()))

    def test_embeddings_that_were_made_elsewhere(self):
        model, processor = tiny_model("qwen2_5_vl")
        inputs = dict(ragged_batch(processor))
        positions, _ = model.model.get_rope_index(**inputs)
        with prune(model, probed(Probe())), pytest.raises(ValueError, match="has not run"):
            model(
                inputs_embeds=model.get_input_embeddings()(inputs["input_ids"]),
                attention_mask=inputs["attention_mask"],
                position_ids=positions,
                mm_token_type_ids=inputs["mm_token_type_ids"],
            )

    def test_pictures_of_another_prompt(self):
        model, processor = tiny_model("qwen2_5_vl")
        inputs = dict(batch(processor, ("where", [picture(140, 112)])))
        other = batch(processor, ("where", [picture(112, 112)]))
        positions, _ = model.model.get_rope_index(**inputs)
        given = {
            "inputs_embeds": model.get_input_embeddings()(inputs["input_ids"]),
            "attention_mask": inputs["attention_mask"],
            "position_ids": positions,
            "mm_token_type_ids": inputs["mm_token_type_ids"],
        }
        message = r"pictures of \[20\] visual tokens, but .* encoded pictures of \[\[16\]\]"
        with prune(model, probed(Probe())):
            model.get_image_features(other["pixel_values"], other["image_grid_thw"])
            with pytest.raises(ValueError, match=message):
                model(**given)
            # what did not fit is forgotten
            model(**inputs)


def hooks_of(model):
    return [len(module._forward_pre_hooks) for module in model.modules()]


def test_hooks_are_placed_for_what_is_needed_and_leave_with_the_block(model_and_processor):
    model, _ = model_and_processor

    class Late(Probe):
        needs = frozenset({Signal.VISION_ATTENTION_LATE})

    family = family_of_model(model)
    tower = family.vision_tower(family.core(model))
    before = hooks_of(model)
    with prune(model, probed(Late())):
        assert len(tower.attention["late"]._forward_pre_hooks) == 1
        assert not tower.attention["early"]._forward_pre_hooks
        assert not tower.projector._forward_pre_hooks
    assert hooks_of(model) == before
