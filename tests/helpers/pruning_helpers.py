"""Inputs for tests on tiny models, and greedy generation with logits."""

from typing import Any

from ivcprune.testing.inputs import batch, chat, picture, ragged_batch

__all__ = ["STEPS", "batch", "chat", "generate", "picture", "ragged_batch"]

STEPS = 4
"""Tokens that `generate` adds."""


def generate(model: Any, inputs: Any, **options: Any) -> Any:
    """Greedy generation of a few tokens, with logits."""
    return model.generate(
        **inputs,
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
