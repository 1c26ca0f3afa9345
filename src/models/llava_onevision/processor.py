"""LLaVA-OneVision's processor for images, videos and text, without torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import BatchFeature, LlavaOnevisionProcessor
from transformers.image_utils import SizeDict
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin

from ..video_processors import Qwen2VideoProcessor

_SHARED = ("size", "image_mean", "image_std")
"""What the video processor has in common with the image processor."""


class OnevisionVideoProcessor(VideoProcessorMixin, LlavaOnevisionImageProcessorPil):
    """Frames, each resized by PIL to one view; what a video may be, see `video_processors`."""

    model_input_names = ["pixel_values_videos"]  # noqa: RUF012
    valid_kwargs: Any = VideosKwargs
    _decode_and_sample_videos = Qwen2VideoProcessor._decode_and_sample_videos
    _prepare_input_videos = Qwen2VideoProcessor._prepare_input_videos

    def __init__(self, **kwargs: Any) -> None:
        # Checkpoints made for files may ask for sampling; frames have been chosen already.
        super().__init__(**kwargs | {"do_sample_frames": False})

    def _preprocess(  # type: ignore[override]
        self,
        videos: list[np.ndarray],
        *,
        size: SizeDict,
        resample: Any,
        rescale_factor: float,
        image_mean: Any,
        image_std: Any,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        if len({len(video) for video in videos}) > 1:
            raise ValueError(
                f"videos of {[len(video) for video in videos]} frames in one batch: "
                "LLaVA-OneVision stacks them, so give all the same number of frames"
            )
        pixels = [
            [
                self.normalize(
                    self.rescale(self.resize(frame, size, resample), rescale_factor),
                    image_mean,
                    image_std,
                )
                for frame in video
            ]
            for video in videos
        ]
        return BatchFeature({"pixel_values_videos": np.array(pixels)}, tensor_type=return_tensors)


class OnevisionProcessor(LlavaOnevisionProcessor):
    """`LlavaOnevisionProcessor`; loads any checkpoint of that family.

    The signature lists what is saved and loaded, and without a `video_processor` parameter
    `from_pretrained` does not look for the stock one, which needs torchvision.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_image_tokens: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = "<image>",
        video_token: str = "<video>",
        vision_aspect_ratio: str = "anyres_max_9",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=None,
            num_image_tokens=num_image_tokens,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            video_token=video_token,
            vision_aspect_ratio=vision_aspect_ratio,
            **kwargs,
        )
        shared = {name: getattr(image_processor, name) for name in _SHARED}
        self.video_processor = OnevisionVideoProcessor(**shared)
