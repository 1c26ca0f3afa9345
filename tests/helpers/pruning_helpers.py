"""Inputs for tests on tiny models, and greedy generation with logits."""

from ivcprune.testing.greedy import STEPS, generate
from ivcprune.testing.inputs import batch, chat, picture, ragged_batch

__all__ = ["STEPS", "batch", "chat", "generate", "picture", "ragged_batch"]
