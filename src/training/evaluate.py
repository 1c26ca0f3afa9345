"""Accuracy of a checkpoint on scenes by plain `generate`, without any pruning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from ..data.sample import Sample
from ..models.processors import ImageTextProcessor
from .batches import PROMPTS


@torch.inference_mode()
def predict(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: ImageTextProcessor,
    samples: Sequence[Sample],
) -> list[str]:
    """Greedy answers to a left-padded batch of samples."""
    prompts = []
    for sample in samples:
        text = PROMPTS[sample.task].format(question=sample.question)
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompts.append(
            processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        )
    inputs = processor(
        text=prompts,
        images=[sample.images for sample in samples],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(model.device)
    # Four coordinates and the end of the turn.
    tokens = model.generate(**inputs, max_new_tokens=5)
    return processor.batch_decode(
        tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )


def is_right(sample: Sample, answer: str) -> bool:
    """Exact match for vqa; IoU of at least 0.5 with the true box for grounding."""
    if sample.task == "vqa":
        return answer in sample.answers
    numbers = [int(word) for word in answer.split() if word.isdigit()]
    return len(numbers) == 4 and iou(numbers, sample.boxes[0]) >= 0.5


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes `(x1, y1, x2, y2)`; 0 for an empty one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = [max(b[2] - b[0], 0) * max(b[3] - b[1], 0) for b in (first, second)]
    return shared / (sum(areas) - shared) if shared else 0.0
