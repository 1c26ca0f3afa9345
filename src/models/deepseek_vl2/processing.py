"""Prompts and images of DeepSeek-VL2 as model inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images
from transformers.utils.hub import cached_file

from .image_processing import DeepseekVL2ImageProcessor

IMAGE_TOKEN = "<image>"
SPECIAL_TOKENS = (
    IMAGE_TOKEN,
    "<|ref|>",
    "<|/ref|>",
    "<|det|>",
    "<|/det|>",
    "<|grounding|>",
    "<|User|>",
    "<|Assistant|>",
)
"""Added to tokenizers that lack them, in the published order."""

PAD_TOKEN = "<\uff5c\u2581pad\u2581\uff5c>"

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}<|User|>: {% endif -%}
{%- if message.role == 'assistant' -%}<|Assistant|>: {% endif -%}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if message.role == 'assistant' -%}{{ eos_token }}{%- else -%}{{ '\\n\\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|Assistant|>:{%- endif -%}
"""
"""Each image on a line of its own before the text, as in the published evaluation."""


class DeepseekVL2Processor(ProcessorMixin):
    """An image processor and a tokenizer.

    Reads the folder (or hub id) of a published checkpoint, which describes its images in a flat
    `processor_config.json`, as well as one that `save_pretrained` wrote.
    """

    def __init__(
        self,
        image_processor: DeepseekVL2ImageProcessor,
        tokenizer: Any,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)
        vocabulary = tokenizer.get_vocab()
        if tokenizer.pad_token is None:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        if missing := [token for token in SPECIAL_TOKENS if token not in vocabulary]:
            tokenizer.add_special_tokens(
                {"extra_special_tokens": missing}, replace_extra_special_tokens=False
            )
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[Any], *args: Any, **kwargs: Any
    ) -> DeepseekVL2Processor:
        """The processor of a checkpoint, published or saved.

        The tokenizer is read as its `tokenizer.json` says: the class that published checkpoints
        name would split text by other rules.
        """
        name = str(pretrained_model_name_or_path)
        kwargs.pop("trust_remote_code", None)
        file = cached_file(name, "processor_config.json", **kwargs)
        config = json.loads(Path(str(file)).read_text("utf-8"))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name, **kwargs)
        if (own := config.get("image_processor")) is not None:
            image_processor = DeepseekVL2ImageProcessor.from_dict(own)
        else:
            image_processor = published_image_processor(config)
        return cls(image_processor, tokenizer, chat_template=tokenizer.chat_template)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Model inputs.

        Args:
            images: in the order of the image tokens in `text`, flat or as one list per sample.
            text: prompts that name `<image>` once per image; nothing is added to them.
            kwargs: of the tokenizer, for example padding and padding_side.

        Returns:
            input_ids, attention_mask, and what `DeepseekVL2ImageProcessor.preprocess` returns.

        Raises:
            ValueError: more or fewer images than image tokens.
        """
        texts = [text] if isinstance(text, str) else list(text or [])
        data: dict[str, Any] = {}
        pictures: Any = [] if images is None else make_flat_list_of_images(images)
        samples = _by_sample(texts, pictures)
        if pictures:
            data = dict(self.image_processor(samples, return_tensors=return_tensors))
            grids = iter(_grids(data["images_spatial_crop"]))
            texts = [self._expand(prompt, grids) for prompt in texts]
        kwargs = {"add_special_tokens": False, **kwargs}
        encoded = self.tokenizer(texts, return_tensors=return_tensors, **kwargs)
        encoded.pop("token_type_ids", None)
        return BatchFeature({**encoded, **data}, tensor_type=return_tensors)

    def _expand(self, prompt: str, grids: Any) -> str:
        """One image token for each visual token."""
        count = self.image_processor.geometry.token_count
        first, *rest = prompt.split(IMAGE_TOKEN)
        tokens = (IMAGE_TOKEN * count(next(grids)) for _ in rest)
        return first + "".join(run + part for run, part in zip(tokens, rest, strict=True))

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", *self.image_processor.model_input_names]


def published_image_processor(config: Mapping[str, Any]) -> DeepseekVL2ImageProcessor:
    """From a published `processor_config.json`; candidates are (width, height) in pixels."""
    resolutions = config["candidate_resolutions"]
    tile = min(side for resolution in resolutions for side in resolution)
    return DeepseekVL2ImageProcessor(
        tile_size=tile,
        patch_size=config["patch_size"],
        downsample_ratio=config["downsample_ratio"],
        tile_grids=[(width // tile, height // tile) for width, height in resolutions],
        image_mean=config.get("image_mean", (0.5, 0.5, 0.5)),
        image_std=config.get("image_std", (0.5, 0.5, 0.5)),
    )


def _by_sample(texts: Sequence[str], pictures: Sequence[Image.Image]) -> list[list[Image.Image]]:
    counts = [prompt.count(IMAGE_TOKEN) for prompt in texts]
    if sum(counts) != len(pictures):
        raise ValueError(
            f"text holds {sum(counts)} image tokens {IMAGE_TOKEN!r}, but {len(pictures)} images "
            "came: write the token once for each image"
        )
    remaining = iter(pictures)
    return [[next(remaining) for _ in range(count)] for count in counts]


def _grids(crops: Any) -> list[tuple[int, int]]:
    return [(w, h) for sample in crops.tolist() for w, h in sample if w * h]
