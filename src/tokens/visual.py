"""What a selector sees: rows of visual tokens, and the signals of the model that runs.

Shapes: R rows of up to N tokens, B batch elements, S current sequence length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from .attention import Queries
from .signals import (
    AttentionLayer,
    AttentionOver,
    Signal,
    Signals,
    TextSpan,
    VisionDepth,
    VisionQueries,
)
from .table import TokenRows


@dataclass(frozen=True, eq=False, kw_only=True)
class VisualTokens(TokenRows):
    """Rows of visual tokens at a stage of a running model; geometry and grouping: `TokenRows`.

    Attributes:
        signals: the running model's signals; None where there is no model.
        needs: the signals that were declared; asking for another one is an error.
    """

    signals: Signals | None = None
    needs: frozenset[Signal] = frozenset()

    def with_signals(self, signals: Signals, needs: frozenset[Signal]) -> Self:
        """The same tokens at a stage of a running model."""
        return replace(self, signals=signals, needs=needs, _memo={})

    def detached(self) -> Self:
        return replace(super().detached(), signals=None)

    def values(self) -> Tensor:
        """Value vectors of the visual tokens, `[R, H_kv, N, D]` (padding holds arbitrary ones)."""
        return self.memoise("values", self._gather_values)

    def _gather_values(self) -> Tensor:
        values, _ = self.sequence_values()
        return values[self.sample[:, None], :, self.slot].transpose(1, 2)

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        """Value vectors of the whole current sequence `[B, H_kv, S, D]`, and a mask `[B, S]`."""
        return self._require(Signal.VALUES).sequence_values()

    def text_values(self, span: TextSpan = "after_image") -> tuple[Tensor, Tensor]:
        """Value vectors of the text of each row's sample `[R, H_kv, L, D]`, and a mask `[R, L]`.

        `after_image` is the prompt after the sample's last visual token; samples without any such
        text fall back to all of their text.
        """
        signals = self._require(Signal.VALUES)
        return self.memoise(
            ("text_values", span),
            lambda: self._text_vectors(signals.sequence_values()[0], signals.text_slots(span)),
        )

    def keys(self, *, rope: bool = True) -> Tensor:
        """Keys of the visual tokens in the layer that ran last, `[R, H_kv, N, D]`.

        Args:
            rope: as attention uses them; False leaves them unrotated, which projects them anew.
        """
        keys = self._sequence_keys(rope)
        return keys[self.sample[:, None], :, self.slot].transpose(1, 2)

    def text_keys(
        self, span: TextSpan = "after_image", *, rope: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Keys of the text of each row's sample, `[R, H_kv, L, D]`, and a mask `[R, L]`."""
        signals = self._require(Signal.KEYS)
        return self._text_vectors(self._sequence_keys(rope), signals.text_slots(span))

    def _sequence_keys(self, rope: bool) -> Tensor:
        signals = self._require(Signal.KEYS)
        return self.memoise(("keys", rope), lambda: signals.sequence_keys(rope))

    def _text_vectors(
        self, of_sequence: Tensor, text: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """As `_of_text`, of vectors `[B, H, S, D]` of each head: `[R, H, L, D]`."""
        vectors, mask = self._of_text(of_sequence.transpose(1, 2), text)
        return vectors.transpose(1, 2), mask

    def _of_text(self, of_sequence: Tensor, text: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """What `[B, S, ...]` holds at slots of text, for each row, and the mask of the slots."""
        slots, mask = (x.to(of_sequence.device)[self.sample] for x in text)
        return of_sequence[self.sample[:, None], slots], mask

    @property
    def all_with_text(self) -> bool:
        """Whether every sample has text to ask with; costs no device sync."""
        return self.signals is not None and all(self.signals.text_counts())

    def text(self, span: TextSpan = "after_image") -> Queries:
        """The text tokens of each sample, as queries `[B, L]`; see `text_values`."""
        if self.signals is None:
            raise ValueError("text tokens were asked for, but no model is running here")
        return Queries(*self.signals.text_slots(span))

    def text_positions(self, span: TextSpan = "after_image") -> tuple[Tensor, Tensor]:
        """Position ids of the text of each row's sample, long `[A, R, L]`, and a mask `[R, L]`."""
        if self.signals is None:
            raise ValueError("positions of text were asked for, but no model is running here")
        slots, mask = self.signals.text_places(span)
        return self.signals.positions()[:, self.sample[:, None], slots[self.sample]], mask[
            self.sample
        ]

    def attention(
        self,
        queries: Literal["last", "raters"] | Queries = "last",
        *,
        layer: AttentionLayer = "previous",
        rope: bool = True,
        over: AttentionOver = "sequence",
    ) -> Tensor:
        """Attention that tokens of the row's sample pay to each visual token, `[R, Q, N]` float32.

        Computed from the layer's queries and keys, causal, heads averaged: exactly those rows of
        the eager model's weights, while the model itself runs any attention backend.

        Args:
            queries: the sample's last token (Q = 1), its raters, or slots of your own; rows of a
                padding query are 0.
            layer: the layer that ran last or the one about to run.
            rope: False leaves queries and keys unrotated; keys of earlier turns of a conversation,
                which are cached rotated, then play no part.
            over: the softmax runs over all keys that the query may see, or only over the visual
                tokens of the row.
        """
        return self._attention(queries, layer, rope, over, each_head=False)

    def head_attention(
        self,
        queries: Literal["last", "raters"] | Queries = "last",
        *,
        layer: AttentionLayer = "previous",
        rope: bool = True,
        over: AttentionOver = "sequence",
    ) -> Tensor:
        """As `attention`, of each head by itself: `[R, H, Q, N]` float32."""
        return self._attention(queries, layer, rope, over, each_head=True)

    def _attention(
        self,
        queries: Literal["last", "raters"] | Queries,
        layer: AttentionLayer,
        rope: bool,
        over: AttentionOver,
        *,
        each_head: bool,
    ) -> Tensor:
        wanted = Signal.ATTENTION_PREVIOUS if layer == "previous" else Signal.ATTENTION_NEXT
        signals = self._require(wanted)
        asking = signals.last_token() if queries == "last" else queries
        if isinstance(asking, str):
            asking = self.raters()
        inputs = signals.attention_inputs(asking, layer, rope)
        if over == "image":
            rows = inputs.over_tokens(self.sample, self.slot, self.valid, each_head=each_head)
            return rows.to(self.device)
        rows = inputs.over_sequence(each_head=each_head).to(self.device).movedim(-1, 1)
        return rows[self.sample[:, None], self.slot].movedim(1, -1)

    def raters(self) -> Queries:
        """Text tokens of each sample that resemble its image (SparseVLM), `[B, Q]`.

        With visual and text embeddings V and T: the text tokens whose mean over the visual tokens
        of softmax(V T^T) is above the mean of all.
        """
        return self._require(Signal.RATERS).raters()

    def next_values(self) -> Tensor:
        """Value vectors of the whole current sequence, in the layer about to run.

        `[B, H_kv, S, D]`: one projection, made for the selector.
        """
        return self._require(Signal.VALUES_NEXT).next_values()

    def hidden(self, *, normed: bool = False) -> Tensor:
        """Inputs of the layer about to run, `[R, N, E]`.

        Args:
            normed: behind the norm that ends the language model.
        """
        signals = self._require(Signal.HIDDEN)
        states = signals.hidden()[self.sample[:, None], self.slot]
        return signals.final_norm(states) if normed else states

    def text_hidden(
        self, span: TextSpan = "after_image", *, normed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The same of the text of each row's sample, `[R, L, E]`, and a mask `[R, L]`."""
        signals = self._require(Signal.HIDDEN)
        states, mask = self._of_text(signals.hidden(), signals.text_slots(span))
        return signals.final_norm(states) if normed else states, mask

    def embeddings(self) -> Tensor:
        """Inputs of the language model, `[R, N, E]`."""
        return self._require(Signal.EMBEDDINGS).embeddings()[self.sample[:, None], self.index]

    def text_embeddings(self, span: TextSpan = "after_image") -> tuple[Tensor, Tensor]:
        """The same of the text of each row's sample, `[R, L, E]`, and a mask `[R, L]`."""
        signals = self._require(Signal.EMBEDDINGS)
        return self._of_text(signals.embeddings(), signals.text_places(span))

    def features(self) -> Tensor:
        """Outputs of the vision tower, `[R, N, E_vision]`; merged patches are averaged."""
        return self._require(Signal.FEATURES).features()[self.sample[:, None], self.ordinal]

    def vision_attention(
        self, queries: VisionQueries = "cls", *, depth: VisionDepth = "late"
    ) -> Tensor:
        """Attention that each token receives in the vision tower, float32 `[R, N]`.

        Args:
            queries: from the class token (in towers without one: as "mean"), or the mean over all
                patches of the image.
            depth: an early or a late layer, which the model family names.
        """
        early, late = Signal.VISION_ATTENTION_EARLY, Signal.VISION_ATTENTION_LATE
        signals = self._require(early if depth == "early" else late)
        return signals.vision_attention(queries, depth)[self.sample[:, None], self.ordinal]

    def vision_keys(self, *, depth: VisionDepth = "late", rope: bool = True) -> Tensor:
        """Keys of each token in a layer of the vision tower, `[R, H, N, D]` (H, D: the tower's).

        Merged patches are averaged; tokens that no picture has (newlines, separators) are 0.

        Args:
            depth: an early or a late layer, which the model family names.
            rope: as the tower's attention uses them; False leaves out the rotation of towers that
                have one. Keys that are normalised are so in both.
        """
        early, late = Signal.VISION_KEYS_EARLY, Signal.VISION_KEYS_LATE
        keys = self._require(early if depth == "early" else late).vision_keys(depth, rope)
        return keys[self.sample[:, None], self.ordinal].transpose(1, 2)

    def _require(self, signal: Signal) -> Signals:
        if self.signals is None:
            raise ValueError(f"signal '{signal}' was asked for, but no model is running here")
        if signal not in self.needs:
            raise ValueError(
                f"signal '{signal}' was asked for but not declared: "
                f"add it to the selector's `needs` (declared: {sorted(self.needs)})"
            )
        return self.signals
