"""What selectors may ask a running model for, and who answers."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from .attention import AttentionInputs, Queries

TextSpan = Literal["after_image", "following_image", "all"]
"""The text that may ask about the image, without its closing tokens (`Family.text_skip`); every
text token after the sample's last visual token; all text."""
AttentionLayer = Literal["previous", "next"]
AttentionOver = Literal["sequence", "image"]
VisionDepth = Literal["early", "late"]
VisionQueries = Literal["cls", "mean"]


class Signal(StrEnum):
    """What a selector may ask a running model for; it names its wishes in `Selector.needs`."""

    VALUES = "values"
    """Value vectors of the last layer that ran."""
    VALUES_NEXT = "values_next"
    """Value vectors of the layer about to run."""
    ATTENTION_PREVIOUS = "attention_previous"
    """Attention rows of the last layer that ran."""
    ATTENTION_NEXT = "attention_next"
    """Attention rows of the layer about to run."""
    KEYS = "keys"
    """Keys of the last layer that ran, rotated or not."""
    RATERS = "raters"
    """The text tokens that resemble the image (SparseVLM)."""
    EMBEDDINGS = "embeddings"
    """Inputs of the language model."""
    HIDDEN = "hidden"
    """Inputs of the layer about to run, behind the final norm where that is asked for."""
    FEATURES = "features"
    """Outputs of the vision tower."""
    VISION_ATTENTION_EARLY = "vision_attention_early"
    """Attention received in an early layer of the vision tower."""
    VISION_ATTENTION_LATE = "vision_attention_late"
    """Attention received in a late layer of the vision tower."""
    VISION_KEYS_EARLY = "vision_keys_early"
    """Keys of an early layer of the vision tower."""
    VISION_KEYS_LATE = "vision_keys_late"
    """Keys of a late layer of the vision tower."""


FROM_PREVIOUS_LAYER = frozenset({Signal.VALUES, Signal.KEYS, Signal.ATTENTION_PREVIOUS})
"""Signals that a stage at layer 0 cannot have."""
FROM_NEXT_LAYER = frozenset({Signal.VALUES_NEXT, Signal.ATTENTION_NEXT})
"""Signals that the layer of the stage itself must offer."""
FROM_VISION_TOWER = frozenset(
    {
        Signal.FEATURES,
        Signal.VISION_ATTENTION_EARLY,
        Signal.VISION_ATTENTION_LATE,
        Signal.VISION_KEYS_EARLY,
        Signal.VISION_KEYS_LATE,
    }
)
"""Signals that are recorded while the images are encoded."""


class Asking:
    """A part of a policy that asks a running model for signals; it names them in `needs`."""

    needs: ClassVar[frozenset[Signal]] = frozenset()


class Signals(Protocol):
    """Sequence-level signals of one prefill, in the CURRENT sequence (after earlier stages)."""

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        """Value vectors `[B, H_kv, S, D]` and the validity mask `[B, S]`."""

    def next_values(self) -> Tensor:
        """Value vectors `[B, H_kv, S, D]` of the layer about to run, projected for the selector."""

    def sequence_keys(self, rope: bool) -> Tensor:
        """Keys `[B, H_kv, S, D]` of the last layer that ran, rotated or not."""

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        """Slots of each sample's text tokens, long `[B, L]`, and their mask `[B, L]`.

        A sample without the text that is asked for answers with all of its text.
        """

    def text_places(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        """The same tokens as `text_slots`, as positions in the (padded) input sequence."""

    def positions(self) -> Tensor:
        """Position ids of the input on each rotary axis, long `[A, B, S_input]`."""

    def text_counts(self) -> list[int]:
        """Text tokens of each sample, as Python ints."""

    def last_token(self) -> Queries:
        """The last token of each sample."""

    def raters(self) -> Queries:
        """The text tokens of each sample that resemble its image."""

    def attention_inputs(
        self, queries: Queries, layer: AttentionLayer, rope: bool
    ) -> AttentionInputs:
        """Queries and keys of a layer, rotated or not."""

    def hidden(self) -> Tensor:
        """Inputs of the layer about to run, `[B, S, E]`."""

    def final_norm(self, states: Tensor) -> Tensor:
        """Hidden states `[..., E]` behind the norm that ends the language model."""

    def embeddings(self) -> Tensor:
        """Inputs of the language model before any pruning, `[B, S_input, E]`."""

    def features(self) -> Tensor:
        """Outputs of the vision tower for each sample's visual tokens, `[B, M, E_vision]`."""

    def vision_attention(self, queries: VisionQueries, depth: VisionDepth) -> Tensor:
        """Attention that each sample's visual tokens receive in the vision tower, `[B, M]`."""

    def vision_keys(self, depth: VisionDepth, rope: bool) -> Tensor:
        """Keys of each sample's visual tokens in the vision tower, `[B, M, H, D]`."""
