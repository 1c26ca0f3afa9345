"""InternVL's processor without torchvision, which also says how images were cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, InternVLProcessor
from transformers.image_utils import get_image_size, make_flat_list_of_images
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.processing_utils import ProcessorMixin
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.video_utils import make_batched_videos

from .config import convert_config
from .tokenizer import load_tokenizer

MOST_PATCHES = 64
"""Tiles that all images of a sample may have together, as in the published evaluation."""

SYSTEM_MESSAGE = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的"  # noqa: RUF001
    "多模态大语言模型。"
)
"""What InternVL 2.5, 3 and 3.5 were trained and evaluated with."""

CHAT_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
<|im_start|>system
SYSTEM_MESSAGE<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- set n_images = message.content | selectattr('type', 'equalto', 'image') | list | length -%}
{%- set image = namespace(number=0) -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{%- set image.number = image.number + 1 -%}
{%- if n_images > 1 %}Image-{{ image.number }}: {% endif %}<IMG_CONTEXT>
{% elif part.type == 'video' %}<video>
{% else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
""".replace("SYSTEM_MESSAGE", SYSTEM_MESSAGE)


class InternVLImageTextProcessor(InternVLProcessor):
    """`InternVLProcessor` without torchvision; loads any checkpoint of that family.

    Its output has one entry more, `image_sizes` `[B, pictures, 3]`, of all images and frames of a
    sample in order: height and width in pixels of the picture as it was resized before it was cut
    into tiles, and the number of the video that it is a frame of, counted from 1; 0 for an image,
    and all 0 where a sample has fewer pictures. The model ignores it; `InternVL.blocks` reads the
    layout of the tiles from it. One row per sample and not per picture: so `generate` repeats it
    correctly for beams.

    A video is the frames it should be seen by, a list of PIL images or an array `[T, H, W, 3]`.
    Each becomes one tile.

    The signature lists the parts of a processor, which is how `from_pretrained` knows what to
    load: without a `video_processor` parameter it does not look for one.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=None,
            image_seq_length=image_seq_length,
            chat_template=chat_template,
            **kwargs,
        )

    @property  # type: ignore[misc]
    def image_token_ids(self) -> list[int]:  # type: ignore[override]
        """What `mm_token_type_ids` marks: visual tokens alone, not the tokens around images."""
        return [self.image_token_id]

    @property
    def video_processor(self) -> Any:
        """Frames are images that are not cut."""
        return self.image_processor

    def most_tiles(self, n_images: int, allowed: int | None = None) -> int:
        """Tiles that each image of a sample may have: several share `MOST_PATCHES` evenly.

        Args:
            allowed: the most of an image that is alone; None = as the image processor says.
        """
        alone = self.image_processor.max_patches if allowed is None else allowed
        return max(1, min(alone, MOST_PATCHES // n_images))

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """See `InternVLProcessor`; `text` holds one placeholder per image and per video."""
        texts = [text] if isinstance(text, str) else text
        if images is not None:
            images = self._by_sample(texts, images)
        inputs = ProcessorMixin.__call__(self, images=images, text=text, videos=videos, **kwargs)
        pictures = {"image": _take_images(inputs), "video": _take_videos(inputs)}
        pixels: list[Tensor] = []
        sizes: list[Tensor] = []
        for sample in texts:
            of_sample, n_videos = [torch.zeros(0, 3, dtype=torch.long)], 0
            for match in self.multimodal_pattern.finditer(sample):
                kind = str(match.lastgroup)
                tiles, resized = next(pictures[kind])
                n_videos += kind == "video"
                video = torch.full((len(resized), 1), n_videos if kind == "video" else 0)
                pixels.append(tiles)
                of_sample.append(torch.cat([resized, video], dim=1))
            sizes.append(torch.cat(of_sample))
        if pixels:
            inputs["pixel_values"] = torch.cat(pixels)
            inputs["image_sizes"] = torch.nn.utils.rnn.pad_sequence(sizes, batch_first=True)
        return inputs

    def replace_video_token(self, video_inputs: Any, video_idx: int, **kwargs: Any) -> str:
        """Frames by number, as the published evaluation writes it (the stock one: no hyphen)."""
        picture = self.image_token * self.image_seq_length
        return "\n".join(
            f"Frame-{number + 1}: {self.start_image_token}{picture}{self.end_image_token}"
            for number in range(video_inputs["num_frames"][video_idx])
        )

    def _by_sample(self, texts: Sequence[str], images: Any) -> list[list[Any]]:
        """Images that came flat or by sample, by sample; those that no text names come last."""
        flat: Iterator[Any] = iter(make_flat_list_of_images(images))  # type: ignore[arg-type]
        named = [
            sum(match.lastgroup == "image" for match in self.multimodal_pattern.finditer(sample))
            for sample in texts
        ]
        return [*(list(islice(flat, n)) for n in named), list(flat)]

    def _process_images(self, images: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """See `most_tiles`."""
        processed: dict[str, list[Any]] = {"pixel_values": [], "num_patches": [], "sizes": []}
        replacements: list[str] = []
        for own in filter(None, images):
            most = self.most_tiles(len(own), kwargs.get("max_patches"))
            options = {**kwargs, "max_patches": most}
            made, texts = super()._process_images(own, **options)
            processed["pixel_values"] += made["pixel_values"]
            processed["num_patches"] += map(int, made["num_patches"])
            processed["sizes"] += [self._resized(image, options) for image in own]
            replacements += texts
        return processed, replacements

    def _process_videos(self, videos: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        videos = make_batched_videos(videos)
        frames = [frame for video in videos for frame in video]
        options = {"crop_to_patches": False, "return_tensors": "pt"}
        pixels = self.image_processor(frames, **options)["pixel_values"]
        processed = {"num_frames": list(map(len, videos)), "pixel_values_videos": pixels}
        numbers = range(len(videos))
        return processed, [self.replace_video_token(processed, number) for number in numbers]

    def _resized(self, image: Any, options: dict[str, Any]) -> tuple[int, int]:
        """(height, width) of all tiles of an image together, in pixels."""

        def option(name: str) -> Any:
            return options.get(name, getattr(self.image_processor, name))

        size = option("size")
        height, width = size["height"], size["width"]
        if not option("crop_to_patches"):
            return height, width
        original = (
            (image.height, image.width) if hasattr(image, "height") else get_image_size(image)
        )
        columns, rows = get_optimal_tiled_canvas(
            original, (height, width), option("min_patches"), option("max_patches")
        )
        return rows * height, columns * width


def chat_processor(folder: Path, config: Mapping[str, Any]) -> InternVLImageTextProcessor:
    """The processor of a checkpoint in InternVL's own format, which holds no settings of one.

    Args:
        config: its `config.json`.

    Raises:
        ValueError: its prompts are of another version than InternVL 2.5 and later.
    """
    if (template := config.get("template")) != "internvl2_5":
        raise ValueError(
            f"config.json: template is {template!r}, but only 'internvl2_5' is supported, the one "
            "of InternVL 2.5, 3 and 3.5"
        )
    native: Any = convert_config(config)
    height, width = native.vision_config.image_size
    image_processor = GotOcr2ImageProcessorPil(
        size={"height": height, "width": width},
        crop_to_patches=config.get("dynamic_image_size", False),
        min_patches=config.get("min_dynamic_patch", 1),
        max_patches=config.get("max_dynamic_patch", 6),
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    return InternVLImageTextProcessor(
        image_processor,
        load_tokenizer(folder),
        image_seq_length=native.image_seq_length,
        chat_template=CHAT_TEMPLATE,
    )


def _take_images(inputs: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Tiles `[n, 3, h, w]` and size `[1, 2]` of each image, taken out of `inputs`."""
    if "pixel_values" not in inputs:
        return iter(())
    n_tiles = torch.as_tensor(inputs.pop("num_patches")).tolist()
    sizes = torch.as_tensor(inputs.pop("sizes"))
    tiles = torch.stack([torch.as_tensor(tile) for tile in inputs.pop("pixel_values")])
    return zip(tiles.split(n_tiles), sizes.split(1), strict=True)


def _take_videos(inputs: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames `[n, 3, h, w]` and their sizes `[n, 2]` of each video, taken out of `inputs`."""
    if "pixel_values_videos" not in inputs:
        return iter(())
    n_frames = torch.as_tensor(inputs.pop("num_frames")).tolist()
    frames: Tensor = inputs.pop("pixel_values_videos")
    sizes = torch.tensor(frames.shape[-2:]).expand(len(frames), 2)
    return zip(frames.split(n_frames), sizes.split(n_frames), strict=True)
