"""HOW: applies a policy to a live model through forward hooks, without touching its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from ..models.base import Family
from ..models.wrappers import unwrapped
from ..policy import BoundPolicy
from ..tokens.signals import FROM_VISION_TOWER
from .annotation import Boxes
from .caches.names import given_cache, with_cache
from .caches.windows import make_windows
from .checkpointing import is_checkpointed, refuse_checkpointing
from .conversations import Conversations
from .decoder_input import Told, axis_positions, given_embeddings, visual_blocks
from .eager import uncompiled
from .forward_call import ForwardCall
from .generate_guard import (
    check_generate,
    check_padding,
    guarded_generation,
    ids_of_embeddings,
    prompt_ids,
)
from .hooks import Override, add_after, add_before, is_pruned, passed_by
from .layer_arguments import hidden_first
from .losses import PrunedLoss
from .masks import OwnMasks
from .one_thread import OneThread
from .prefill import Prefill
from .sequence.input import PrefillInput
from .statistics import PrefillStatistics
from .vision import VisionRecorder

_PROMPTS = ("input_ids", "inputs_embeds")


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
        self._model = model
        self._core = family.core(model)
        self._decoder: Any = family.text_model(model)
        self._layers = family.layers(model)
        inv_freq = family.inverse_frequencies(model)
        self._frequencies = (inv_freq, family.frequency_axis(model, len(inv_freq)))
        self._told = Told()
        self._vision = None
        if policy.needs & FROM_VISION_TOWER:
            self._vision = VisionRecorder(family, self._core, policy.needs)
        self._block = ExitStack()
        self._one_thread = OneThread()
        self._conversations = Conversations(self._core)
        self._loss = PrunedLoss()
        self._prompts: Tensor | None = None
        self._inputs: dict[str, Any] = {}
        self._kept_back: dict[str, Any] = {}
        self._forward: ForwardCall | None = None
        self._n_calls = 0
        self._entered: set[int] = set()

    @property
    def layers(self) -> dict[str, int]:
        """0-based decoder layer of each stage."""
        return self._policy.layers

    def identify(self, sample_ids: Sequence[str]) -> None:
        """Name the batch elements of the next prefill: random choices follow these ids."""
        self._told = self._told.named(sample_ids)

    def annotate(self, boxes: Sequence[Boxes]) -> None:
        """Annotated boxes of the batch elements of the next prefill, for `tokens.annotated`.

        Args:
            boxes: for each batch element its boxes (x1, y1, x2, y2), perhaps none, as fractions of
                the width and height of its first image.

        Raises:
            ValueError: a box is no box of fractions.
        """
        self._told = self._told.annotated(boxes)

    # Hooks -------------------------------------------------------------------------------------

    def __enter__(self) -> Pruner:
        if is_pruned(self._core):
            raise RuntimeError(
                "prune: a prune block is already active on this model; leave it first, and combine "
                "selectors (Union, TopUp) rather than blocks"
            )
        with ExitStack() as block:
            block.callback(self._forget_call)
            block.enter_context(uncompiled())
            self._add_hooks(block)
            if self._family.layout_arguments:
                # any `generate` encodes the pictures first, and keeps back what tells their layout
                encode = Override(self._core, "get_image_features", self._encode)
                block.callback(encode.remove)
            prunes = bool(self._policy.stages)
            block.push(guarded_generation(self._model, self._generating, prunes))
            has_loss = self._core is not self._model and hasattr(self._model, "loss_function")
            if prunes and has_loss:
                own = "_loss_function"
                loss = Override(self._model, "loss_function", self._loss.compute, own)
                block.callback(loss.remove)
            self._block = block.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._block.close()

    def _encode(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Remember how pictures that are encoded ahead of a prefill are laid out."""
        self._keep_back(kwargs)
        return original(*args, **kwargs)

    def _keep_back(self, arguments: Mapping[str, Any]) -> None:
        names = self._family.layout_arguments
        self._kept_back = {name: arguments[name] for name in names if name in arguments}

    def _forget_call(self) -> None:
        self._inputs, self._forward = {}, None
        self._loss.forget()

    def _add_hooks(self, block: ExitStack) -> None:
        """The hooks of the walk, each to be removed when the block ends."""
        for index, layer in enumerate(self._layers):
            add_before(block, layer, partial(self._before_layer, index))
            add_after(block, layer, partial(self._after_layer, index))
        for module, call in [] if self._vision is None else self._vision.hooks():
            add_before(block, module, call)
        add_before(block, self._core, self._before_core)
        add_before(block, self._decoder, self._before_decoder)
        add_after(block, self._decoder, self._after_decoder)
        add_after(block, self._core, self._after_core, always=True)

    @contextmanager
    def _generating(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Around `generate`: what it is asked for can work, and what it ran was pruned."""
        config = self._model.generation_config
        if self._policy.stages:
            check_generate(config, arguments, windows=self._family.own_masks)
        check_padding(config, arguments)
        with self._one_thread.generating():
            ids = self._prompts = prompt_ids(arguments)
            self._conversations.go_on(given_cache(arguments), 0 if ids is None else len(ids))
            self._keep_back(arguments)
            n_calls = self._n_calls
            try:
                yield
            finally:
                self._prompts, self._kept_back = None, {}
            if self._n_calls == n_calls:
                raise RuntimeError(passed_by("generate ran the model"))

    # The walk of a forward call ----------------------------------------------------------------

    def _before_core(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        """Remember input ids and image sizes: the decoder only sees embeddings."""
        self._one_thread.begin()
        self._forget_call()
        inputs = {"input_ids": args[0], **kwargs} if args else dict(kwargs)
        if inputs.get("mm_encoder_outputs"):  # encoded ahead: the next call has pictures of its own
            kept, self._kept_back = self._kept_back, {}
            inputs.update((k, v) for k, v in kept.items() if inputs.get(k) is None)
        if inputs.get("input_ids") is None:
            inputs["input_ids"] = ids_of_embeddings(inputs.get("inputs_embeds"), self._prompts)
        self._inputs = inputs
        given = next((x for x in map(inputs.get, _PROMPTS) if x is not None), ())
        cache = given_cache(kwargs)
        self._conversations.go_on(cache, len(given))
        if self._family.own_masks and self._policy.stages:
            make_windows(cache)

    def _before_decoder(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Find the visual tokens of a prefill, and see to it that there is a cache."""
        inputs, self._inputs = self._inputs, {}
        self._n_calls, self._entered = self._n_calls + 1, set()
        cache = given_cache(kwargs)
        past = 0 if cache is None else cache.get_seq_length()
        embeddings = given_embeddings(kwargs)
        positions = axis_positions(
            kwargs.get("position_ids"), self._family.rotary_axes, embeddings, past
        )
        blocks = []
        is_step = past > 0 and positions.shape[-1] == 1
        prunes = bool(self._policy.stages)
        if not is_step:
            blocks = visual_blocks(self._family, self._core, inputs, positions, required=prunes)
        if is_checkpointed(self._layers):
            if blocks and prunes:
                refuse_checkpointing()
        elif cache is None and blocks and (prunes or kwargs.get("use_cache") is not False):
            cache = DynamicCache(config=self._decoder.config)
            kwargs = with_cache(kwargs, cache, unwrapped(self._decoder).forward)
        additions: dict[int, Tensor] = {}
        if blocks and prunes:
            kwargs, additions = self._family.layer_additions(kwargs)
        rotary = partial(self._family.rotary, self._decoder)
        own_masks = OwnMasks(past) if self._family.own_masks else None
        if own_masks is not None and prunes and not past:
            make_windows(cache)
        mask = (kwargs if own_masks is None else inputs).get("attention_mask")
        config = self._decoder.config
        needs_ids = self._family.needs_position_ids(config)
        prefill = None
        if cache is not None and (blocks or past == 0):
            told = self._told.of_sequences(embeddings)
            given = PrefillInput(
                blocks=blocks,
                embeddings=embeddings,
                positions=positions,
                attention_mask=mask,
                cache=cache,
                seeds=told.seeds,
                rotary=rotary,
                norm=partial(self._family.final_norm, self._decoder),
                boxes=told.boxes,
                vision=None if self._vision is None else self._vision.take,
                additions=additions,
            )
            prefill = Prefill(self._family, self._policy, self._layers, self._frequencies, given)
        self._forward = ForwardCall(
            config, cache, mask, positions, rotary, own_masks, needs_ids, prefill
        )
        if not is_step:
            self._told = Told()
            self._conversations.remember(cache, positions, mask, past)
        return args, kwargs

    def _before_layer(
        self, index: int, module: nn.Module, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        """Run the stage of this layer, if any; give the layer what is left, and its own mask."""
        if self._forward is None:
            return None
        self._entered.add(index)
        hidden, rest, kwargs = hidden_first(module, args, kwargs)
        kwargs = self._forward.shifted(index, hidden, kwargs)
        if self._forward.prefill is not None:
            hidden, rest, kwargs = self._forward.prefill.enter_layer(index, hidden, rest, kwargs)
        return (hidden, *rest), self._forward.for_cache(index, hidden, kwargs)

    def _after_layer(self, index: int, module: nn.Module, args: Any, output: Any) -> Any:
        """Add what the decoder would have added, to the tokens that are left."""
        prefill = None if self._forward is None else self._forward.prefill
        return None if prefill is None else prefill.leave_layer(index, output)

    def _after_decoder(self, module: nn.Module, args: Any, output: Any) -> None:
        forward, self._forward = self._forward, None
        if missed := len(self._layers) - len(self._entered):
            raise RuntimeError(passed_by(f"the decoder ran {missed} of its layers"))
        if forward is not None and forward.prefill is not None:
            self.stats = forward.prefill.statistics()
            self._loss.expect(forward.prefill.text_left())
            if self._on_prefill is not None:
                self._on_prefill(self.stats)
        if forward is not None and self._family.own_masks and self._policy.stages:
            make_windows(forward.cache)

    def _after_core(self, module: nn.Module, args: Any, output: Any) -> None:
        """Also after an exception, which leaves no output."""
        self._one_thread.end()
        if output is not None and self._inputs:
            raise RuntimeError(passed_by("the model ran its decoder"))
