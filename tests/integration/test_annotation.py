"""Annotated boxes as visual tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.annotation import annotated_tokens
from ivcprune.models.base import Block
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
