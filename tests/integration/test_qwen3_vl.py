"""Qwen3-VL: interleaved M-RoPE, normalised queries and keys, DeepStack features under pruning."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import DynamicCache

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.configuration.build import build_model_spec, build_policy, compose
from ivcprune.metrics.boxes import parse_box
from ivcprune.models.registry import family_named
from ivcprune.selectors import IVCSelector, RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture, ragged_batch
from qwen_helpers import DEPTH, assert_equals_mask_reference, ragged_clips

FAMILY = family_named("qwen3_vl")


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("qwen3_vl", depth=DEPTH)


@pytest.mark.parametrize("size", ["2b", "4b", "8b", "32b"])
def test_configurations_say_how_the_checkpoint_is_used(size: str) -> None:
    spec = build_model_spec(compose([f"model=qwen3_vl_{size}"]))
    assert (spec.name, spec.family) == (f"qwen3_vl_{size}", "qwen3_vl")
    assert spec.path == f"Qwen/Qwen3-VL-{size.upper()}-Instruct"
    assert (spec.min_pixels, spec.max_pixels) == (64 * 32**2, 16384 * 32**2)
    assert spec.box_format == "qwen3_vl"
    assert "JSON" in spec.prompts["grounding"]


def test_boxes_are_thousandths_of_the_image() -> None:
    reply = json.dumps([{"bbox_2d": [250, 100, 500, 900], "label": "it"}])
    assert parse_box(reply, "qwen3_vl", (32, 32), (400, 200)) == pytest.approx((100, 20, 200, 180))


@pytest.mark.parametrize("name", ["ivc_prune", "ivc_prune_paper", "fastv", "pdrop"])
def test_policies_are_those_of_qwen2_5_vl(name: str) -> None:
    policies = [
        build_policy(compose([f"model={model}", f"policy={name}"]))
        for model in ("qwen3_vl_8b", "qwen2_5_vl_3b")
    ]
    assert policies[0] == policies[1]


class TestProjections:
    def test_each_frequency_turns_with_its_axis(self, tiny) -> None:
        """A position that differs on one axis alone turns exactly that axis' frequencies."""
        model, _ = tiny
        decoder = FAMILY.text_model(model)
        axis = FAMILY.frequency_axis(model, 8)
        assert axis.tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
        for turned in range(3):
            positions = torch.zeros(3, 1, 1, dtype=torch.long)
            positions[turned] = 1
            _, sin = decoder.rotary_emb(torch.zeros(1, 1, 64), positions)
            assert torch.equal(sin[0, 0, :8] != 0, axis == turned)

    def test_keys_and_queries_are_normalised(self, tiny) -> None:
        model, processor = tiny
        model.set_attn_implementation("eager")
        decoder = FAMILY.text_model(model)
        layer, seen = decoder.layers[1], {}

        def remember(module, args, kwargs):
            seen.update(hidden=args[0], rotary=kwargs["position_embeddings"])

        handle = layer.register_forward_pre_hook(remember, with_kwargs=True)
        cache = DynamicCache()
        inputs = batch(processor, ("where", [picture(84, 56)]))
        output = model(**inputs, past_key_values=cache, output_attentions=True)
        handle.remove()
        model.set_attn_implementation("sdpa")
        keys = FAMILY.keys(layer, seen["hidden"], seen["rotary"])
        assert torch.allclose(keys, cache.layers[1].keys, atol=1e-6)
        last = [x[:, -1:] for x in seen["rotary"]]
        queries = FAMILY.queries(layer, seen["hidden"][:, -1:], tuple(last))
        repeated = keys.repeat_interleave(2, dim=1)
        logits = queries @ repeated.transpose(2, 3) * layer.self_attn.scaling
        assert torch.allclose(logits.softmax(-1), output.attentions[1][:, :, -1:], atol=1e-6)


class TestDeepStack:
    """Features are added after layers 0, 1 and 2, to whichever visual tokens are left there."""

    @pytest.mark.parametrize("backend", ["sdpa", "eager"])
    @pytest.mark.parametrize("layer", [0, 1, 2, 3])
    @pytest.mark.parametrize("inputs", [ragged_batch, ragged_clips])
    def test_one_stage(self, tiny, backend, layer, inputs) -> None:
        model, processor = tiny
        model.set_attn_implementation(backend)
        selector = RandomSelector(keep=0.4) if layer == 0 else IVCSelector(keep=0.3)
        policy = PruningPolicy({"select": Stage(layer, selector)})
        assert_equals_mask_reference(model, inputs(processor), policy)

    def test_a_stage_before_each_of_them(self, tiny) -> None:
        model, processor = tiny
        stages = {f"at_{i}": Stage(i, RandomSelector(keep=0.9 - 0.2 * i)) for i in range(3)}
        for inputs in (ragged_batch(processor), ragged_clips(processor)):
            assert_equals_mask_reference(model, inputs, PruningPolicy(stages))

    def test_the_features_matter(self, tiny) -> None:
        """The comparisons above would notice features that go missing or to other tokens."""
        model, processor = tiny
        decoder = FAMILY.text_model(model)
        seen = {}

        def remember(module, args, kwargs):
            seen.update(kwargs)

        handle = decoder.register_forward_pre_hook(remember, with_kwargs=True)
        complete = model(**ragged_batch(processor)).logits
        handle.remove()
        arguments, additions = FAMILY.layer_additions(seen)
        assert list(additions) == [0, 1, 2]
        bare = model.lm_head(decoder(**arguments).last_hidden_state)
        assert (bare - complete).abs().max() > 0.01
        mask = seen["visual_pos_masks"]
        for i, addition in additions.items():
            assert torch.equal(addition[mask], seen["deepstack_visual_embeds"][i])
            assert not addition[~mask].any()

    def test_text_alone_has_none(self, tiny) -> None:
        model, processor = tiny
        with prune(model, PruningPolicy({"select": Stage(0, RandomSelector(keep=0.5))})) as run:
            ids = model.generate(**batch(processor, ("hello", [])), max_new_tokens=2)
        assert ids.shape[0] == 1
        assert run.stats.n_visual == [0]

    @pytest.mark.parametrize("keep", [0.5, 1.0])
    def test_a_second_turn_with_another_image(self, tiny, keep) -> None:
        """The features of a later turn go to its own tokens, behind a pruned or full cache."""
        model, processor = tiny
        first = batch(processor, ("where is it", [picture(140, 112)]))
        second = batch(processor, ("and here", [picture(196, 140, 1)]))
        both = [torch.cat([first[x], second[x]], dim=1) for x in ("input_ids", "mm_token_type_ids")]
        grids = torch.cat([first["image_grid_thw"], second["image_grid_thw"]])
        positions, _ = model.model.get_rope_index(*both, image_grid_thw=grids)
        seen = first["input_ids"].shape[1]
        new = {x: second[x] for x in ("input_ids", "pixel_values", "image_grid_thw")}

        def converse():
            cache = model(**first, position_ids=positions[..., :seen]).past_key_values
            return model(**new, position_ids=positions[..., seen:], past_key_values=cache).logits

        plain = converse()
        with prune(model, PruningPolicy({"s": Stage(1, RandomSelector(keep=keep))})) as run:
            ours = converse()
        assert run.stats.n_visual == [35]
        assert run.stats.kept_by_stage == {"s": [round(35 * keep)]}
        changed = ours.shape != plain.shape or (ours - plain).abs().max() > 1e-5
        assert changed == (keep < 1)


def test_policies_by_name_generate_with_beams(tiny) -> None:
    model, processor = tiny
    for name in ("ivc_prune", "ivc_prune_paper", "fastv", "pdrop"):
        with prune(model, load_policy(name, family="qwen3_vl")) as run:
            ids = model.generate(**ragged_batch(processor), max_new_tokens=2, num_beams=2)
        assert len(ids) == 2
        assert all(0 < len(kept) < 47 for kept in run.stats.kept)
