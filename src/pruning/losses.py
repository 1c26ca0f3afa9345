"""Losses of pruned sequences: labels of the whole input, brought to the tokens that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
"""Label of a token that does not count, as in PyTorch's cross entropy."""


class PrunedLoss:
    """Computes a model's loss with labels for what the latest prefill left.

    Text is never dropped and keeps its order, so each text token takes its label along; the tokens
    between, visual ones and padding, have none.
    """

    def __init__(self) -> None:
        self._text: tuple[Tensor, Tensor] | None = None

    def forget(self) -> None:
        """What follows is not pruned."""
        self._text = None

    def expect(self, text: tuple[Tensor, Tensor] | None) -> None:
        """Text tokens of the input, bool `[B, S]`, and of what is left, bool `[B, S']`."""
        self._text = text

    def compute(
        self,
        function: Callable[..., Any],
        logits: Tensor,
        labels: Tensor,
        *args: Any,
        **options: Any,
    ) -> Any:
        """The model's loss `function`, with labels that fit the logits `[B, S', vocabulary]`.

        Raises:
            ValueError: tokens that may be dropped have labels.
        """
        if self._text is not None and labels is not None and labels.shape == self._text[0].shape:
            labels = self._fitting(labels)
        return function(logits, labels, *args, **options)

    def _fitting(self, labels: Tensor) -> Tensor:
        assert self._text is not None
        before, after = (text.to(labels.device) for text in self._text)
        others = ~before & (labels != IGNORED)
        if others.any():
            raise ValueError(
                f"labels: {int(others.sum())} visual tokens or padding have one, but tokens that "
                f"may be dropped cannot be learnt: set their labels to {IGNORED}"
            )
        fitting = torch.full(after.shape, IGNORED, dtype=labels.dtype, device=labels.device)
        fitting[after] = labels[before]
        return fitting
