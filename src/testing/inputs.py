"""Inputs for tiny models: pictures of noise, chat prompts, ragged batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise of that size."""
    pixels = np.random.RandomState(seed).randint(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def chat(processor: Any, text: str, n_images: int = 1) -> str:
    """The prompt of one user turn: images, then text."""
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    prompt: str = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    return prompt


def batch(processor: Any, *samples: tuple[str, Sequence[Image.Image]]) -> Any:
    """Model inputs of (text, pictures) samples, left-padded."""
    return processor(
        text=[chat(processor, text, len(pictures)) for text, pictures in samples],
        images=[list(pictures) for _, pictures in samples] if any(p for _, p in samples) else None,
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )


def ragged_samples() -> list[tuple[str, list[Image.Image]]]:
    """Two samples of different length, one of them with two pictures of different size."""
    return [
        ("where is it", [picture(140, 112)]),
        ("how many blobs are in there please", [picture(84, 112, 1), picture(196, 140, 2)]),
    ]


def ragged_batch(processor: Any) -> Any:
    """Model inputs of `ragged_samples`."""
    return batch(processor, *ragged_samples())
