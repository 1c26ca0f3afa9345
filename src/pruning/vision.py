"""What the vision tower did for the images of a prefill, recorded for selectors that ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models.base import Family
from ..models.vision_towers.base import AttentionInput, TowerCall, VisionTower
from ..models.vision_towers.places import places
from ..models.vision_towers.received import Received
from ..tokens.signals import FROM_VISION_TOWER, Signal, VisionDepth, VisionQueries
from ..tokens.visual import VisualTokens

_ATTENTION: dict[VisionDepth, Signal] = {
    "early": Signal.VISION_ATTENTION_EARLY,
    "late": Signal.VISION_ATTENTION_LATE,
}
_KEYS: dict[VisionDepth, Signal] = {
    "early": Signal.VISION_KEYS_EARLY,
    "late": Signal.VISION_KEYS_LATE,
}
_KINDS = 2
"""Images and videos: a prefill has at most one call of the tower for each."""


class VisionRecord:
    """Per-sample tables of the vision tower's signals; column = number among the visual tokens.

    B: the batch elements up to the last one with visual tokens. M: ordinals of the tokens' rows,
    those in their padding among them.
    """

    def __init__(
        self,
        tower: VisionTower,
        calls: Sequence[TowerCall],
        place: Tensor,
        needs: frozenset[Signal] = FROM_VISION_TOWER,
    ) -> None:
        """A record of these calls.

        Args:
            needs: what may be asked; what nothing is left to come from is dropped at once.
            place: of the token in each cell of the tables among the tokens of all calls, long
                `[B, M]`; for padding, the number after all.
        """
        self._tower, self._calls, self._place = tower, calls, place
        self._needs = needs
        self._features: Tensor | None = None
        self._keys: dict[tuple[VisionDepth, bool], Tensor] = {}
        self._received: dict[VisionDepth, Received] = {}

    @torch.no_grad()
    def features(self) -> Tensor:
        """Outputs of the tower for each sample's visual tokens, `[B, M, E]`.

        Padding and tokens of no picture (newlines, separators) are 0.
        """
        if self._features is None:
            pieces = []
            for call in self._calls:
                projected, call.projected = call.projected, None
                if projected is None:
                    raise ValueError(_not_recorded("features"))
                pieces.append(self._tower.features(call, projected))
            self._features = self._table(pieces)
        return self._features

    @torch.no_grad()
    def attention_received(self, queries: VisionQueries, depth: VisionDepth) -> Tensor:
        """See `tokens.Signals.vision_attention`; float32 `[B, M]`, 0 as in `features`."""
        if depth not in self._received:
            pieces = [self._attention_received(call, depth) for call in self._calls]
            mean = self._table([piece.mean for piece in pieces])
            cls = self._table([piece.cls for piece in pieces])
            self._received[depth] = Received(mean, cls)
        return self._received[depth].of(queries)

    def _attention_received(self, call: TowerCall, depth: VisionDepth) -> Received:
        given = self._given(call, depth, _ATTENTION[depth])
        if _KEYS[depth] not in self._needs:
            del call.attention[depth]  # what the scores came from may go
        return self._tower.received(call, self._tower.attention[depth], given)

    @torch.no_grad()
    def keys(self, depth: VisionDepth, rope: bool) -> Tensor:
        """See `tokens.Signals.vision_keys`; `[B, M, H, D]`, 0 as in `features`."""
        if (depth, rope) not in self._keys:
            layer = self._tower.attention[depth]
            pieces = [
                self._tower.keys(call, layer, self._given(call, depth, _KEYS[depth]), rope)
                for call in self._calls
            ]
            self._keys[depth, rope] = self._table(pieces)
        return self._keys[depth, rope]

    def _given(self, call: TowerCall, depth: VisionDepth, signal: Signal) -> AttentionInput:
        given = call.attention.get(depth)
        if given is None:
            raise ValueError(_not_recorded(signal))
        return given

    def _table(self, pieces: Sequence[Tensor]) -> Tensor:
        """Tokens of each call `[T, ...]` as a table `[B, M, ...]`."""
        parts = [piece.to(self._place.device) for piece in pieces]
        padding = parts[0].new_zeros(1, *parts[0].shape[1:])
        return torch.cat([*parts, padding])[self._place]


class VisionRecorder:
    """Keeps what the tower's layers receive, by hooks, until the prefill that it belongs to.

    Nothing is computed unless a selector asks, and of earlier prefills nothing is kept.
    """

    def __init__(self, family: Family, core: nn.Module, needs: frozenset[Signal]) -> None:
        """A recorder that is not at work yet.

        Args:
            core: the module that `Family.core` returns.
            needs: signals that selectors will ask for, those of the language model among them.

        Raises:
            ValueError: the family offers no signals of its vision tower.
        """
        self._tower = family.vision_tower(core)
        self._needs = needs
        self._calls: deque[TowerCall] = deque(maxlen=_KINDS)

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Pre-hooks for the tower, and for those of its layers that `needs` speaks of."""
        self._calls.clear()
        tower = self._tower
        hooks: list[tuple[nn.Module, Any]] = [(tower.module, self._begin)]
        if Signal.FEATURES in self._needs:
            hooks.append((tower.projector, self._keep_projected))
        for depth in _ATTENTION:
            if {_ATTENTION[depth], _KEYS[depth]} & self._needs:
                hooks.append((tower.attention[depth], partial(self._keep_attention, depth)))
        return hooks

    def take(self, tokens: VisualTokens) -> VisionRecord | None:
        """The record of the pictures that a prefill shows, which is then forgotten.

        Where sequences were repeated after their images had been encoded (beams, several answers
        to a prompt), all copies share the record of their sample.

        Args:
            tokens: all visual tokens of the prefill, before any pruning.

        Returns:
            the record, or None where the tower has not run since the last one was taken.

        Raises:
            ValueError: the visual tokens are not those of the pictures that were encoded.
        """
        calls = list(self._calls)
        self._calls.clear()
        if not calls:
            return None
        layout = self._tower.layout
        # earlier calls are of a forward that failed before its prefill
        calls = calls[-len(layout.kinds(tokens.rows)) :]
        counts = [self._tower.counts(call) for call in calls]
        place = places(tokens.rows, counts, layout)
        return VisionRecord(self._tower, calls, place.to(tokens.device), self._needs)

    # Hooks -------------------------------------------------------------------------------------

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._calls.append(TowerCall(self._tower.grids(args, kwargs)))

    def _keep_projected(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any) -> None:
        if self._calls:
            self._calls[-1].projected = _hidden(args, kwargs)

    def _keep_attention(
        self, depth: VisionDepth, module: nn.Module, args: tuple[Any, ...], kwargs: Any
    ) -> None:
        if self._calls:
            rest = {name: x for name, x in kwargs.items() if name != "hidden_states"}
            self._calls[-1].attention[depth] = AttentionInput(_hidden(args, kwargs), rest)


def _hidden(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The first argument of a module, which is called with it by position or by name."""
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden.detach()


def _not_recorded(signal: str) -> str:
    return (
        f"signal '{signal}' of the vision tower was not recorded for this prefill: name it in the "
        "selector's `needs`, and let the model encode the pictures inside the prune block"
    )
