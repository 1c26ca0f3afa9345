"""Inputs for tests on tiny models."""

from ivcprune.testing.inputs import batch, chat, picture, ragged_batch

__all__ = ["batch", "chat", "picture", "ragged_batch"]
