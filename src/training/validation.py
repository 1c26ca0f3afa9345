"""Answers of a model that is being trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..data.prompts import to_messages
from ..data.sample import Sample
from ..metrics.scoring import score
from ..models.decoding import Decoding

DECODING = Decoding(max_new_tokens=5)
"""Greedy: four coordinates and the end of the turn."""


@torch.inference_mode()
def answer(
    model: Any, processor: Any, samples: Sequence[Sample], prompts: Mapping[str, str]
) -> list[str]:
    """Greedy answers to a batch of samples."""
    inputs = encode(processor, samples, prompts).to(model.device)
    with DECODING.of(model):
        tokens = model.generate(**inputs)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    answers: list[str] = processor.batch_decode(new, skip_special_tokens=True)
    return answers


def encode(processor: Any, samples: Sequence[Sample], prompts: Mapping[str, str]) -> Any:
    """The left-padded prompts of samples."""
    texts = [
        processor.apply_chat_template(
            to_messages(sample, prompts), add_generation_prompt=True, tokenize=False
        )
        for sample in samples
    ]
    images = [sample.images for sample in samples]
    return processor(
        text=texts, images=images, padding=True, padding_side="left", return_tensors="pt"
    )


def scores_by_task(samples: Sequence[Sample], answers: Sequence[str]) -> dict[str, list[float]]:
    """The score of every answer; the images reached the model in their own size."""
    scores: dict[str, list[float]] = defaultdict(list)
    for sample, text in zip(samples, answers, strict=True):
        _, value = score(sample, text, "plain", (sample.width, sample.height))
        scores[sample.task].append(value)
    return dict(scores)
