"""What the core must know about a model family; one file a family implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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

from .areas import WHOLE, Area
from .blocks import Block
from .rotary import Rotary, rotate
from .token_rules import TokenRule
from .vision_towers.base import VisionTower

SELECTION_LAYER = "ivcprune_selection_layer"
"""Key of a checkpoint's config.json for a layer that was chosen for it (paper A.2)."""


class Family(ABC):
    """Where a family's layers are, how its visual tokens are laid out, how its attention projects.

    Attributes:
        name: the family's name in configs and results.
        model_types: `config.model_type` values that it covers.
        text_skip: tokens directly after the last visual token that are no text query (the closing
            vision token, and the one after it, which the published code skips too).
        rotary_axes: 1, or 3 for M-RoPE.
        spare_layers: layers whose cache the published method leaves full.
        token_rules: what its decoders' layers keep of a token, by the name of their type; models
            with layers of other types are refused.
        own_masks: whether its core makes the masks of all layers, by the type of the layer and not
            causal alone: pruned layers get their rows and columns, rather than new ones, and the
            padding mask is the core's.
        rotary_by_type: whether layers of each type have a rotary embedding of their own.
        per_token_arguments: tensors `[B, S, ...]` that decoder layers get beside the hidden states,
            the rotary embedding, masks and position ids: pruned layers get them for what is left.
        whole_arguments: other tensors as long as the sequence that layers get, and that are right
            as they are; what neither names is refused.
        layout_arguments: arguments of `generate` that `blocks` reads: it keeps back what encodes
            the pictures, and the core is called without.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    text_skip: ClassVar[int] = 2
    rotary_axes: ClassVar[int] = 1
    spare_layers: ClassVar[tuple[int, ...]] = ()
    token_rules: ClassVar[Mapping[str, TokenRule]] = {"full_attention": TokenRule.CACHED}
    own_masks: ClassVar[bool] = False
    rotary_by_type: ClassVar[bool] = False
    per_token_arguments: ClassVar[tuple[str, ...]] = ()
    whole_arguments: ClassVar[tuple[str, ...]] = ()
    layout_arguments: ClassVar[tuple[str, ...]] = ()

    def core(self, model: Any) -> nn.Module:
        """The module whose forward receives `input_ids` and the image sizes."""
        return cast(nn.Module, model.model if hasattr(model, "lm_head") else model)

    def text_model(self, model: Any) -> nn.Module:
        """The decoder: embeddings in, hidden states out, with `.layers` and `.rotary_emb`."""
        return cast(nn.Module, self.core(model).language_model)

    def check(self, config: Any) -> None:  # noqa: B027 (most families cover all of a type)
        """Refuse a model of the family's type that is built in a way which it does not cover.

        Raises:
            ValueError: naming the part.
        """

    @abstractmethod
    def default_layer(self, depth: int) -> int:
        """The layer of IVC-Prune's selection in a model of `depth` decoder layers."""

    def selection_layer(self, config: Any) -> int:
        """The layer that a checkpoint's configuration names as its own, else the default."""
        own: int | None = getattr(config, SELECTION_LAYER, None)
        return (
            self.default_layer(config.get_text_config().num_hidden_layers) if own is None else own
        )

    def needs_position_ids(self, config: Any) -> bool:
        """Whether decoder layers read `position_ids` beside the rotary embedding.

        They are withheld otherwise: FlashAttention takes ids with gaps for packed sequences.
        """
        return False

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
        """(width, height) of each image as the model sees it, from the processor's output.

        Empty where that is not known: no box can then be written in pixels of it.
        """

    def visible_area(self, processor: Any, size: tuple[int, int], n_images: int) -> Area:
        """What the tokens of an image show of it: left, top, right and bottom as fractions of it.

        Their `xy` runs from 0 to 1 within. An area that reaches beyond the image is padded.

        Args:
            size: (width, height) of the original image.
            n_images: images of its sample.
        """
        return WHOLE

    def image_tokens(self, processor: Any, size: tuple[int, int], n_images: int) -> int | None:
        """Visual tokens of a sample with `n_images` images of one size (width, height), in pixels.

        Marks between the lines or tiles of an image count, where its family has them.

        None where the processor cannot tell without the images.

        Raises:
            ValueError: the processor refuses images of that size.
        """
        # What transformers' processors have for servers, which must know before they load an image.
        count = getattr(processor, "_get_num_multimodal_tokens", None)
        if count is None:
            return None
        width, height = size
        return n_images * int(count(image_sizes=[(height, width)])["num_image_tokens"][0])

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

    def final_norm(self, decoder: Any, states: Tensor) -> Tensor:
        """Hidden states `[..., E]` behind the norm that ends the decoder, on their own device."""
        norm: nn.Module = decoder.norm
        normed: Tensor = norm(states.to(device_of(norm, states.device)))
        return normed.to(states.device)

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
        return self.rotate(attention, self._heads(states, attention, "q_norm"), rotary)

    def keys(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        """Keys of a decoder layer at `hidden` `[B, S, E]`, `[B, H_kv, S, D]`; see `queries`."""
        attention = layer.self_attn
        states = attention.k_proj(layer.input_layernorm(hidden))
        return self.rotate(attention, self._heads(states, attention, "k_norm"), rotary)

    def rotate(self, attention: Any, states: Tensor, rotary: Rotary | None) -> Tensor:
        """Queries or keys `[B, H, Q, D]` as a layer's attention turns them."""
        return rotate(states, rotary)

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

    def check_vision_tower(self) -> None:
        """Raises ValueError where the family offers no signals of a tower; needs no model."""
        if type(self).vision_tower is Family.vision_tower:
            self.vision_tower(None)

    def vision_tower(self, core: Any) -> VisionTower:
        """Where the layers of the vision tower are, for selectors that ask for its signals.

        Raises:
            ValueError: the family offers none.
        """
        raise ValueError(
            f"features and attention of the vision tower are not offered by the family "
            f"{self.name!r}: choose a selector that does not need them, or give the family a "
            "`vision_tower`"
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


def device_of(layer: nn.Module, otherwise: torch.device) -> torch.device:
    """Where a layer computes; `otherwise` where its weights are offloaded."""
    weight = next(layer.parameters(), None)
    return otherwise if weight is None or weight.is_meta else weight.device
