"""Gemma 4: native aspect ratio, windows that see pictures whole, keys that are values too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Gemma4Processor, ProcessorMixin

from .blocks import Block
from .gemma3 import Gemma3


class Gemma4(Gemma3):
    """One row per image; its grid is read from the places of its patches.

    Layouts without shared caches (26B-A4B, 31B). A picture sees itself whole in windows alone,
    keys and values of full attention may be one projection, and per-layer inputs follow their
    tokens. The selection layer is inferred.
    """

    name = "gemma4"
    model_types = ("gemma4",)
    per_token_arguments = ("per_layer_input",)
    whole_arguments = ("shared_kv_states",)  # written, and not read where nothing is shared
    layout_arguments: ClassVar[tuple[str, ...]] = ("image_position_ids",)

    def check(self, config: Any) -> None:
        text = config.get_text_config()
        if text.num_kv_shared_layers:
            raise ValueError(
                f"the last {text.num_kv_shared_layers} of this model's {text.num_hidden_layers} "
                "layers share the caches of earlier ones (num_kv_shared_layers, as in E2B and "
                "E4B): tokens dropped between them would leave one cache for two sets of tokens, "
                "which is not covered; use 26B-A4B or 31B"
            )
        if text.use_bidirectional_attention == "all":
            raise ValueError(
                "this model's text_config has use_bidirectional_attention 'all': all tokens see "
                "each other, so there is no prompt to prune and no cache to keep"
            )

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        config, input_ids = core.config, inputs.get("input_ids")
        if input_ids is None:
            raise ValueError(
                "inputs_embeds came without input_ids: images and videos are told by their tokens, "
                "so pass input_ids beside inputs_embeds"
            )
        if (input_ids == config.video_token_id).any():
            raise ValueError(
                "the family 'gemma4' does not cover videos: their frames would stay whole and "
                "count as text; pass images"
            )
        runs = _runs(input_ids == config.image_token_id)
        grids = _grids(inputs.get("image_position_ids"), config.vision_config.pooling_kernel_size)
        blocks: list[Block] = []
        for (sample, start, length), (height, width) in zip(
            runs, _of_sequences(grids, [run[0] for run in runs]), strict=True
        ):
            if height * width != length:
                raise ValueError(
                    f"{length} image tokens of sample {sample} have patches of a {height} x "
                    f"{width} grid: pass input_ids and image_position_ids as the processor "
                    "returns them"
                )
            image = blocks[-1].image + 1 if blocks and blocks[-1].sample == sample else 0
            blocks.append(Block.full(sample, image, "image", (height, width), start))
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        images = processor.image_processor
        side = images.patch_size * images.pooling_kernel_size
        grids = _grids(inputs["image_position_ids"], images.pooling_kernel_size)
        return [(width * side, height * side) for height, width in grids]

    def values(self, layer: Any, hidden: Tensor) -> Tensor:
        attention = layer.self_attn
        project = attention.k_proj if attention.v_proj is None else attention.v_proj
        return self._heads(project(layer.input_layernorm(hidden)), attention, "v_norm")

    def load_processor(self, folder: Path) -> Any:
        return ImagesProcessor.from_pretrained(folder, backend="pil")


def _runs(mask: Tensor) -> list[tuple[int, int, int]]:
    """(sample, start, length) of each run of True in `[B, S]`, in input order.

    A picture's tokens stand between marks, so no two runs touch.
    """
    edges = nn.functional.pad(mask, (1, 1)).long().diff(dim=1)
    starts, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero().tolist()
    return [(b, start, end - start) for (b, start), (_, end) in zip(starts, ends, strict=True)]


def _grids(places: Tensor | None, pooling: int) -> list[tuple[int, int]]:
    """(h, w) of each image in tokens, from the (x, y) of its patches, `[n, P, 2]`, -1 for none."""
    if places is None:
        return []
    sides = (torch.as_tensor(places).amax(dim=1) + 1) // pooling
    return [(height, width) for width, height in sides.tolist()]


def _of_sequences(grids: list[tuple[int, int]], samples: list[int]) -> list[tuple[int, int]]:
    """The grid of each run: beams of a sample have the same pictures and follow one another.

    Args:
        grids: of the images; where there are more than runs, the last ones are meant, since a later
            turn of a conversation may bring those of earlier ones along.
        samples: of the runs.

    Raises:
        ValueError: they are not the grids of these runs.
    """
    if len(grids) >= len(samples):
        return grids[len(grids) - len(samples) :]
    beams, rest = divmod(len(samples), max(1, len(grids)))
    if rest or not grids:
        raise ValueError(
            f"{len(samples)} images in input_ids and image_position_ids of {len(grids)}: pass "
            "image_position_ids as the processor returns them, to `generate` or to the model"
        )
    counts = [samples.count(sample) for sample in range(max(samples) + 1)]
    found: list[tuple[int, int]] = []
    at = 0
    for count in counts[::beams]:
        found += grids[at : at + count] * beams
        at += count
    return found


class ImagesProcessor(Gemma4Processor):
    """`Gemma4Processor` for images and text.

    The signature lists what is loaded: without its parameter `from_pretrained` does not look for
    the stock video processor, which needs torchvision.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        # past its own, which hands on parts that this signature does not have
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)
        for name in ("image", "boi", "eoi", "audio", "boa", "eoa"):
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token"))
        self.image_token_id = tokenizer.image_token_id
        self.audio_token_id, self.video_token_id = tokenizer.audio_token_id, None
