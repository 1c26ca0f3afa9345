"""Image-and-text processors that need no torchvision.

The stock processors of several families insist on a video processor, and those need torchvision.
"""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLProcessor

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


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """`Qwen2_5_VLProcessor` for images and text only; loads any checkpoint of that family.

    The signature lists the parts of a processor, which is how `from_pretrained` knows what to
    load: without a `video_processor` parameter it does not look for one.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=None,
            chat_template=chat_template,
            **kwargs,
        )
