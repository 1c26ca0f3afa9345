"""Packed training batches ask the model exactly what `generate` will ask it later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ivcprune.data.sample import Sample
from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.pages import Page
from ivcprune.data.scenes.questions import Question, ask, ground
from ivcprune.data.scenes.scene import Level, Scene, Thing, sample_scene
from ivcprune.training.architectures import architecture_named
from ivcprune.training.architectures.base import Architecture, grid_areas
from ivcprune.training.architectures.llava import pixels
from ivcprune.training.architectures.qwen2_5_vl import patches
from ivcprune.training.cells import CELL_CLASSES, IGNORE, describe_cells
from ivcprune.training.data import SceneStream
from ivcprune.training.frames import answer_to, framed
from ivcprune.training.lessons import FROM_SCRATCH, level_at
from ivcprune.training.module import PackedTraining
from ivcprune.training.packing import Packer, block_causal
from ivcprune.training.probe import Probe, soft_bins
from ivcprune.training.validation import Reply, scores_by_benchmark
from ivcprune.training.vocabulary import COORDINATES

PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}


@pytest.fixture(scope="module", params=["tiny", "tiny_llava", "tiny_internvl"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return architecture_named(request.param)


@pytest.fixture(scope="module")
def packer(architecture: Architecture) -> Packer:
    return Packer(architecture, architecture.build_processor(), PROMPTS)


def examples(count: int) -> list[tuple[Scene, list[Question]]]:
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng, "train") for _ in range(count)]
    return [(scene, [ground(rng, scene), ask(rng, scene), ground(rng, scene)]) for scene in scenes]


@torch.inference_mode()
def test_packed_logits_equal_those_of_single_turns(packer: Packer) -> None:
    torch.manual_seed(0)
    processor, tokenizer = packer.processor, packer.processor.tokenizer
    model: Any = packer.architecture.build_model(processor).eval()
    rng = np.random.default_rng(0)
    cases = [(scene, draw(scene, rng), questions) for scene, questions in examples(3)]
    batch = packer.collate([packer.pack(Page(scene, (), ""), *rest) for scene, *rest in cases])
    packed = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        **batch.pictures,
    ).logits
    for row, (scene, image, questions) in enumerate(cases):
        scene = framed(scene, packer.architecture.picture(processor, image).size)
        supervised = batch.labels[row] != IGNORE
        logits, labels = packed[row, supervised], batch.labels[row, supervised]
        for question in questions:
            text = PROMPTS[question.task].format(question=question.text)
            content = [{"type": "image"}, {"type": "text", "text": text}]
            turn = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            answer = answer_to(question, scene)
            text = f"{turn}{answer}{tokenizer.eos_token}"
            inputs = processor(text=[text], images=[[image]], return_tensors="pt")
            length = len(answer.split()) + 1
            single = model(**inputs).logits[0, -length - 1 : -1]
            torch.testing.assert_close(logits[:length], single, atol=1e-4, rtol=1e-4)
            assert labels[:length].tolist() == inputs["input_ids"][0, -length:].tolist()
            logits, labels = logits[length:], labels[length:]
        assert len(labels) == 0


def test_every_weight_that_is_trained_has_a_gradient(packer: Packer) -> None:
    """Processes that share the work wait for each other's gradients."""
    scene, questions = examples(1)[0]
    item = packer.pack(Page(scene, (), ""), draw(scene, np.random.default_rng(0)), questions)
    model: Any = packer.architecture.build_model(packer.processor)
    options = {"steps": 4, "lr": 1e-3, "warmup": 1, "decay": 0.5, "weight_decay": 0.0}
    heads = {"probe_layer": 2, "probe_until": 1.0}
    module = PackedTraining(model, packer.processor, PROMPTS, **heads, **options)
    module.log = lambda *_args, **_options: None  # type: ignore[method-assign]
    module.training_step(packer.collate([item]), 0).backward()
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    assert [name for name, weight in trained.items() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "made"), [("tiny", patches), ("tiny_llava", pixels)])
def test_pixels_equal_those_of_the_image_processor(name: str, made: Any) -> None:
    processor = architecture_named(name).build_processor()
    scene, _ = examples(1)[0]
    image = draw(scene, np.random.default_rng(0))
    expected = processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    found = made(processor.image_processor, image)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "size", "frame", "n", "last"),
    [
        ("tiny", (84, 56), (84, 56), 6, [56, 28, 84, 56]),
        ("tiny_llava", (168, 336), (336, 336), 144, [308, 308, 336, 336]),
        # two tiles, one above the other, and the thumbnail of both
        ("tiny_internvl", (168, 336), (168, 336), 3 * 36, [140, 280, 168, 336]),
        ("tiny_internvl", (196, 168), (168, 168), 36, [140, 140, 168, 168]),
    ],
)
def test_areas_of_visual_tokens(
    name: str, size: tuple[int, int], frame: tuple[int, int], n: int, last: list[int]
) -> None:
    architecture = architecture_named(name)
    picture = architecture.picture(architecture.build_processor(), Image.new("RGB", size))
    assert picture.size == frame
    assert len(picture.areas) == picture.positions.shape[1] == n
    assert picture.areas[-1].tolist() == last


def test_a_scene_in_another_frame_keeps_whole_bins() -> None:
    scene = Scene(84, 56, (Thing("small", "green", "cross", (28, 0, 63, 35)),))
    # x doubles; y grows by 3/2: 35 -> 52.5, which is 7.5 bins and goes to the even 8.
    assert framed(scene, (168, 84)).things[0].box == (56, 0, 126, 56)
    assert framed(scene, (84, 56)) is scene


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
    cells, shown = describe_cells(Scene(84, 56, (thing,)), grid_areas(2, 3, 28, 28))
    # Its token at (0, 1) is covered whole, at (0, 2) and (1, 1) by a quarter, at (1, 2) by a 16th.
    assert shown[:, 0].tolist() == [False, True, True, False, True, False]
    assert cells[1].tolist() == [0, 1, 3, 5, 4, 0, 9, 5]
    assert cells[5].tolist() == [1, 2, 8, 6, *[IGNORE] * 4]


def test_pointers_lead_from_the_answer_to_the_tokens_of_its_things(packer: Packer) -> None:
    scene, questions = examples(1)[0]
    image = draw(scene, np.random.default_rng(0))
    batch = packer.collate([packer.pack(Page(scene, (), ""), image, questions)])
    picture = packer.architecture.picture(packer.processor, image)
    _, shown = describe_cells(framed(scene, picture.size), picture.areas)
    is_visual = batch.input_ids[0] == packer.processor.image_token_id
    supervised = (batch.labels[0] != IGNORE).nonzero()[:, 0]
    first_coordinate = supervised[0]
    expected = shown[:, questions[0].targets[0]]
    assert batch.pointers[0, first_coordinate, is_visual].tolist() == expected.tolist()
    assert not batch.pointers[0][:, ~is_visual].any()
    assert not batch.pointers[0][batch.labels[0] == IGNORE].any()


def test_probe_loss_falls_to_its_floor_only_when_the_layer_tells_everything(
    packer: Packer,
) -> None:
    rng = np.random.default_rng(0)
    batch = packer.collate([packer.pack(Page(s, (), ""), draw(s, rng), q) for s, q in examples(2)])
    torch.manual_seed(0)
    probe = Probe(32)
    hidden = torch.nn.Parameter(torch.randn(*batch.input_ids.shape, 32))
    is_visual = batch.input_ids == packer.processor.image_token_id
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


def test_the_stream_continues_where_a_checkpoint_stopped(packer: Packer) -> None:
    def stream(rank: int, start: int) -> SceneStream:
        return SceneStream(
            packer, FROM_SCRATCH, batch_size=1, steps=10, seed=0, rank=rank, start=start
        )

    whole, late, other = iter(stream(0, 0)), iter(stream(0, 1)), iter(stream(1, 0))
    first, second = next(whole), next(whole)
    assert torch.equal(next(late).pictures["pixel_values"], second.pictures["pixel_values"])
    assert not torch.equal(next(other).cells, first.cells)


def test_the_curriculum_ends_at_the_level_of_the_benchmark() -> None:
    assert level_at(0.0) == Level(tokens=(6, 8), things=(1, 3))
    assert level_at(0.2) == Level(tokens=(6, 10), things=(2, 5))
    assert level_at(0.25) == level_at(1.0) == Level()


def test_scores_by_task_and_by_kind_of_page() -> None:
    def sample(task: str, name: str = "scenes-0") -> Sample:
        return Sample(name, task, [], "", ["K47"], [[0, 0, 70, 70]], width=168, height=168)

    samples = [sample("grounding"), sample("vqa"), sample("vqa"), sample("vqa", "scenes_lookup-0")]
    replies = [Reply(text, (336, 168)) for text in ("0 0 140 42", "K47", "70", "K47")]
    scores = scores_by_benchmark(samples, replies)
    assert scores == {"grounding": [1.0], "vqa": [1.0, 0.0], "scenes_lookup": [1.0]}
