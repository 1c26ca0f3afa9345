"""Qwen2-VL: as Qwen2.5-VL where the method is concerned, and loaded as its own model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.configuration.build import build_model_spec, build_policy, compose
from ivcprune.metrics.boxes import parse_box
from ivcprune.models.loading import ModelSpec
from ivcprune.models.qwen.processors import Qwen2Processor
from ivcprune.models.registry import family_named
from ivcprune.selectors import RandomSelector, Selector
from ivcprune.testing import tiny_model
from ivcprune.tokens import Signal, VisualTokens
from pruning_helpers import batch, picture, ragged_batch

FAMILY = family_named("qwen2_vl")
HALF = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))})


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("qwen2_vl")


@pytest.mark.parametrize("size", ["2b", "7b", "72b"])
def test_configurations_say_how_the_checkpoint_is_used(size: str) -> None:
    spec = build_model_spec(compose([f"model=qwen2_vl_{size}"]))
    assert (spec.name, spec.family) == (f"qwen2_vl_{size}", "qwen2_vl")
    assert spec.path == f"Qwen/Qwen2-VL-{size.upper()}-Instruct"
    assert (spec.min_pixels, spec.max_pixels) == (1280 * 28**2, 16384 * 28**2)
    assert spec.box_format == "qwen2_vl"
    grounding = spec.prompts["grounding"].replace("{question}", "the cat")
    assert grounding == "\n<|object_ref_start|>Detect the cat<|object_ref_end|>"


def test_boxes_are_read_from_its_own_markup() -> None:
    reply = "<|object_ref_start|>it<|object_ref_end|><|box_start|>(250,100),(500,900)<|box_end|>"
    assert parse_box(reply, "qwen2_vl", (28, 28), (400, 200)) == pytest.approx((100, 20, 200, 180))


@pytest.mark.parametrize("name", ["ivc_prune", "ivc_prune_paper", "fastv", "pdrop"])
def test_policies_are_those_of_qwen2_5_vl(name: str) -> None:
    policies = [
        build_policy(compose([f"model={model}", f"policy={name}"]))
        for model in ("qwen2_vl_7b", "qwen2_5_vl_7b")
    ]
    assert policies[0] == policies[1]


def test_a_saved_checkpoint_is_loaded_and_prunes_alike(tiny, tmp_path) -> None:
    model, processor = tiny
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    spec = ModelSpec("mine", "qwen2_vl", str(tmp_path), {"vqa": "{question}"})
    spec.check()
    loaded = spec.load_model("sdpa", "cpu")
    assert isinstance(loaded, Qwen2VLForConditionalGeneration)
    assert isinstance(spec.load_processor(), Qwen2Processor)
    inputs = ragged_batch(spec.load_processor())
    assert all(
        torch.equal(x, y)
        for x, y in zip(inputs.values(), ragged_batch(processor).values(), strict=True)
    )
    logits = []
    for each in (model, loaded):
        with prune(each, HALF):
            logits.append(each(**inputs).logits)
    assert torch.equal(*logits)


@dataclass(frozen=True, eq=False)
class TextProbe(Selector):
    """Keeps everything, and writes down where the text after the image is."""

    found: list[list[int]] = field(default_factory=list)

    needs = frozenset({Signal.VALUES})

    def select(self, tokens: VisualTokens) -> Tensor:
        slots, mask = tokens.signals.text_slots("after_image")
        self.found.append(slots[mask].tolist())
        return tokens.valid


def test_text_after_the_image_begins_behind_the_closing_mark(tiny) -> None:
    """The mark itself and one token more are left out, as in the published code."""
    model, processor = tiny
    inputs = batch(processor, ("what", [picture(84, 56)]))
    probe = TextProbe()
    with prune(model, PruningPolicy({"look": Stage(2, probe)})):
        model(**inputs)
    last = int((inputs["mm_token_type_ids"][0] > 0).nonzero().max())
    assert inputs["input_ids"][0, last + 1] == model.config.vision_end_token_id
    assert probe.found == [list(range(last + 3, inputs["input_ids"].shape[1]))]


def test_input_sizes_are_those_of_the_resized_images(tiny) -> None:
    _, processor = tiny
    inputs = batch(processor, ("what", [picture(90, 50), picture(55, 150)]))
    assert FAMILY.input_sizes(inputs, processor) == [(84, 56), (56, 140)]


def test_positions_without_grids_are_refused(tiny) -> None:
    model, processor = tiny
    inputs = batch(processor, ("what", [picture(84, 84)]))
    positions = torch.arange(inputs["input_ids"].shape[1]).expand(3, 1, -1)
    with pytest.raises(
        ValueError, match="9 visual tokens of sample 0 have position ids of a 9 x 9 grid, so the"
    ):
        FAMILY.blocks(FAMILY.core(model), inputs, positions)


def test_beams_keep_what_greedy_search_keeps(tiny) -> None:
    model, processor = tiny
    kept = []
    for beams in (1, 2):
        with prune(model, load_policy("ivc_prune", family="qwen2_vl")) as run:
            model.generate(**ragged_batch(processor), max_new_tokens=3, num_beams=beams)
        kept.append(run.stats.kept)
    assert all(map(torch.equal, kept[1], [k for k in kept[0] for _ in range(2)]))
