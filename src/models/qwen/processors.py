"""Processors of the Qwen families for images, videos and text that need no torchvision.

The stock ones insist on a video processor that does; see `video_processors`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from transformers import Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor

from ..video_processors import Qwen2VideoProcessor, Qwen3VideoProcessor

QWEN_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Special tokens of the Qwen-VL families' chat markup."""

_SHARED = ("image_mean", "image_std", "patch_size", "temporal_patch_size", "merge_size")
"""What a video processor has in common with its image processor."""


class _WithoutTorchvision:
    """Makes a stock processor load and work without torchvision.

    The signature lists the parts of a processor, which is how `from_pretrained` knows what to
    load: without a `video_processor` parameter it does not look for one.
    """

    frames: ClassVar[type[Qwen2VideoProcessor]] = Qwen2VideoProcessor
    video_processor: Qwen2VideoProcessor

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        parts = {"image_processor": image_processor, "tokenizer": tokenizer}
        super().__init__(  # type: ignore[call-arg]
            **parts, **kwargs | {"video_processor": None}, chat_template=chat_template
        )
        shared = {name: getattr(image_processor, name) for name in _SHARED}
        self.video_processor = self.frames(**shared)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """The processor of a folder or hub id, with the video settings that it holds, if any.

        Images are resized by PIL also where torchvision is installed, whose pixels differ.
        """
        backend = kwargs.pop("backend", "pil")
        processor: Any = super().from_pretrained(  # type: ignore[misc]
            pretrained_model_name_or_path, backend=backend, **kwargs
        )
        with suppress(OSError):
            processor.video_processor = cls.frames.from_pretrained(
                pretrained_model_name_or_path, **kwargs
            )
        return processor

    def to_dict(self) -> dict[str, Any]:
        settings: dict[str, Any] = super().to_dict()  # type: ignore[misc]
        return settings | {"video_processor": self.video_processor.to_dict()}


class ImageTextProcessor(_WithoutTorchvision, Qwen2_5_VLProcessor):  # type: ignore[misc]
    """`Qwen2_5_VLProcessor`; loads any checkpoint of that family."""


class Qwen2Processor(_WithoutTorchvision, Qwen2VLProcessor):  # type: ignore[misc]
    """`Qwen2VLProcessor`; loads any checkpoint of that family."""


class Qwen3Processor(_WithoutTorchvision, Qwen3VLProcessor):  # type: ignore[misc]
    """`Qwen3VLProcessor`; loads any checkpoint of that family."""

    frames = Qwen3VideoProcessor
