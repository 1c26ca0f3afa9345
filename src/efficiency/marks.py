"""Readings of a clock at the boundaries of a prefill, and around everything that pruning adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any, Generic

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..models.base import Family
from ..models.token_rules import holds_tokens
from ..pruning.caches.names import given_cache
from .clocks import Amount, Clock, Mark


class PrefillMarks(Generic[Mark, Amount]):
    """Watches the first forward call of a model; to be entered INSIDE a prune block.

    The pruner acts in hooks, and hooks run in the order of their registration: one hook put before
    and one behind the pruner's enclose all that it does, so that nothing of it has to be changed.

    Attributes:
        end: reading after the forward call, None before.
        kv_bytes: bytes of keys and values right after the prefill.
        peak_bytes: most memory allocated on the GPU until then; None on a CPU.
    """

    def __init__(self, model: Any, family: Family, clock: Clock[Mark, Amount]) -> None:
        self.end: Mark | None = None
        self.kv_bytes = 0
        self.peak_bytes: int | None = None
        self._model, self._family, self._clock = model, family, clock
        self._spans: dict[str, list[tuple[Mark, Mark]]] = defaultdict(list)
        self._started: dict[str, Mark] = {}
        self._depth = 0
        self._handles: list[RemovableHandle] = []

    def spent(self, part: str) -> list[Amount]:
        """What each span of a part took: "vision" tower, "language" model, or "pruning"."""
        return [self._clock.between(start, end) for start, end in self._spans[part]]

    def __enter__(self) -> PrefillMarks[Mark, Amount]:
        for module in self._modules_with_hooks():
            self._enclose_hooks(module)
        decoder = self._family.text_model(self._model)
        encoder = self._model.get_encoder(modality="image")
        for part, watched in (("language", decoder), ("vision", encoder)):
            begin, finish = partial(self._begin, part), partial(self._finish, part)
            self._handles += [
                watched.register_forward_pre_hook(begin, prepend=True),
                watched.register_forward_hook(finish),
            ]
        self._handles.append(self._model.register_forward_hook(self._after_model))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _modules_with_hooks(self) -> Iterator[nn.Module]:
        """Every module on which the pruner acts in a forward call of the language model."""
        yield self._family.core(self._model)
        yield self._family.text_model(self._model)
        yield from self._family.layers(self._model)

    def _enclose_hooks(self, module: nn.Module) -> None:
        self._handles += [
            module.register_forward_pre_hook(self._enter_hooks, prepend=True),
            module.register_forward_pre_hook(self._leave_hooks),
            module.register_forward_hook(self._enter_hooks, prepend=True),
            module.register_forward_hook(self._leave_hooks),
        ]

    def _enter_hooks(self, *call: object) -> None:
        # a policy that recomputes runs layers inside a hook: what they do is counted once
        if self._depth == 0:
            self._begin("pruning")
        self._depth += 1

    def _leave_hooks(self, *call: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._finish("pruning")

    def _begin(self, part: str, *call: object) -> None:
        self._started[part] = self._clock.read()

    def _finish(self, part: str, *call: object) -> None:
        self._spans[part].append((self._started.pop(part), self._clock.read()))

    def _after_model(self, module: nn.Module, args: Any, output: Any) -> None:
        """The prefill is over: decoding shall run without these hooks."""
        self.end = self._clock.read()
        self.kv_bytes = sum(
            layer.keys.nbytes + layer.values.nbytes
            for layer in given_cache(output).layers
            if holds_tokens(layer)
        )
        device = output.logits.device
        if device.type == "cuda":
            self.peak_bytes = torch.cuda.max_memory_allocated(device)
        self.__exit__()
