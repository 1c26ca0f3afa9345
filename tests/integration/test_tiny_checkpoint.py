"""The bundled checkpoints: they load, answer well, and answer a batch like single samples."""

from __future__ import annotations

from typing import Any

import pytest

from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.data.sample import Sample
from ivcprune.data.scenes import load_scenes
from ivcprune.models.loading import ModelSpec
from ivcprune.training.architectures import architecture_named
from ivcprune.training.validation import answer, scores_by_benchmark

LEAST = {
    "tiny": (0.93, 0.88),
    "tiny_llava": (0.87, 0.78),
    "tiny_internvl": (0.90, 0.80),
    "tiny_text": (0.90, 0.88),
    "tiny_llava_text": (0.86, 0.78),
    "tiny_internvl_text": (0.86, 0.80),
}
"""Grounding and questions, far below the model cards, so that 60 samples a task decide safely."""
BATCH = 20


@pytest.fixture(scope="module", params=sorted(LEAST))
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    spec = build_model_spec(compose([f"model={request.param}"]))
    spec.check()
    return spec


@pytest.fixture(scope="module")
def processor(spec: ModelSpec) -> Any:
    return spec.load_processor()


@pytest.fixture(scope="module")
def model(spec: ModelSpec) -> Any:
    """Loading fails where weights are missing."""
    return spec.load_model(device="cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    rows = load_scenes("test", size=120, seed=0, cache_dir=tmp_path_factory.mktemp("cache"))
    return [Sample.from_row(row) for row in rows]


def test_it_answers_held_out_questions(
    spec: ModelSpec, model: Any, processor: Any, samples: list[Sample]
) -> None:
    replies = []
    for start in range(0, len(samples), BATCH):
        replies += answer(model, processor, samples[start : start + BATCH], spec.prompts)
    scores = scores_by_benchmark(samples, replies)
    grounding, vqa = LEAST[spec.name]
    assert sum(scores["grounding"]) / 60 >= grounding
    assert sum(scores["vqa"]) / 60 >= vqa


def test_a_padded_batch_is_answered_like_single_samples(
    spec: ModelSpec, model: Any, processor: Any, samples: list[Sample]
) -> None:
    batch = answer(model, processor, samples[:10], spec.prompts)
    singles = [answer(model, processor, [sample], spec.prompts)[0] for sample in samples[:10]]
    assert batch == singles


def test_its_files_fit_this_version(spec: ModelSpec, processor: Any) -> None:
    """Vocabulary, chat template and image processor are those that training makes today."""
    made = architecture_named(spec.name).build_processor()
    assert processor.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert processor.chat_template == made.chat_template
    for setting in ("size", "image_mean", "image_std", "do_resize"):
        assert getattr(processor.image_processor, setting) == getattr(made.image_processor, setting)


def test_no_scene_is_resized_by_the_model_of_native_resolution() -> None:
    size = architecture_named("tiny").build_processor().image_processor.size
    assert size["shortest_edge"] <= 168**2
    assert size["longest_edge"] >= 336**2
