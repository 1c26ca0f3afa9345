"""One prefill: its visual tokens, and the shrinking sequence as stage after stage prunes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..models.base import Family, device_of
from ..models.rotary import Rotary, each_rotary
from ..policy import BoundPolicy, BoundStage
from ..selectors.selection import Selection, checked_selection
from ..tokens.copies import Copies
from ..tokens.signals import Signal
from .caches.prefill import PrefillCaches
from .layer_arguments import LayerArguments, states_alone
from .live_signals import InputSignals, LayerInput, LiveSignals
from .rotaries import Contiguous, LayerRotaries
from .running_again import RunningAgain
from .sequence.input import PrefillInput, input_sequence, input_tokens, padding_mask
from .sequence.packing import Insertion, Repack
from .sequence.slots import in_sequence, with_states
from .statistics import PrefillStatistics

_ANEW = frozenset({Signal.ATTENTION_PREVIOUS, Signal.KEYS})
"""Signals that may project what the previous layer was given once more."""


class Prefill:
    """The state of one prefill under a policy."""

    def __init__(
        self,
        family: Family,
        policy: BoundPolicy,
        layers: nn.ModuleList,
        frequencies: tuple[Tensor, Tensor],
        given: PrefillInput,
    ) -> None:
        self._family, self._policy, self._layers = family, policy, layers
        self._stages = {stage.layer: stage for stage in policy.stages} if given.blocks else {}
        self._caches = PrefillCaches(
            given.cache,
            layers,
            padding_mask(given.attention_mask, required=bool(self._stages)),
            repeats=bool(self._stages) and policy.cache == "recomputed",
            indexed=family.own_masks,
        )
        tokens = input_tokens(given, frequencies) if given.blocks else None
        whole = input_sequence(given, tokens, self._caches.seen_valid, family.text_skip)
        if whole.is_full:
            self._caches.without_padding()
        self._whole, self._tokens, self._sequence = whole, tokens, whole.sequence
        self._signals_of_input = self._input_signals(given)
        self._make_rotary, self._rotaries = given.rotary, LayerRotaries()
        self._contiguous: Contiguous | None = None
        self._previous: LayerInput | None = None
        self._arguments = LayerArguments(family, given.embeddings.shape[1])
        self._kept_by_stage: dict[str, list[int]] = {}
        self._added_by_stage: dict[str, list[int]] = {}
        self._again: RunningAgain | None = None
        if self._stages and policy.cache == "recomputed":
            self._again = RunningAgain(layers, self._caches, given.embeddings)

    @property
    def valid(self) -> Tensor | None:
        """Real tokens of the current sequence, bool `[B, S]`, or None for all."""
        return self._sequence.valid

    @property
    def origin(self) -> Tensor | None:
        """Slot of the input that each token comes from, long `[B, S]`; None for all in order."""
        return self._sequence.origin

    @property
    def pruned(self) -> bool:
        """Whether anything has left the sequence, or joined it."""
        return self._sequence.origin is not None or self.reassigned

    @property
    def positions(self) -> Tensor:
        """Position ids of the current sequence on the first rotary axis, long `[B, S]`."""
        held = self._sequence if self._contiguous is None else self._contiguous
        return held.positions

    @property
    def reassigned(self) -> bool:
        """Whether layers from here on have contiguous positions of this prefill's making."""
        return self._contiguous is not None

    # Set-up ------------------------------------------------------------------------------------

    def _input_signals(self, given: PrefillInput) -> InputSignals | None:
        if self._tokens is None or not self._stages:
            return None
        asked = self._policy.needs & {Signal.EMBEDDINGS, Signal.RATERS}
        return InputSignals(
            embeddings=given.embeddings if asked else None,
            text=self._sequence.text,
            visual=self._tokens,
            vision=None if given.vision is None else given.vision(self._tokens),
            positions=given.positions,
            norm=given.norm,
        )

    # Layers ------------------------------------------------------------------------------------

    def enter_layer(
        self, index: int, hidden: Tensor, rest: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, list[Any], dict[str, Any]]:
        """Run the stage of this layer, if any.

        Args:
            index: decoder layer about to run.
            hidden: its input `[B, S, E]`.
            rest, kwargs: its other arguments, as the decoder made them for the whole input.

        Returns:
            the input and the arguments for what is left of the sequence.
        """
        if self._stages:
            self._arguments.check(self._layers[index], hidden, rest, kwargs)
        if self._again is not None and not self.pruned:
            self._again.remember(index, rest, kwargs)
        rotary = self._rotary(kwargs)
        if (stage := self._stages.get(index)) is not None:
            hidden = self._run(stage, hidden, rotary)
            rotary = self._rotary(kwargs)
        self._previous = None
        following = self._stages.get(index + 1)
        if following is not None and following.needs & _ANEW:
            self._previous = LayerInput(self._layers[index], hidden, rotary)
        if not self.pruned:
            return hidden, list(rest), dict(kwargs)
        layer = self._caches.pruned(index)
        if layer is not None:
            layer.lose(self._whole.sequence.length - self._sequence.length)
            if self._contiguous is not None:
                layer.shift = self._contiguous.shift
        rest, kwargs = self._arguments.left(self._layers[index], rest, kwargs, self.origin)
        return hidden, rest, {**kwargs, "position_embeddings": rotary}

    def leave_layer(self, index: int, hidden: Any) -> Tensor:
        """The output of a layer, with what the decoder would have added to it."""
        states = states_alone(self._layers[index], hidden)
        addition = self._sequence.additions.get(index)
        return states if addition is None else states + addition.to(states)

    def _run(self, stage: BoundStage, hidden: Tensor, rotary: Rotary) -> Tensor:
        """The stage's selection, and the input of its layer for what is left."""
        assert self._tokens is not None
        device = device_of(self._layers[stage.layer], hidden.device)
        hidden, rotary = hidden.to(device), each_rotary(lambda x: x.to(device), rotary)
        self._tokens, self._sequence = self._tokens.to(device), self._sequence.to(device)
        tokens = self._tokens.with_signals(self._signals(stage, hidden, rotary), stage.needs)
        selection = checked_selection(stage, stage.selector.select(tokens), tokens)
        if selection.merged is not None:
            hidden = with_states(hidden, tokens, selection.keep, selection.merged)
        counts = stage.selector.sizes(tokens) or selection.keep.sum(dim=1).tolist()
        self._kept_by_stage[stage.name] = self._whole.per_sample(counts)
        if counts == tokens.count and selection.added is None:
            if self.reassigned:  # earlier turns may have left other positions from here on
                self._reassign(stage, hidden)
            return hidden
        text = self._sequence.text.all
        keep = text | in_sequence(tokens, selection.keep, text)
        repack = Repack.of(keep, self._whole.n_real(counts))
        # at once, so that peak memory falls too
        earlier = filter(partial(self._policy.reaches, stage), range(stage.layer))
        self._caches.compact(earlier, self._sequence, keep, repack)
        if self._again is not None:
            hidden = self._again.input(stage, selection)
        hidden = self._compact(stage, selection, counts, repack, hidden)
        if self._policy.positions == "reassign":
            self._reassign(stage, hidden)
        return hidden if self._again is None else self._again.run(stage, hidden)

    def _compact(
        self,
        stage: BoundStage,
        selection: Selection,
        counts: list[int],
        repack: Repack,
        hidden: Tensor,
    ) -> Tensor:
        """Close the gaps in everything that is per token, and let added tokens join.

        Args:
            counts: kept tokens of each row.
        """
        assert self._tokens is not None
        tokens, before = self._tokens, self._sequence
        self._sequence = before.packed(repack)
        hidden = repack.take(hidden)
        slot = repack.slot[tokens.sample[:, None], tokens.slot]
        copies, added = None, selection.added
        n_added = [0] if added is None else added.valid.sum(dim=1).tolist()
        if added is not None and any(n_added):
            if self._family.own_masks:
                raise ValueError(
                    f"stages.{stage.name}: {type(stage.selector).__name__} adds tokens, which have "
                    f"no place in the masks of the family {self._family.name!r}"
                )
            n_kept = self._whole.n_real(counts)
            insertion = Insertion.behind(tokens, added.valid, repack, n_kept)
            source = tokens.slot.gather(1, added.origin)
            self._added_by_stage[stage.name] = self._whole.per_sample(n_added)
            copies = Copies(added.origin, added.valid, insertion.slots(max(n_kept)))
            hidden = insertion.join(hidden, added.states)
            slot = insertion.moved(tokens.sample[:, None], slot)
            counts = [kept + new for kept, new in zip(counts, n_added, strict=True)]
            self._sequence = self._sequence.joined_by(insertion, stage.layer, before, source)
        self._tokens = tokens.survivors(selection.keep, counts, slot, copies)
        return hidden

    def _signals(self, stage: BoundStage, hidden: Tensor, rotary: Rotary) -> LiveSignals:
        assert self._signals_of_input is not None
        return LiveSignals(
            family=self._family,
            next=LayerInput(self._layers[stage.layer], hidden, rotary),
            next_cache=self._caches.of_layer(stage.layer),
            previous=self._previous,
            previous_cache=self._caches.of_layer(stage.layer - 1) if stage.layer else None,
            valid=self.valid,
            text=self._sequence.text,
            input=self._signals_of_input,
        )

    def _reassign(self, stage: BoundStage, hidden: Tensor) -> None:
        """Contiguous positions from the first real token on, for all layers that follow."""
        earlier = self._caches.shift_from(stage.layer)
        make = partial(self._make_rotary, hidden)
        self._contiguous = Contiguous.of(self._sequence, earlier, make)

    def _rotary(self, kwargs: Mapping[str, Any]) -> Rotary:
        """The rotary embedding of the current sequence in a layer with these arguments."""
        if self._contiguous is not None:
            return self._contiguous.rotary
        return self._rotaries.current(kwargs, self._sequence.origin)

    # Result ------------------------------------------------------------------------------------

    def text_left(self) -> tuple[Tensor, Tensor] | None:
        """Text of the input, bool `[B, S]`, and of what is left; None where nothing was pruned."""
        if not self.pruned:
            return None
        return self._whole.sequence.text.all, self._sequence.text.all

    def statistics(self) -> PrefillStatistics:
        """What the caches hold of this prefill, once every layer has run."""
        return PrefillStatistics(
            n_visual=self._whole.n_visual,
            n_text=self._whole.n_text,
            kept_by_stage=self._kept_by_stage,
            before=self._whole.tokens,
            after=self._tokens,
            cache_layers=self._caches.sizes(),
            added_by_stage=self._added_by_stage,
        )
