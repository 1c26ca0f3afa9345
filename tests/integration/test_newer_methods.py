"""Newer methods on every family that has their signals, and what the others say."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from ivcprune import load_policy, prune
from ivcprune.models.registry import supported
from ivcprune.testing import tiny_model
from layer_helpers import HYBRID
from pruning_helpers import batch, generate, picture
from qwen_helpers import clip, encode

OF_TOWER = (
    "visionzip",
    "vispruner",
    "scope",
    "holov",
    "prumerge",
    "prumerge_plus",
    "fastvid",
)
OF_LANGUAGE_MODEL = ("cdpruner", "sparsevlm_plus", "dycoke")
WITHOUT_TOWER = (
    "gemma3",
    "gemma4",
    "glm4v",
    "idefics3",
    "llava_next",
    "llava_onevision",
    "mistral3",
    "paddleocr_vl",
)
WITH_TOWER = tuple(sorted(set(supported()) - set(WITHOUT_TOWER)))
SAMPLES = (
    ("what is there", [picture(112, 112)]),
    ("how many of them are red", [picture(140, 84, 1), picture(84, 112, 2)]),
)

load = cache(load_policy)
build = cache(tiny_model)


def steps(model, processor, policy, *samples):
    """Logits of the prefill and of each step of the answer `[steps, B, V]`, and statistics."""
    with prune(model, policy) as run, torch.no_grad():
        output = generate(model, batch(processor, *samples))
    return torch.stack(output.logits), run.stats


RUNNING = [(family, name) for family in WITH_TOWER for name in (*OF_TOWER, *OF_LANGUAGE_MODEL)]
RUNNING += [(family, name) for family in WITHOUT_TOWER for name in OF_LANGUAGE_MODEL]
# its three stages need as many layers with attention, which tiny hybrid models do not have
RUNNING = [pair for pair in RUNNING if pair[1] != "sparsevlm_plus" or pair[0] not in HYBRID]


@pytest.mark.parametrize(("family", "name"), RUNNING)
def test_a_batch_gets_what_singles_get(family, name):
    # three stages of SparseVLM+ need three layers beside the first one
    model, processor = build(family, depth=8 if name == "sparsevlm_plus" else 4)
    policy = load(name, family=family)
    together, stats = steps(model, processor, policy, *SAMPLES)
    assert together.isfinite().all()
    for number, sample in enumerate(SAMPLES):
        alone, own = steps(model, processor, policy, sample)
        assert (together[:, number] - alone[:, 0]).abs().max() < 1e-4
        assert stats.kv_tokens[-1, number] == own.kv_tokens[-1, 0]


@pytest.mark.parametrize("name", OF_TOWER)
@pytest.mark.parametrize("family", WITHOUT_TOWER)
def test_a_family_without_signals_of_the_tower_says_so(family, name):
    model, _ = build(family)
    with (
        pytest.raises(ValueError, match=f"not offered by the family '{family}'"),
        prune(model, load(name, family=family)),
    ):
        pass


@pytest.mark.parametrize("name", ["visionzip", "prumerge_plus"])
def test_merging_changes_what_the_model_computes(name):
    """The same tokens without their merged states give other logits."""
    model, processor = build("llava")
    merged, stats = steps(model, processor, load(name, family="llava"), SAMPLES[0])
    vanilla, whole = steps(model, processor, load("none"), SAMPLES[0])
    assert stats.kv_tokens[-1, 0] < whole.kv_tokens[-1, 0]
    assert (merged[0] - vanilla[0]).abs().max() > 1e-3


class TestVideo:
    """Of Qwen: (2, 3) tokens a frame, 8 frames of the input are 4."""

    @pytest.mark.parametrize("name", ["dycoke", "fastvid"])
    @pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
    def test_a_batch_gets_what_singles_get(self, family, name):
        model, processor = build(family)
        samples = ([clip(84, 56, 8), "when"], ["a", clip(56, 84, 12, 5), "what happens"])
        policy = load(name, "average_tokens=0.5") if name == "fastvid" else load(name)
        together, stats = self.steps(model, processor, policy, *samples)
        for number, sample in enumerate(samples):
            alone, own = self.steps(model, processor, policy, sample)
            assert (together[:, number] - alone[:, 0]).abs().max() < 1e-4
            assert stats.kv_tokens[-1, number] == own.kv_tokens[-1, 0]

    def test_dycoke_keeps_what_its_rule_says(self):
        """Of 4 frames of 6 tokens the second and the fourth keep int(0.3 * 6) = 1."""
        model, processor = build("qwen2_5_vl")
        _, stats = self.steps(model, processor, load("dycoke"), [clip(84, 56, 8), "when"])
        assert [int(kept.keep.sum()) for kept in stats.kept_maps()] == [6, 1, 6, 1]

    def test_on_llava_onevision_positions_are_anew_and_the_separator_stays(self):
        """6 frames of 4 tokens: 4 1 1 1 4 1, since the third is compared with the first."""
        model, processor = build("llava_onevision")
        policy = load("dycoke", family="llava_onevision")
        assert policy.positions == "reassign"
        assert load("dycoke", family="qwen2_5_vl").positions == "keep"
        frames = [picture(100, 70, seed) for seed in range(6)]
        text = ["<|im_start|>user\n<video>\nwhat now<|im_end|>\n"]
        inputs = processor(text=text, videos=[frames], return_tensors="pt")
        with prune(model, policy) as run, torch.no_grad():
            logits = model(**inputs).logits
        assert logits.isfinite().all()
        frames = [int(kept.keep.sum()) for kept in run.stats.kept_maps()][:6]
        assert frames == [4, 1, 1, 1, 4, 1]
        assert run.stats.kv_tokens[-1, 0] == inputs["input_ids"].shape[1] - 25 + sum(frames) + 1

    def steps(self, model, processor, policy, *samples):
        with prune(model, policy) as run, torch.no_grad():
            output = generate(model, encode(processor, *samples))
        return torch.stack(output.logits), run.stats
