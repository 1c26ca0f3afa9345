"""What the core must know about a model family; one file a family implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PretrainedConfig,
    PreTrainedModel,
)

from ..rows import Row
from ..tokens import VisualTokens
from .vision_towers.base import VisionTower

SELECTION_LAYER = "ivcprune_selection_layer"
"""Key of a checkpoint's config.json for a layer that was chosen for it (paper A.2)."""

Rotary = Tensor | tuple[Tensor, ...]
"""What a decoder hands its layers as rotary embedding: cos and sin, or complex rotations."""


def each_rotary(change: Callable[[Tensor], Tensor], rotary: Rotary) -> Rotary:
    """The same change of every tensor of a rotary embedding."""
    return change(rotary) if isinstance(rotary, Tensor) else tuple(map(change, rotary))


def device_of(layer: nn.Module, otherwise: torch.device) -> torch.device:
    """Where a layer computes; `otherwise` where its weights are offloaded."""
    weight = next(layer.parameters(), None)
    return otherwise if weight is None or weight.is_meta else weight.device


def each_pair(change: Callable[[Tensor, Tensor], Tensor], first: Rotary, second: Rotary) -> Rotary:
    """A function of the tensors of two rotary embeddings of the same kind."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return change(first, second)
    return tuple(change(x, y) for x, y in zip(first, second, strict=True))


@dataclass(frozen=True)
class Block:
    """One run of visual tokens in the input: an image, a video frame, a thumbnail or a tile.

    Attributes:
        sample, image, kind, grid: see `rows.Row`.
        start: index of the first token in the (padded) input sequence.
        cell: row and column of each token, long `[n, 2]` on the CPU.
        xy: centre of each token in the original image in [0, 1], float `[n, 2]` on the CPU.
        special: newline and separator tokens, bool `[n]`, or None for none.
        eligible: tokens that a ranking may take, bool `[n]`, or None for all.
        thumbnail_cell: of a tile, the cell of the image's thumbnail that shows the area of each
            token, long `[n, 2]`, (-1, -1) for none; None where that is not known.
    """

    sample: int
    image: int
    kind: str
    grid: tuple[int, int]
    start: int
    cell: Tensor
    xy: Tensor
    special: Tensor | None = None
    eligible: Tensor | None = None
    thumbnail_cell: Tensor | None = None

    @classmethod
    def full(cls, sample: int, image: int, kind: str, grid: tuple[int, int], start: int) -> Block:
        """A block whose tokens are its grid in raster order, covering the whole image."""
        height, width = grid
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cell = torch.stack([rows, columns], dim=-1).view(-1, 2)
        xy = (cell.flip(-1) + 0.5) / torch.tensor([width, height])
        return cls(sample, image, kind, grid, start, cell, xy)


def visual_tokens(
    blocks: Sequence[Block],
    positions: Tensor,
    inv_freq: Tensor,
    seeds: Sequence[int],
    frequency_axis: Tensor | None = None,
) -> VisualTokens:
    """Rows of visual tokens from blocks.

    Args:
        blocks: in input order within each sample; at least one.
        positions: position ids of the input on each rotary axis, long `[A, B, S]`.
        inv_freq: rotary frequencies, float `[d / 2]`.
        seeds: one integer per batch element, or none.
        frequency_axis: rotary axis of each frequency, long `[d / 2]`; None: all of axis 0.
    """
    if frequency_axis is None:
        frequency_axis = torch.zeros(len(inv_freq), dtype=torch.long)
    device, length = positions.device, positions.shape[-1]
    counts = [len(block.cell) for block in blocks]
    column = torch.arange(max(counts))
    start = torch.tensor([block.start for block in blocks])
    before: dict[int, int] = {}
    offsets = []
    for block, count in zip(blocks, counts, strict=True):
        offsets.append(before.get(block.sample, 0))
        before[block.sample] = offsets[-1] + count
    index = (start[:, None] + column).clamp(max=length - 1).to(device)
    sample = torch.tensor([block.sample for block in blocks], device=device)
    rows = tuple(
        Row(b.sample, b.image, b.kind, b.grid, count, count)
        for b, count in zip(blocks, counts, strict=True)
    )
    falses = [torch.zeros(n, dtype=torch.bool) for n in counts]
    special = [f if b.special is None else b.special for b, f in zip(blocks, falses, strict=True)]
    eligible = [
        ~f if b.eligible is None else b.eligible for b, f in zip(blocks, falses, strict=True)
    ]
    return VisualTokens(
        rows=rows,
        blocks=rows,
        block=torch.arange(len(blocks), device=device)[:, None].expand(-1, max(counts)),
        index=index,
        slot=index,
        ordinal=_ordinals(offsets, counts).to(device),
        cell=_pad([block.cell for block in blocks], device),
        xy=_pad([block.xy for block in blocks], device),
        positions=positions[:, sample[:, None], index],
        inv_freq=inv_freq.to(device),
        frequency_axis=frequency_axis.to(device),
        special=_pad(special, device),
        eligible=_pad(eligible, device),
        all_alike=all(b.special is None and b.eligible is None for b in blocks),
        added=torch.zeros_like(index, dtype=torch.bool),
        seeds=tuple(seeds),
        thumbnail_cell=_thumbnail_cells(blocks, device),
    )


def _thumbnail_cells(blocks: Sequence[Block], device: torch.device) -> Tensor | None:
    cells = [b.thumbnail_cell if b.kind == "tile" else b.cell for b in blocks]
    known = [cell for cell in cells if cell is not None]
    return _pad(known, device) if len(known) == len(cells) else None


def _ordinals(offsets: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Number of each token among its sample's; padding repeats the row's last token."""
    column = torch.arange(max(counts))
    last = torch.tensor(counts)[:, None] - 1
    return torch.tensor(offsets)[:, None] + torch.minimum(column, last)


def _pad(items: list[Tensor], device: torch.device) -> Tensor:
    return nn.utils.rnn.pad_sequence(items, batch_first=True).to(device)


class Family(ABC):
    """Where a family's layers are, how its visual tokens are laid out, how its attention projects.

    Attributes:
        name: the family's name in configs and results.
        model_types: `config.model_type` values that it covers.
        text_skip: tokens directly after the last visual token that are no text query (the closing
            vision token, and the one after it, which the published code skips too).
        rotary_axes: 1, or 3 for M-RoPE.
        spare_layers: layers whose cache the published method leaves full.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    text_skip: ClassVar[int] = 2
    rotary_axes: ClassVar[int] = 1
    spare_layers: ClassVar[tuple[int, ...]] = ()

    def core(self, model: Any) -> nn.Module:
        """The module whose forward receives `input_ids` and the image sizes."""
        return cast(nn.Module, model.model if hasattr(model, "lm_head") else model)

    def text_model(self, model: Any) -> nn.Module:
        """The decoder: embeddings in, hidden states out, with `.layers` and `.rotary_emb`."""
        return cast(nn.Module, self.core(model).language_model)

    @abstractmethod
    def default_layer(self, depth: int) -> int:
        """The layer of IVC-Prune's selection in a model of `depth` decoder layers."""

    def selection_layer(self, config: Any) -> int:
        """The layer that a checkpoint's configuration names as its own, else the default."""
        own: int | None = getattr(config, SELECTION_LAYER, None)
        return (
            self.default_layer(config.get_text_config().num_hidden_layers) if own is None else own
        )

    @abstractmethod
    def blocks(self, core: nn.Module, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        """Visual blocks of a forward call, in input order; empty for text alone.

        Args:
            core: the module that `core` returns.
            inputs: its keyword arguments, `input_ids` `[B, S]` among them.
            positions: position ids of the decoder on each rotary axis, long `[A, B, S]`.
        """

    @abstractmethod
    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """(width, height) of each image as the model sees it, from the processor's output."""

    def layers(self, model: nn.Module) -> nn.ModuleList:
        """The decoder layers."""
        layers = self.text_model(model).layers
        if not isinstance(layers, nn.ModuleList):
            raise TypeError(f"{self.name}: the decoder's `layers` is {type(layers).__name__}")
        return layers

    def inverse_frequencies(self, model: nn.Module) -> Tensor:
        """Rotary frequencies in float32, `[d / 2]`, from the checkpoint's configuration.

        Computed anew, since casting a model to bfloat16 casts its buffer too.
        """
        text_model = self.text_model(model)
        rotary: Any = getattr(text_model, "rotary_emb", None)
        if rotary is None:
            raise ValueError(
                f"{type(text_model).__name__} has no rotary position embedding: its tokens have no "
                "rotations, which implicit visual coordinates are defined by"
            )
        with torch.device("cpu"):
            inv_freq = type(rotary)(config=text_model.config).inv_freq
        return torch.as_tensor(inv_freq)

    def frequency_axis(self, model: nn.Module, n: int) -> Tensor:
        """Rotary axis that turns each of the n frequencies, long `[n]`."""
        return torch.zeros(n, dtype=torch.long)

    def rotary(self, decoder: Any, hidden: Tensor, positions: Tensor) -> Rotary:
        """The rotary embedding for position ids `[B, S]` (one rotary axis), e.g. cos and sin."""
        rotary: Rotary = decoder.rotary_emb(hidden, positions)
        return rotary

    def layer_additions(
        self, arguments: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], dict[int, Tensor]]:
        """What the decoder itself adds to hidden states between its layers (deepstack).

        Args:
            arguments: keyword arguments of the decoder.

        Returns:
            the arguments without what makes the decoder do so, and for each layer what is to be
            added to its output, `[B, S, E]`: the pruner adds it for the tokens that are left.
        """
        return arguments, {}

    def cached_values(self, layer: nn.Module, keys: Tensor, values: Tensor) -> Tensor:
        """Value vectors `[B, H_kv, S, D]` from what the layer's cache holds."""
        return values

    def cached_keys(self, layer: nn.Module, keys: Tensor, values: Tensor) -> Tensor:
        """Rotated keys `[B, H_kv, S, D]` from what the layer's cache holds."""
        return keys

    def queries(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        """Queries of a decoder layer at `hidden` `[B, Q, E]`, `[B, H, Q, D]`.

        Args:
            rotary: cos and sin `[B, Q, D]`; None leaves the queries unrotated.
        """
        attention = layer.self_attn
        states = attention.q_proj(layer.input_layernorm(hidden))
        return rotate(self._heads(states, attention, "q_norm"), rotary)

    def keys(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        """Keys of a decoder layer at `hidden` `[B, S, E]`, `[B, H_kv, S, D]`; see `queries`."""
        attention = layer.self_attn
        states = attention.k_proj(layer.input_layernorm(hidden))
        return rotate(self._heads(states, attention, "k_norm"), rotary)

    def values(self, layer: Any, hidden: Tensor) -> Tensor:
        """Value vectors of a decoder layer at `hidden` `[B, S, E]`, `[B, H_kv, S, D]`."""
        attention = layer.self_attn
        states = attention.v_proj(layer.input_layernorm(hidden))
        return self._heads(states, attention, "v_norm")

    @staticmethod
    def _heads(states: Tensor, attention: Any, norm: str) -> Tensor:
        states = states.unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, norm):
            states = getattr(attention, norm)(states)
        return states.transpose(1, 2)

    def vision_tower(self, core: Any) -> VisionTower:
        """Where the layers of the vision tower are, for selectors that ask for its signals.

        Raises:
            ValueError: the family offers none.
        """
        from .registry import families  # which imports every family, and so this module

        offering = [f.name for f in families() if type(f).vision_tower is not Family.vision_tower]
        raise ValueError(
            f"features and attention of the vision tower are not offered by the family "
            f"{self.name!r}, only by {', '.join(offering)}: choose a selector that does not need "
            "them, or give the family a `vision_tower`"
        )

    # Loading -----------------------------------------------------------------------------------

    def read_config(self, config: Mapping[str, Any]) -> PretrainedConfig:
        """The model's configuration from a checkpoint's `config.json`."""
        return AutoConfig.for_model(**config)

    def load_processor(self, folder: Path) -> Any:
        """The processor of a checkpoint folder, for images and text; needs no torchvision.

        Where torchvision is installed, transformers would resize with it, to other pixels: PIL's
        are asked for, so that results do not depend on what else is installed.
        """
        return AutoProcessor.from_pretrained(folder, backend="pil")

    def limit_pixels(self, processor: Any, minimum: int | None, maximum: int | None) -> None:
        """Let the processor rescale images to between these areas, in pixels; None: as it is.

        Raises:
            ValueError: this family's images have one size.
        """
        if minimum is not None or maximum is not None:
            raise ValueError(
                f"model.min_pixels and model.max_pixels do not apply to the family {self.name!r}, "
                "whose image processor has no such limits: leave them null"
            )

    def load_model(self, folder: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        """The model of a checkpoint folder, and transformers' loading information.

        Args:
            options: of `from_pretrained`, for example dtype, attn_implementation, device_map.
        """
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, output_loading_info=True, **options
        )
        return cast(tuple[PreTrainedModel, dict[str, Any]], loaded)


def rotate(states: Tensor, rotary: Rotary | None) -> Tensor:
    """Rotary embedding, half-split: `states` `[B, H, Q, D]`, cos and sin `[B, Q, R]`.

    Where R < D (partial rotary), only the first R dimensions turn.
    """
    if rotary is None:
        return states
    cos, sin = (x[:, None] for x in rotary)
    turning, fixed = states[..., : cos.shape[-1]], states[..., cos.shape[-1] :]
    first, second = turning.chunk(2, dim=-1)
    turned = turning * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, fixed], dim=-1) if fixed.shape[-1] else turned


def is_visual(inputs: Mapping[str, Any], image_token_id: int) -> Tensor:
    """Image tokens among a model's inputs, bool `[B, S]`: by id, or by the given types."""
    if (input_ids := inputs.get("input_ids")) is not None:
        return cast(Tensor, input_ids == image_token_id)
    return cast(Tensor, inputs["mm_token_type_ids"] > 0)
