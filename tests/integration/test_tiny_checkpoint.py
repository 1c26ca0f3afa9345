"""The bundled checkpoint: it loads, answers well, and answers a batch like single samples."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune import assets
from ivcprune.data.sample import Sample
from ivcprune.data.scenes import load_scenes
from ivcprune.models.qwen.processors import QWEN_TOKENS, ImageTextProcessor
from ivcprune.training.validation import answer, scores_by_benchmark
from ivcprune.training.vocabulary import vocabulary

FOLDER = Path(str(files(assets) / "tiny"))
PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}
BATCH = 20


@pytest.fixture(scope="module")
def processor() -> ImageTextProcessor:
    return ImageTextProcessor.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLForConditionalGeneration:
    model, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        FOLDER, dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    rows = load_scenes("test", size=120, seed=0, cache_dir=tmp_path_factory.mktemp("cache"))
    return [Sample.from_row(row) for row in rows]


def test_it_answers_held_out_questions(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: ImageTextProcessor,
    samples: list[Sample],
) -> None:
    answers = []
    for start in range(0, len(samples), BATCH):
        answers += answer(model, processor, samples[start : start + BATCH], PROMPTS)
    scores = scores_by_benchmark(samples, answers)
    # Far below the accuracy in the model card, so that 60 samples a task decide safely.
    assert sum(scores["grounding"]) / 60 >= 0.93
    assert sum(scores["vqa"]) / 60 >= 0.88


def test_a_padded_batch_is_answered_like_single_samples(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: ImageTextProcessor,
    samples: list[Sample],
) -> None:
    batch = answer(model, processor, samples[:10], PROMPTS)
    assert batch == [answer(model, processor, [sample], PROMPTS)[0] for sample in samples[:10]]


def test_its_files_fit_this_version(processor: ImageTextProcessor) -> None:
    """The vocabulary is that of the generator, and no scene is resized."""
    ids = processor.tokenizer.get_vocab()
    assert sorted(ids, key=ids.__getitem__) == vocabulary(QWEN_TOKENS, spelling=False)
    size = processor.image_processor.size
    assert size["shortest_edge"] <= 168**2
    assert size["longest_edge"] >= 336**2
