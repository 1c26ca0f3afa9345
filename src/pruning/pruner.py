"""HOW: applies a policy to a live model through forward hooks, without touching its code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.cache_utils import DynamicCache

from ..models.base import Family
from ..models.blocks import Block
from ..policy import BoundPolicy
from ..tokens.visual import FROM_VISION_TOWER
from .annotation import Boxes, check_boxes
from .cache_names import given_cache, with_cache
from .forward_call import ForwardCall
from .generate_guard import GenerateGuard
from .prefill import Prefill
from .prefill_input import PrefillInput
from .statistics import PrefillStatistics
from .vision import VisionRecorder

T = TypeVar("T")

_ACTIVE = "_ivcprune_active"


class Pruner:
    """A policy at work on one model: a context manager that owns its hooks.

    Attributes:
        stats: what the latest prefill kept, of a first turn or a later one with images; None before
            the first.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        policy: BoundPolicy,
        on_prefill: Callable[[PrefillStatistics], object] | None = None,
    ) -> None:
        self.stats: PrefillStatistics | None = None
        self._on_prefill = on_prefill
        self._policy, self._family = policy, family
        self._guard = GenerateGuard(model)
        self._core = family.core(model)
        self._decoder: Any = family.text_model(model)
        self._layers = family.layers(model)
        inv_freq = family.inverse_frequencies(model)
        self._frequencies = (inv_freq, family.frequency_axis(model, len(inv_freq)))
        self._seeds: tuple[int, ...] = ()
        self._boxes: Sequence[Boxes] | None = None
        self._vision = None
        if policy.needs & FROM_VISION_TOWER:
            self._vision = VisionRecorder(family, self._core, policy.needs)
        self._handles: list[RemovableHandle] = []
        self._inputs: dict[str, Any] = {}
        self._forward: ForwardCall | None = None

    @property
    def layers(self) -> dict[str, int]:
        """0-based decoder layer of each stage."""
        return self._policy.layers

    def identify(self, sample_ids: Sequence[str]) -> None:
        """Name the batch elements of the next prefill: random choices follow these ids."""
        digests = [hashlib.sha256(name.encode()).digest()[:7] for name in sample_ids]
        self._seeds = tuple(int.from_bytes(digest, "little") for digest in digests)

    def annotate(self, boxes: Sequence[Boxes]) -> None:
        """Annotated boxes of the batch elements of the next prefill, for `tokens.annotated`.

        Args:
            boxes: for each batch element its boxes (x1, y1, x2, y2), perhaps none, as fractions of
                the width and height of its first image.

        Raises:
            ValueError: a box is no box of fractions.
        """
        check_boxes(boxes)
        self._boxes = boxes

    # Hooks -------------------------------------------------------------------------------------

    def __enter__(self) -> Pruner:
        if hasattr(self._core, _ACTIVE):
            raise RuntimeError(
                "prune: a prune block is already active on this model; leave it first, and combine "
                "selectors (Union, TopUp) rather than blocks"
            )
        setattr(self._core, _ACTIVE, True)
        self._add(self._core, self._before_core)
        self._add(self._decoder, self._before_decoder)
        for index, layer in enumerate(self._layers):
            self._add(layer, partial(self._before_layer, index))
            after = partial(self._after_layer, index)
            self._handles.append(layer.register_forward_hook(after))
        if self._vision is not None:
            self._handles += self._vision.install()
        self._handles.append(self._decoder.register_forward_hook(self._after_decoder))
        if self._policy.stages:
            self._guard.install()
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._guard.remove()
        self._inputs, self._forward = {}, None
        delattr(self._core, _ACTIVE)

    def _add(self, module: nn.Module, hook: Any) -> None:
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    # The walk of a forward call ----------------------------------------------------------------

    def _before_core(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        """Remember input ids and image sizes: the decoder only sees embeddings."""
        self._inputs = {"input_ids": args[0], **kwargs} if args else dict(kwargs)
        self._forward = None

    def _before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Find the visual tokens of a prefill, and see to it that there is a cache."""
        inputs, self._inputs = self._inputs, {}
        cache = given_cache(kwargs)
        past = 0 if cache is None else cache.get_seq_length()
        embeddings = kwargs.get("inputs_embeds")
        if embeddings is None:
            raise ValueError(
                "the decoder was called alone, so nothing tells which tokens are visual: inside a "
                "prune block call the whole model"
            )
        positions = axis_positions(
            kwargs.get("position_ids"), self._family.rotary_axes, embeddings, past
        )
        blocks = self._blocks(inputs, positions, past)
        if (
            cache is None
            and blocks
            and (self._policy.stages or kwargs.get("use_cache") is not False)
        ):
            cache = DynamicCache(config=self._decoder.config)
            kwargs = with_cache(kwargs, cache, self._decoder.forward)
        additions: dict[int, Tensor] = {}
        if blocks and self._policy.stages:
            kwargs, additions = self._family.layer_additions(kwargs)
        rotary = partial(self._family.rotary, self._decoder)
        mask = kwargs.get("attention_mask")
        self._forward = ForwardCall(self._decoder.config, cache, mask, positions, rotary)
        if cache is not None and (blocks or past == 0):
            given = PrefillInput(
                blocks=blocks,
                embeddings=embeddings,
                positions=positions,
                attention_mask=mask,
                cache=cache,
                seeds=_of_sequences(self._seeds, embeddings),
                rotary=rotary,
                boxes=None if self._boxes is None else _of_sequences(self._boxes, embeddings),
                vision=None if self._vision is None else self._vision.take,
                additions=additions,
            )
            self._forward.prefill = Prefill(
                self._family, self._policy, self._layers, self._frequencies, given
            )
        if positions.shape[-1] > 1 or past == 0:  # not a step of decoding
            self._seeds, self._boxes = (), None
        return args, kwargs

    def _blocks(self, inputs: dict[str, Any], positions: Tensor, past: int) -> list[Block]:
        if past and positions.shape[-1] == 1:
            return []  # a step of decoding
        if inputs.get("input_ids") is not None or inputs.get("mm_token_type_ids") is not None:
            return self._family.blocks(self._core, inputs, positions)
        if self._policy.stages:
            raise ValueError(
                "inputs_embeds came without input_ids and without mm_token_type_ids, so nothing "
                "tells which tokens are visual: pass mm_token_type_ids [batch, length] as well"
            )
        return []

    def _before_layer(
        self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Run the stage of this layer, if any; give the layer what is left, and its own mask."""
        if self._forward is None:
            return None
        hidden, *rest = args
        kwargs = self._forward.shifted(index, hidden, kwargs)
        if self._forward.prefill is not None:
            hidden, kwargs = self._forward.prefill.enter_layer(index, hidden, kwargs)
        return (hidden, *rest), self._forward.for_cache(index, hidden, kwargs)

    def _after_layer(self, index: int, module: nn.Module, args: Any, output: Any) -> Any:
        """Add what the decoder would have added, to the tokens that are left."""
        prefill = None if self._forward is None else self._forward.prefill
        return None if prefill is None else prefill.leave_layer(index, output)

    def _after_decoder(self, module: nn.Module, args: Any, output: Any) -> None:
        forward, self._forward = self._forward, None
        if forward is not None and forward.prefill is not None:
            self.stats = forward.prefill.statistics()
            if self._on_prefill is not None:
                self._on_prefill(self.stats)


def _of_sequences(of_samples: Sequence[T], embeddings: Tensor) -> list[T]:
    """What is known of each sample for each sequence: beams of a sample follow one another.

    Raises:
        ValueError: the number of sequences is no multiple of the number of samples.
    """
    batch = len(embeddings)
    if of_samples and batch % len(of_samples):
        raise ValueError(
            f"identify or annotate spoke of {len(of_samples)} samples, but the batch has {batch} "
            "sequences: give one entry for each sample"
        )
    return [item for item in of_samples for _ in range(batch // len(of_samples))]


def axis_positions(position_ids: Tensor | None, axes: int, embeddings: Tensor, past: int) -> Tensor:
    """Position ids on each rotary axis, long `[A, B, S]`, from what a decoder is given.

    Args:
        position_ids: `[A, B, S]`, `[1 + A, B, S]` with text positions first, `[B, S]`, or None.
        axes: A.
        embeddings: `[B, S, E]`.
        past: tokens seen before.
    """
    batch, length = embeddings.shape[:2]
    if position_ids is None:
        position_ids = torch.arange(past, past + length, device=embeddings.device)[None]
    if position_ids.dim() == 3:
        position_ids = position_ids[-axes:]
    return position_ids.expand(axes, batch, length)
