"""How long sequences will be, told without their images."""

from __future__ import annotations

import io
from typing import Any

import datasets
import pytest
from PIL import Image

from ivcprune.data.datamodule import compose_batches
from ivcprune.data.lengths import sequence_lengths
from ivcprune.data.sample import DEFAULTS, FEATURES
from ivcprune.models.registry import families, family_named
from ivcprune.testing import tiny_model
from ivcprune.testing.inputs import batch, picture

FAMILIES = sorted(family.name for family in families())
SIZES = (
    *((28, 28), (57, 55), (112, 56), (56, 112), (168, 56), (224, 224), (301, 199), (199, 301)),
    *((336, 112), (640, 32), (32, 640)),
)
"""Width and height in pixels."""
TOO_LONG = (4000, 9)
PROMPTS = {"vqa": "{question}"}
MARKED = ("idefics3", "mistral3")
"""Families whose pictures are marked line by line or tile by tile: the marks take room as well."""


def row(number: int, question: str, *sizes: tuple[int, int]) -> dict[str, Any]:
    """A canonical row with images of these sizes."""
    images = []
    for size in sizes:
        file = io.BytesIO()
        Image.new("RGB", size).save(file, format="PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    width, height = sizes[0] if sizes else (0, 0)
    return DEFAULTS | {
        "id": str(number),
        "group_id": str(number),
        "task": "vqa",
        "images": images,
        "question": question,
        "width": width,
        "height": height,
    }


def rows(*made: dict[str, Any]) -> datasets.Dataset:
    return datasets.Dataset.from_list(list(made), features=FEATURES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_images", [1, 2, 3])
def test_image_tokens_are_those_of_the_processor(family: str, n_images: int) -> None:
    model, processor = tiny_model(family)
    without = batch(processor, ("what?", []))["input_ids"].shape[1]
    for size in SIZES:
        ids = batch(processor, ("what?", [picture(*size)] * n_images))["input_ids"]
        counted = int((ids == model.config.image_token_id).sum())
        assert counted > 0
        expected = ids.shape[1] - without if family in MARKED else counted
        assert family_named(family).image_tokens(processor, size, n_images) == expected


def test_many_internvl_images_share_the_tiles() -> None:
    model, processor = tiny_model("internvl")
    size, n_images = (336, 112), 40
    inputs = batch(processor, ("what?", [picture(*size)] * n_images))
    counted = int((inputs["input_ids"] == model.config.image_token_id).sum())
    family = family_named("internvl")
    assert family.image_tokens(processor, size, n_images) == counted
    assert counted < n_images * family.image_tokens(processor, size, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_longer_sequences_are_counted_longer(family: str) -> None:
    """They differ from the real ones by what the chat template adds, which is the same for all."""
    _, processor = tiny_model(family)
    long = "what is this? " * 20
    samples = [("what?", [size]) for size in SIZES] + [(long, [(84, 84)]), (long, [])]
    made = rows(*(row(i, text, *sizes) for i, (text, sizes) in enumerate(samples)))
    counted = sequence_lengths(made, family_named(family), processor, PROMPTS)
    real = [
        batch(processor, (text, [picture(*size) for size in sizes]))["input_ids"].shape[1]
        for text, sizes in samples
    ]
    of_template = [r - c for r, c in zip(real[:-1], counted[:-1], strict=True)]
    assert max(of_template) - min(of_template) <= 2
    assert 0 <= real[-1] - counted[-1] <= min(of_template) + 2


def test_batches_by_length_waste_less_than_by_area() -> None:
    """InternVL gives a wide image of little area more tiles than a square of more area."""
    _, processor = tiny_model("internvl")
    sizes = [(56, 56), (168, 50), (90, 90), (280, 40)]
    made = rows(*(row(i, "what?", size) for i, size in enumerate(sizes)))
    lengths = sequence_lengths(made, family_named("internvl"), processor, PROMPTS)
    areas = [width * height for width, height in sizes]

    def padding(order: list[int]) -> int:
        batches = [[lengths[i] for i in chosen] for chosen in compose_batches(order, 2)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(lengths) < padding(areas)


def test_subsets_count_their_own_images() -> None:
    _, processor = tiny_model("qwen2_5_vl")
    made = rows(*(row(i, "what?", *[(56, 56)] * i) for i in range(5)))
    family = family_named("qwen2_5_vl")
    every = sequence_lengths(made, family, processor, PROMPTS)
    chosen = sequence_lengths(made.select([4, 0, 2]), family, processor, PROMPTS)
    assert chosen == [every[4], every[0], every[2]]
    assert every == sorted(every)
    assert len(set(every)) == 5


def test_a_processor_that_cannot_tell_is_sorted_by_area() -> None:
    """A plugin's processor need not know transformers' own method."""
    _, processor = tiny_model("qwen2_5_vl")

    class Silent:
        tokenizer = processor.tokenizer

    sizes = [(56, 56), (28, 28), (140, 112)]
    made = rows(*(row(i, "what?", size) for i, size in enumerate(sizes)))
    lengths = sequence_lengths(made, family_named("qwen2_5_vl"), Silent(), PROMPTS)
    assert sorted(range(3), key=lengths.__getitem__) == [1, 0, 2]


def test_sizes_that_a_processor_refuses_count_as_nothing() -> None:
    """The sample fails when its turn comes; counting must not stop the run."""
    _, processor = tiny_model("qwen2_5_vl")
    family = family_named("qwen2_5_vl")
    with pytest.raises(ValueError, match="aspect ratio"):
        family.image_tokens(processor, TOO_LONG, 1)
    made = rows(row(0, "what?", TOO_LONG), row(1, "what?"), row(2, "what?", (56, 56)))
    refused, without, usual = sequence_lengths(made, family, processor, PROMPTS)
    assert refused == without < usual
