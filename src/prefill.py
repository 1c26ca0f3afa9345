"""One prefill: its visual tokens, and the shrinking sequence as stage after stage prunes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from .kv_cache import PrunedLayer, drop_entries, prunable_layers, stored_length
from .models.base import Block, Family, visual_tokens
from .policy import BoundPolicy, BoundStage
from .repack import Repack
from .signals import LayerInput, LiveSignals, TextTokens
from .statistics import CacheLayerSize, PrefillStatistics
from .tokens import Signal, VisualTokens


@dataclass(frozen=True)
class PrefillInput:
    """What the decoder receives for a prefill of S new tokens.

    Attributes:
        blocks: visual blocks, in input order; empty for text alone.
        embeddings: `[B, S, E]`.
        positions: position ids on each rotary axis, `[A, B, S]`.
        attention_mask: padding mask `[B, past + S]`, or None without padding.
        cache: written by the decoder; may hold earlier turns.
        seeds: one integer per batch element, or none.
        rotary: cos and sin for new position ids, see `Family.rotary`.
    """

    blocks: Sequence[Block]
    embeddings: Tensor
    positions: Tensor
    attention_mask: Tensor | None
    cache: Cache
    seeds: Sequence[int]
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Prefill:
    """The state of one prefill under a policy.

    Attributes:
        valid: real tokens of the current sequence, bool `[B, S]`, or None for all.
    """

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
        self._cache = given.cache
        self._seen_valid = _padding_mask(given.attention_mask, required=bool(self._stages))
        self._past = [stored_length(layer) for layer in given.cache.layers]
        self._past += [0] * (len(layers) - len(self._past))
        self._input_length = self._length = given.embeddings.shape[1]
        self._previous: LayerInput | None = None
        self._rotary: tuple[Tensor, Tensor] | None = None
        self._prunable: list[PrunedLayer] = []
        self._make_rotary, self._positions = given.rotary, given.positions[0]
        self._shift: Tensor | None = None
        self._kept_by_stage: dict[str, list[int]] = {}
        self.valid = None
        if self._seen_valid is not None:
            self.valid = self._seen_valid[:, -self._length :]
        self._tokens: VisualTokens | None = None
        if given.blocks:
            inv_freq, axis = frequencies
            self._tokens = visual_tokens(given.blocks, given.positions, inv_freq, given.seeds, axis)
        self._before = self._tokens
        self._find_text(given)

    @property
    def reassigned(self) -> bool:
        """Whether layers from here on have contiguous positions of this prefill's making."""
        return self._shift is not None

    # Set-up ------------------------------------------------------------------------------------

    def _find_text(self, given: PrefillInput) -> None:
        """Masks and numbers of the text tokens, with one device sync."""
        batch, length = given.embeddings.shape[:2]
        device = given.embeddings.device
        self._n_visual = [0] * batch
        last_visual = [-1 - self._family.text_skip] * batch
        for block in given.blocks:
            self._n_visual[block.sample] += len(block.cell)
            end = block.start + len(block.cell) - 1
            last_visual[block.sample] = max(last_visual[block.sample], end)
        text = torch.ones(batch, length, dtype=torch.bool, device=device)
        if self.valid is not None:
            text = self.valid.clone()
        if self._tokens is not None:
            text &= ~self._in_sequence(self._tokens.valid)
        first = torch.tensor(last_visual, device=device)[:, None] + self._family.text_skip
        after = text & (torch.arange(length, device=device) > first)
        n_text, n_after = torch.stack([text.sum(1), after.sum(1)]).tolist()
        self._n_text: list[int] = n_text
        self._text = TextTokens(text, after, n_text, n_after)
        n_real = [t + v for t, v in zip(n_text, self._n_visual, strict=True)]
        if all(n == length for n in n_real):
            self.valid = None

    # Layers ------------------------------------------------------------------------------------

    def enter_layer(
        self, index: int, hidden: Tensor, kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """Run the stage of this layer, if any.

        Args:
            index: decoder layer about to run.
            hidden: its input `[B, S, E]`.
            kwargs: its keyword arguments, as the decoder made them for the whole input.

        Returns:
            the input and the keyword arguments for what is left of the sequence.
        """
        rotary = self._rotary or kwargs["position_embeddings"]
        if (stage := self._stages.get(index)) is not None:
            hidden, rotary = self._run(stage, hidden, rotary)
        self._previous = None
        following = self._stages.get(index + 1)
        if following is not None and Signal.ATTENTION_PREVIOUS in following.needs:
            self._previous = LayerInput(self._layers[index], hidden, *rotary)
        if self._rotary is None:
            return hidden, dict(kwargs)
        layer = self._prunable[index]
        layer.dropped += self._input_length - self._length
        if self._shift is not None:
            layer.shift = self._shift
        return hidden, {**kwargs, "position_embeddings": rotary}

    def _run(
        self, stage: BoundStage, hidden: Tensor, rotary: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        assert self._tokens is not None
        tokens = self._tokens.with_signals(self._signals(stage, hidden, rotary), stage.needs)
        keep = _checked(stage, stage.selector.select(tokens), tokens)
        counts: list[int] = keep.sum(dim=1).tolist()
        self._kept_by_stage[stage.name] = self._per_sample(counts)
        if counts == tokens.count:
            return hidden, rotary
        n_kept = [
            text + visual
            for text, visual in zip(self._n_text, self._kept_by_stage[stage.name], strict=True)
        ]
        repack = Repack.of(self._text.all | self._in_sequence(keep), n_kept)
        self._compact_caches(stage, repack)
        new_slot = repack.slot[tokens.sample[:, None], tokens.slot]
        self._tokens = self._tokens.survivors(keep, counts, new_slot)
        self._text = self._text.repacked(repack)
        self._length, self.valid = max(n_kept), repack.valid
        self._rotary = (repack.take(rotary[0]), repack.take(rotary[1]))
        hidden = repack.take(hidden)
        if self._policy.positions == "reassign":
            self._rotary = self._reassign(stage, hidden, repack)
        return hidden, self._rotary

    def _signals(
        self, stage: BoundStage, hidden: Tensor, rotary: tuple[Tensor, Tensor]
    ) -> LiveSignals:
        before = stage.layer - 1
        return LiveSignals(
            family=self._family,
            next=LayerInput(self._layers[stage.layer], hidden, *rotary),
            previous=self._previous,
            previous_layer=self._layers[before] if stage.layer else None,
            previous_cache=self._cache.layers[before] if stage.layer else None,
            past=self._past[before] if stage.layer else 0,
            valid=self.valid,
            text=self._text,
        )

    def _compact_caches(self, stage: BoundStage, repack: Repack) -> None:
        """Drop the tokens from earlier layers at once, so that peak memory falls too."""
        self._prunable = prunable_layers(self._cache, len(self._layers), self._seen_valid)
        for index in range(stage.layer):
            if self._policy.reaches(stage, index):
                drop_entries(self._prunable[index], self._past[index], repack)

    def _reassign(self, stage: BoundStage, hidden: Tensor, repack: Repack) -> tuple[Tensor, Tensor]:
        """Contiguous positions from the first real token on, for all layers that follow."""
        self._positions = logical = repack.take(self._positions)
        real = torch.ones_like(logical) if repack.valid is None else repack.valid.long()
        far = torch.iinfo(logical.dtype).max
        first = logical.masked_fill(real == 0, far).amin(dim=1, keepdim=True)
        earlier = self._prunable[stage.layer].shift
        if earlier is not None:
            first = first - earlier[:, None]
        positions = first + (real.cumsum(dim=1) - 1).clamp(min=0)
        self._shift = logical[:, -1] - positions[:, -1]
        return self._make_rotary(hidden, positions)

    def _in_sequence(self, mask: Tensor) -> Tensor:
        """A mask of visual tokens `[R, N]` as a mask of the current sequence `[B, S]`."""
        assert self._tokens is not None
        batch, length = len(self._n_visual), self._length
        flat = torch.zeros(batch * length + 1, dtype=torch.bool, device=mask.device)
        place = self._tokens.sample[:, None] * length + self._tokens.slot
        flat[place.masked_fill(~mask, batch * length)] = True
        return flat[:-1].view(batch, length)

    def _per_sample(self, counts: Sequence[int]) -> list[int]:
        assert self._tokens is not None
        kept = [0] * len(self._n_visual)
        for row, count in zip(self._tokens.rows, counts, strict=True):
            kept[row.sample] += count
        return kept

    # Result ------------------------------------------------------------------------------------

    def statistics(self) -> PrefillStatistics:
        """What the caches hold of this prefill, once every layer has run."""
        return PrefillStatistics(
            n_visual=self._n_visual,
            n_text=self._n_text,
            kept_by_stage=self._kept_by_stage,
            before=self._before,
            after=self._tokens,
            cache_layers=[self._size(i) for i in range(len(self._layers))],
        )

    def _size(self, index: int) -> CacheLayerSize:
        layer: Any = self._cache.layers[index]
        past = self._past[index]
        valid = layer.valid if isinstance(layer, PrunedLayer) else self._seen_valid
        token_bytes = [
            x.shape[1] * x.shape[3] * x.element_size() for x in (layer.keys, layer.values)
        ]
        return CacheLayerSize(
            stored=stored_length(layer) - past,
            valid=None if valid is None else valid[:, past:],
            bytes_per_token=sum(token_bytes),
        )


def _padding_mask(mask: Any, required: bool) -> Tensor | None:
    """A 2-D padding mask as bool; other masks are an error only where something is pruned."""
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return mask.bool()
    if mask is not None and required:
        kind = f"{mask.dim()}-D tensor" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"attention_mask is a {kind}: pruning needs the 2-D padding mask [batch, length] that "
            "processors return, since it builds the masks of pruned layers itself"
        )
    return None


def _checked(stage: BoundStage, keep: Tensor, tokens: VisualTokens) -> Tensor:
    """What the selector keeps, with the special tokens and without padding."""
    name = type(stage.selector).__name__
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool or keep.shape != tokens.shape:
        got = f"{keep.dtype} {tuple(keep.shape)}" if isinstance(keep, Tensor) else type(keep)
        raise ValueError(
            f"stages.{stage.name}: {name}.select returned {got}, but a bool tensor of shape "
            f"{tokens.shape} is expected"
        )
    return (keep | tokens.special) & tokens.valid
