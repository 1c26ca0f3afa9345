"""Prompts with pictures and videos for the tiny Qwen models, and exactness of pruned ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from ivcprune.models.registry import family_of_model
from ivcprune.policy import BoundPolicy, PruningPolicy
from ivcprune.pruning.pruner import Pruner
from ivcprune.testing.greedy import compared
from ivcprune.testing.inputs import picture

DEPTH = 4
TOLERANCE = 1e-5

Part = str | Image.Image | list[Image.Image]
"""Text, an image, or the frames of a video."""


def clip(width: int, height: int, n_frames: int, seed: int = 0) -> list[Image.Image]:
    """A video of noise."""
    return [picture(width, height, seed + i) for i in range(n_frames)]


def encode(processor: Any, *samples: Sequence[Part], **options: Any) -> Any:
    """Model inputs of samples, each one user turn of text, images and videos; left-padded."""
    prompts, images, videos = [], [], []
    for parts in samples:
        content: list[dict[str, str]] = []
        for part in parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            elif isinstance(part, list):
                content.append({"type": "video"})
                videos.append(part)
            else:
                content.append({"type": "image"})
                images.append(part)
        messages = [{"role": "user", "content": content}]
        prompts.append(
            processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        )
    return processor(
        text=prompts,
        images=images or None,
        videos=videos or None,
        padding=True,
        padding_side="left",
        return_tensors="pt",
        **options,
    )


def ragged_clips(processor: Any) -> Any:
    """Two samples of different length with images and videos in different order."""
    return encode(
        processor,
        [clip(84, 56, 5), "and", picture(56, 84, 7), "what happens"],
        [picture(112, 56, 8), clip(56, 84, 2, 3), clip(56, 84, 4, 5), "which one is it"],
    )


def enter(model: Any, policy: PruningPolicy) -> Pruner:
    """The policy at work on a tiny model."""
    return Pruner(model, family_of_model(model), bound(model, policy))


def bound(model: Any, policy: PruningPolicy) -> BoundPolicy:
    """The policy for a tiny model, whose default layer is 2."""
    family = family_of_model(model)
    return policy.bind(DEPTH, 2, family.spare_layers, family.rotary_axes)


def assert_equals_mask_reference(model: Any, inputs: Any, policy: PruningPolicy) -> Pruner:
    """Pruned generation equals that of the whole sequence with the dropped tokens hidden."""
    visual = inputs["mm_token_type_ids"] > 0
    found = compared(model, family_of_model(model), inputs, bound(model, policy), visual)
    assert max(found.differences) < TOLERANCE
    assert found.same_tokens
    assert 0 < sum(map(len, found.run.stats.kept)) < visual.sum()
    return found.run
