"""Rules of the contract that a live model shows. Each returns how it is broken, or None."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..api import prune
from ..policy import PruningPolicy, Stage
from ..selectors import Among, Selector
from ..selectors.base import children
from ..selectors.selection import Selection
from ..tokens.visual import VisualTokens
from .inputs import batch, ragged_batch, ragged_samples
from .tiny import tiny_model

FAMILY, LAYER = "qwen2_5_vl", 2
BOX = (0.0, 0.0, 0.5, 0.5)
"""What is annotated in each sample's first picture."""


def keep_all(selector: Selector) -> str | None:
    """Brought to `keep=1.0`, it leaves the logits of the model alone, bit for bit."""
    whole = _whole(selector)
    if whole is None:
        return None
    model, processor = tiny_model(FAMILY)
    inputs = ragged_batch(processor)
    pruned, _ = _run(model, inputs, whole)
    if not torch.equal(pruned, _logits(model, inputs)):
        return "with_keep(1.0) changes the logits of the model: it has to keep every token"
    return None


def live_model(selector: Selector) -> str | None:
    """As a stage of a model: finite logits, the same choice and logits in a batch and alone."""
    model, processor = tiny_model(FAMILY)
    logits, together = _run(model, ragged_batch(processor), selector)
    if not logits.isfinite().all():
        return "the pruned model's logits are not finite"
    alone = [_run(model, batch(processor, sample), selector) for sample in ragged_samples()]
    if not all(map(torch.equal, together, (keep for _, kept in alone for keep in kept))):
        return "a sample keeps other tokens in a ragged batch than alone"
    last = torch.cat([own[:, -1] for own, _ in alone])
    if not torch.allclose(logits[:, -1], last, atol=1e-4):
        return "a sample has other logits in a ragged batch than alone: its states differ"
    return None


def hooks_removed(selector: Selector) -> str | None:
    """After an exception in the selector, the model is as it was."""
    model, processor = tiny_model(FAMILY)
    inputs = ragged_batch(processor)
    n_hooks, logits = _n_hooks(model), _logits(model, inputs)
    with suppress(_InterruptError):
        _run(model, inputs, _Interrupted(selector))
    if (left := _n_hooks(model) - n_hooks) != 0:
        return f"{left} hooks are left on the model after an exception"
    if not torch.equal(_logits(model, inputs), logits):
        return "the model computes something else after an exception"
    return None


class _InterruptError(Exception):
    """Raised on purpose."""


@dataclass(frozen=True)
class _Interrupted(Selector):
    """Raises once the selector has chosen."""

    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor | Selection:
        self.selector.select(tokens)
        raise _InterruptError


def _whole(selector: Selector) -> Selector | None:
    """The selector with the budget of everything; None where that is not defined."""
    if _excludes(selector):
        return None
    try:
        return selector.with_keep(1.0)
    except ValueError:
        return None


def _excludes(selector: Selector) -> bool:
    """Whether it leaves tokens out on purpose, whatever its budget."""
    return isinstance(selector, Among) or any(map(_excludes, children(selector)))


def _run(model: nn.Module, inputs: Any, selector: Selector) -> tuple[Tensor, list[Tensor]]:
    """Logits with the selector as a stage, and what it keeps of each image, bool `[h, w]`."""
    with prune(model, PruningPolicy({"select": Stage(LAYER, selector)})) as run:
        run.annotate([[BOX]] * len(inputs["input_ids"]))
        logits = _logits(model, inputs)
    assert run.stats is not None
    return logits, [kept.keep for kept in run.stats.kept_maps()]


@torch.no_grad()
def _logits(model: nn.Module, inputs: Any) -> Tensor:
    logits: Tensor = model(**inputs).logits
    return logits


def _n_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
