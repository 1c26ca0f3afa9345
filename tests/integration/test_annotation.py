"""Annotated boxes as visual tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from PIL import Image

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.data.sample import Sample
from ivcprune.evaluation.module import annotated_boxes
from ivcprune.models.areas import WHOLE
from ivcprune.models.blocks import Block
from ivcprune.models.llava import Llava
from ivcprune.models.llava_onevision.family import LlavaOnevision
from ivcprune.pruning.annotation import annotated_tokens
from ivcprune.selectors import Selector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture


@dataclass(frozen=True, eq=False)
class Probe(Selector):
    found: list = field(default_factory=list)

    def select(self, tokens):
        self.found.append(tokens.annotated)
        return tokens.valid


def covered(grid, *boxes):
    (mask,) = annotated_tokens([Block.full(0, 0, "image", grid, 0)], [boxes])
    return mask.view(grid).int().tolist()


def test_every_token_that_a_box_overlaps():
    assert covered((2, 4), (0.3, 0.1, 0.6, 0.4)) == [[0, 1, 1, 0], [0, 0, 0, 0]]
    assert covered((2, 4), (0.0, 0.0, 1.0, 1.0)) == [[1] * 4, [1] * 4]
    # a box smaller than a token
    assert covered((2, 2), (0.6, 0.6, 0.61, 0.62)) == [[0, 0], [0, 1]]
    # an edge that two tokens share belongs to the one that the box reaches into
    assert covered((1, 4), (0.25, 0.0, 0.5, 1.0)) == [[0, 1, 0, 0]]
    assert covered((1, 4), (0.0, 0.0, 0.1, 0.1), (0.9, 0.5, 1.0, 1.0)) == [[1, 0, 0, 1]]
    assert covered((1, 2)) == [[0, 0]]


def test_a_prefill_knows_the_boxes_once():
    model, processor = tiny_model("qwen2_5_vl")
    samples = [
        ("where is it", [picture(112, 56)]),
        ("how many", [picture(84, 112, 1), picture(56, 56, 2)]),
    ]
    inputs, probe = batch(processor, *samples), Probe()
    with prune(model, PruningPolicy({"look": Stage(1, probe)})) as run, torch.no_grad():
        run.annotate([[(0.0, 0.0, 0.2, 0.4)], [(0.5, 0.5, 1.0, 1.0)]])
        model(**inputs)
        model(**inputs)
    first, second = probe.found
    assert second is None
    assert first[0].nonzero()[:, 0].tolist() == [0]
    # 4 rows of 3: the lower half, and the columns from the middle one on
    assert first[1].nonzero()[:, 0].tolist() == [7, 8, 10, 11]
    # boxes speak of the first image
    assert not first[2].any()


@pytest.mark.parametrize("box", [(0, 0, 1), (0.5, 0, 0.4, 1), (0, 0, 120, 80)])
def test_a_bad_box_is_refused(box):
    model, _ = tiny_model("qwen2_5_vl")
    with (
        prune(model, PruningPolicy({"look": Stage(1, Probe())})) as run,
        pytest.raises(ValueError, match=r"annotate: box .* of sample 0 must be"),
    ):
        run.annotate([[box]])


def test_beams_have_the_boxes_of_their_sample():
    model, processor = tiny_model("qwen2_5_vl")
    inputs = batch(processor, ("a", [picture(56, 56)]), ("b", [picture(56, 56, 1)]))
    probe = Probe()
    with prune(model, PruningPolicy({"look": Stage(1, probe)})) as run:
        run.identify(["one", "two"])
        run.annotate([[(0, 0, 0.5, 0.5)], [(0.5, 0.5, 1, 1)]])
        model.generate(**inputs, num_beams=2, max_new_tokens=2, do_sample=False)
    assert probe.found[0].int().tolist() == [[1, 0, 0, 0]] * 2 + [[0, 0, 0, 1]] * 2


def test_a_wrong_number_of_samples_is_refused():
    model, processor = tiny_model("qwen2_5_vl")
    inputs = batch(processor, ("a", [picture(56, 56)]), ("b", [picture(56, 56, 1)]))
    with prune(model, PruningPolicy({"look": Stage(1, Probe())})) as run:
        run.annotate([[]] * 3)
        with pytest.raises(ValueError, match="3 samples, but the batch has 2 sequences"):
            model(**inputs)


def llava_sample(size, box):
    image = picture(*size)
    return Sample("a", "vqa", [image], "what?", boxes=[box], width=size[0], height=size[1])


@pytest.mark.parametrize(
    ("size", "box", "seen"),
    [
        ((300, 100), [100, 0, 150, 50], [[0.0, 0.0, 0.5, 0.5]]),  # of the middle third
        ((300, 100), [50, 0, 150, 100], [[0.0, 0.0, 0.5, 1.0]]),
        ((100, 300), [0, 150, 100, 200], [[0.0, 0.5, 1.0, 1.0]]),
        ((300, 100), [0, 0, 90, 100], []),  # cut away
        ((100, 100), [25, 50, 75, 100], [[0.25, 0.5, 0.75, 1.0]]),
    ],
)
def test_boxes_speak_of_the_square_that_llava_cuts_out(size, box, seen):
    _, processor = tiny_model("llava")
    area = Llava().visible_area(processor, size, 1)
    boxes = annotated_boxes(llava_sample(size, box), area)
    assert torch.allclose(torch.tensor(boxes), torch.tensor(seen))


def test_tokens_of_the_cut_out_square_are_what_its_pixels_show():
    """A white stripe in the right third is out of LLaVA's sight, one in the middle is not."""
    _, processor = tiny_model("llava")
    size = (300, 100)
    area = Llava().visible_area(processor, size, 1)
    for left, in_sight in ((100, True), (200, False)):
        image = Image.new("RGB", size)
        image.paste("white", (left, 0, left + 100, 100))
        pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
        assert bool(pixels.mean() > 1) is in_sight
        boxes = annotated_boxes(llava_sample(size, [left, 0, left + 100, 100]), area)
        assert bool(boxes) is in_sight


def test_padded_squares_reach_beyond_the_image():
    """LLaVA-OneVision's images with company; a box keeps its place in the picture."""
    area = LlavaOnevision().visible_area(None, (200, 100), 2)
    assert area == (0.0, -0.5, 1.0, 1.5)
    boxes = annotated_boxes(llava_sample((200, 100), [0, 0, 200, 100]), area)
    assert boxes == [[0.0, 0.25, 1.0, 0.75]]
    assert LlavaOnevision().visible_area(None, (200, 100), 1) == WHOLE
