"""Cache "recomputed": the layers below a stage run once more, on what it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..policy import BoundStage
from ..selectors.selection import Selection
from .caches.prefill import PrefillCaches


class RunningAgain:
    """What the first run of the layers leaves behind for the second one."""

    def __init__(self, layers: nn.ModuleList, caches: PrefillCaches, embeddings: Tensor) -> None:
        """For a prefill of these embeddings, `[B, S, E]`."""
        self._layers, self._caches, self._embeddings = layers, caches, embeddings
        self._arguments: dict[int, tuple[Sequence[Any], Mapping[str, Any]]] = {}

    def remember(self, index: int, rest: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        """The arguments of a layer but its input, as the decoder made them for the whole input."""
        self._arguments[index] = (rest, keywords)

    def input(self, stage: BoundStage, selection: Selection) -> Tensor:
        """What the first layer was given, `[B, S, E]`.

        Raises:
            ValueError: the stage changes states of its own layer, which the first one has not got.
        """
        if selection.merged is not None or selection.added is not None:
            raise ValueError(
                f"stages.{stage.name}: {type(stage.selector).__name__} merges or adds tokens at "
                "its layer, which cache 'recomputed' cannot do: use 'all_layers' or 'from_stage'"
            )
        return self._embeddings

    def run(self, stage: BoundStage, hidden: Tensor) -> Tensor:
        """Output of the layers before the stage on the survivors alone; their caches start anew."""
        self._caches.forget_before(stage.layer)
        arguments, self._arguments = self._arguments, {}
        for index in range(stage.layer):
            # our own hooks on the layer give it its mask and positions
            rest, keywords = arguments[index]
            hidden = self._layers[index](hidden, *rest, **keywords)
        return hidden
