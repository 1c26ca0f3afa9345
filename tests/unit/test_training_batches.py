"""Packed training batches ask the model exactly what `generate` will ask it later."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune.data.sample import Sample
from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.questions import Question, ask, ground
from ivcprune.data.scenes.scene import Level, Scene, Thing, sample_scene
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.training.cells import CELL_CLASSES, IGNORE, describe_cells
from ivcprune.training.data import FROM_SCRATCH, SceneStream, level_at
from ivcprune.training.packing import Packer, block_causal
from ivcprune.training.probe import Probe, soft_bins
from ivcprune.training.tiny_model import COORDINATES, build_model, build_processor
from ivcprune.training.validation import scores_by_task

PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}


@pytest.fixture(scope="module")
def processor() -> ImageTextProcessor:
    return build_processor()


@pytest.fixture(scope="module")
def model(processor: ImageTextProcessor) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(0)
    return build_model(processor).eval()


def examples(count: int) -> list[tuple[Scene, list[Question]]]:
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng, "train") for _ in range(count)]
    return [(scene, [ground(rng, scene), ask(rng, scene), ground(rng, scene)]) for scene in scenes]


@torch.inference_mode()
def test_packed_logits_equal_those_of_single_turns(
    model: Qwen2_5_VLForConditionalGeneration, processor: ImageTextProcessor
) -> None:
    packer = Packer(processor, PROMPTS)
    rng = np.random.default_rng(0)
    cases = [(scene, draw(scene, rng), questions) for scene, questions in examples(3)]
    batch = packer.collate([packer.pack(*case) for case in cases])
    packed = model(
        input_ids=batch.input_ids,
        attention_mask={"full_attention": batch.attention_mask},
        position_ids=batch.position_ids,
        pixel_values=batch.pixel_values,
        image_grid_thw=batch.image_grid_thw,
    ).logits
    for row, (_, image, questions) in enumerate(cases):
        supervised = batch.labels[row] != IGNORE
        logits, labels = packed[row, supervised], batch.labels[row, supervised]
        for question in questions:
            text = PROMPTS[question.task].format(question=question.text)
            content = [{"type": "image"}, {"type": "text", "text": text}]
            turn = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            text = f"{turn}{question.answer}<|im_end|>"
            inputs = processor(text=[text], images=[[image]], return_tensors="pt")
            length = len(question.answer.split()) + 1
            single = model(**inputs).logits[0, -length - 1 : -1]
            torch.testing.assert_close(logits[:length], single, atol=1e-5, rtol=1e-5)
            assert labels[:length].tolist() == inputs["input_ids"][0, -length:].tolist()
            logits, labels = logits[length:], labels[length:]
        assert len(labels) == 0


def test_patches_equal_those_of_the_image_processor(processor: ImageTextProcessor) -> None:
    scene, _ = examples(1)[0]
    image = draw(scene, np.random.default_rng(0))
    expected = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    patches = Packer(processor, PROMPTS).patches(image)
    torch.testing.assert_close(patches, expected, atol=1e-6, rtol=0)


def test_block_causal_mask() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 2]])
    visible = block_causal(segments)[0, 0] == 0
    assert visible.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_cells_name_the_thing_that_covers_them() -> None:
    thing = Thing("small", "green", "cross", (28, 0, 63, 35))
    cells, shown = describe_cells(Scene(84, 56, (thing,)))
    # Its token at (0, 1) is covered whole, at (0, 2) and (1, 1) by a quarter, at (1, 2) by a 16th.
    assert shown[:, 0].tolist() == [False, True, True, False, True, False]
    assert cells[1].tolist() == [0, 1, 3, 5, 4, 0, 9, 5]
    assert cells[5].tolist() == [1, 2, 8, 6, *[IGNORE] * 4]


def test_pointers_lead_from_the_answer_to_the_tokens_of_its_things(
    processor: ImageTextProcessor,
) -> None:
    (scene, questions), packer = examples(1)[0], Packer(processor, PROMPTS)
    batch = packer.collate([packer.pack(scene, draw(scene, np.random.default_rng(0)), questions)])
    _, shown = describe_cells(scene)
    is_visual = batch.input_ids[0] == processor.image_token_id
    supervised = (batch.labels[0] != IGNORE).nonzero()[:, 0]
    first_coordinate = supervised[0]
    expected = shown[:, questions[0].targets[0]]
    assert batch.pointers[0, first_coordinate, is_visual].tolist() == expected.tolist()
    assert not batch.pointers[0][:, ~is_visual].any()
    assert not batch.pointers[0][batch.labels[0] == IGNORE].any()


def test_probe_loss_falls_to_its_floor_only_when_the_layer_tells_everything(
    processor: ImageTextProcessor,
) -> None:
    packer = Packer(processor, PROMPTS)
    rng = np.random.default_rng(0)
    batch = packer.collate([packer.pack(s, draw(s, rng), q) for s, q in examples(2)])
    torch.manual_seed(0)
    probe = Probe(32)
    hidden = torch.nn.Parameter(torch.randn(*batch.input_ids.shape, 32))
    is_visual = batch.input_ids == processor.image_token_id
    optimizer = torch.optim.Adam([hidden, *probe.parameters()], lr=0.05)
    losses = []
    for _ in range(60):
        loss = probe.loss(hidden, batch, is_visual)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    uniform = sum(np.log(CELL_CLASSES[:4]))
    assert losses[0] > uniform
    assert losses[-1] < 0.4 * losses[0]


def test_soft_labels_are_distributions_around_their_bin() -> None:
    labels = soft_bins(len(COORDINATES))
    torch.testing.assert_close(labels.sum(1), torch.ones(49))
    assert labels.argmax(1).tolist() == list(range(49))
    assert labels[20, 19] == labels[20, 21] > labels[20, 22] > 0


def test_the_stream_continues_where_a_checkpoint_stopped(processor: ImageTextProcessor) -> None:
    def stream(rank: int, start: int) -> SceneStream:
        packer = Packer(processor, PROMPTS)
        return SceneStream(
            packer, FROM_SCRATCH, batch_size=1, steps=10, seed=0, rank=rank, start=start
        )

    whole, late, other = iter(stream(0, 0)), iter(stream(0, 1)), iter(stream(1, 0))
    first, second = next(whole), next(whole)
    assert torch.equal(next(late).pixel_values, second.pixel_values)
    assert not torch.equal(next(other).cells, first.cells)


def test_the_curriculum_ends_at_the_level_of_the_benchmark() -> None:
    assert level_at(0.0) == Level(tokens=(6, 8), things=(1, 3))
    assert level_at(0.2) == Level(tokens=(6, 10), things=(2, 5))
    assert level_at(0.25) == level_at(1.0) == Level()


def test_scores_of_both_tasks() -> None:
    def sample(task: str) -> Sample:
        return Sample("0", task, [], "", ["yes"], [[0, 0, 70, 70]], width=168, height=168)

    samples = [sample("grounding"), sample("vqa"), sample("vqa")]
    scores = scores_by_task(samples, ["0 0 70 42", "yes", "70"])
    assert scores == {"grounding": [1.0], "vqa": [1.0, 0.0]}
