"""Training on pages: what each token is about, and what the probe hears of characters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.glyphs import CHARACTERS
from ivcprune.data.scenes.pages import Page, Writing, sample_page
from ivcprune.data.scenes.reading import look_up, read
from ivcprune.data.scenes.scene import Scene, Thing
from ivcprune.training.architectures import architecture_named
from ivcprune.training.architectures.base import grid_areas
from ivcprune.training.cells import CHARACTER_CLASSES, IGNORE, describe_characters
from ivcprune.training.packing import Packer
from ivcprune.training.start import take_weights

PROMPTS = {"ocr_contains": "{question}", "vqa": "{question}"}
NONE = CHARACTER_CLASSES - 1
K, FOUR, A = (CHARACTERS.index(character) for character in "K4A")


def test_characters_of_visual_tokens() -> None:
    # two tokens high and three wide: a small K4 begins in the middle of the first one
    writings = (Writing("K4", "small", 14, 0), Writing("A", "large", 28, 28))
    labels, shown = describe_characters(writings, grid_areas(2, 3, 28, 28))
    assert labels.tolist() == [
        [NONE, K],
        [FOUR, NONE],
        [NONE, NONE],
        [NONE, NONE],
        [A, A],
        [NONE] * 2,
    ]
    assert shown.T.int().tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]]


def test_no_loss_looks_at_tokens_too_large_to_read_nor_at_pages_without_text() -> None:
    writings = (Writing("A", "large", 28, 28),)
    labels, shown = describe_characters(writings, torch.tensor([[0, 0, 56, 56], [28, 28, 56, 56]]))
    assert labels.tolist() == [[IGNORE, IGNORE], [A, A]]
    assert shown.tolist() == [[False], [True]]
    labels, shown = describe_characters((), grid_areas(1, 2, 28, 28))
    assert labels.tolist() == [[IGNORE, IGNORE]] * 2
    assert shown.shape == (2, 0)


@pytest.mark.parametrize("name", ["tiny_text", "tiny_llava", "tiny_internvl"])
def test_every_token_of_an_answer_points_at_its_character(name: str) -> None:
    architecture = architecture_named(name)
    processor = architecture.build_processor()
    packer, rng = Packer(architecture, processor, PROMPTS), np.random.default_rng(2)
    page = sample_page(rng, "train", "lookup")
    questions = [read(rng, page), look_up(rng, page)]
    image = draw(page.scene, rng, page.writings)
    batch = packer.collate([packer.pack(page, image, questions)])
    labels = batch.labels[0][batch.labels[0] != IGNORE]
    ends = (labels == processor.tokenizer.eos_token_id).nonzero()[:, 0].tolist()
    texts = [
        processor.tokenizer.decode(part)
        for part in (labels[: ends[0]], labels[ends[0] + 1 : ends[1]])
    ]
    assert texts == [question.answer for question in questions]

    visual = batch.input_ids[0] == processor.image_token_id
    pointers = batch.pointers[0][batch.labels[0] != IGNORE][:, visual]
    for row, character in enumerate("".join(writing.text for writing in page.writings)):
        assert CHARACTERS.index(character) in batch.characters[pointers[row]]
    assert not pointers[ends[0]].any()  # the end is about nothing


def test_weights_of_a_smaller_vocabulary() -> None:
    torch.manual_seed(0)
    architecture = architecture_named("tiny_text")
    processor = architecture.build_processor()
    model = architecture.build_model(processor)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    take_weights(model, processor.tokenizer, "bundled:tiny")
    small = architecture_named("tiny").build_processor().tokenizer
    table = model.get_input_embeddings().weight
    name = "model.language_model.embed_tokens.weight"
    new = [
        i for word, i in processor.tokenizer.get_vocab().items() if word not in small.get_vocab()
    ]
    old = [i for i in range(len(table)) if i not in new]
    assert len(old) == 114
    assert torch.equal(table[new], before[name][new])
    assert not (table[old] == before[name][old]).all(1).any()
    with pytest.raises(ValueError, match="type 'qwen2_5_vl'"):
        take_weights(
            architecture_named("tiny_llava").build_model(
                architecture_named("tiny_llava").build_processor()
            ),
            small,
            "bundled:tiny",
        )
    with pytest.raises(ValueError, match="such as"):
        take_weights(
            model, architecture_named("tiny_llava").build_processor().tokenizer, "bundled:tiny"
        )


def test_a_page_without_labels_has_nothing_to_look_up() -> None:
    thing = Thing("small", "red", "star", (0, 0, 35, 35))
    page = Page(Scene(336, 336, (thing,)), (Writing("K4", "small", 112, 112),), "sparse")
    with pytest.raises(ValueError, match="use `read`"):
        look_up(np.random.default_rng(0), page)
