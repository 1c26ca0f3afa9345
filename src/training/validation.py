"""Answers of a model that is being trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..data.prompts import to_messages
from ..data.sample import Sample
from ..data.scenes.dataset import CONTENTS
from ..metrics.boxes import Size
from ..metrics.scoring import score
from ..models.decoding import Decoding
from ..models.registry import family_of

DECODING = Decoding(max_new_tokens=48)
"""Greedy, long enough for all strings of a page."""


class Reply(NamedTuple):
    """What a model answers, and the (width, height) of the image as it saw it, in pixels."""

    text: str
    input_size: Size


@torch.inference_mode()
def answer(
    model: Any, processor: Any, samples: Sequence[Sample], prompts: Mapping[str, str]
) -> list[Reply]:
    """Greedy answers to a batch of samples."""
    inputs = encode(processor, samples, prompts).to(model.device)
    with DECODING.of(model):
        tokens = model.generate(**inputs)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    texts = processor.batch_decode(new, skip_special_tokens=True)
    sizes = family_of(model.config.model_type).input_sizes(inputs, processor)
    return [Reply(text, size) for text, size in zip(texts, sizes, strict=True)]


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


def scores_by_benchmark(
    samples: Sequence[Sample], replies: Sequence[Reply]
) -> dict[str, list[float]]:
    """The score of every reply, by task for `scenes` and by name for the other contents."""
    scores: dict[str, list[float]] = defaultdict(list)
    for sample, reply in zip(samples, replies, strict=True):
        _, value = score(sample, reply.text, "plain", reply.input_size)
        content = sample.id.partition("-")[0]
        scores[content if content in CONTENTS[1:] else sample.task].append(value)
    return dict(scores)
