"""What transformers has to be told about DeepSeek-VL2, once."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping

from .configuration import DeepseekVL2Config
from .conversion import published_weights
from .image_processing import DeepseekVL2ImageProcessor
from .modeling import DeepseekVL2ForConditionalGeneration, DeepseekVL2Model
from .processing import DeepseekVL2Processor


def register() -> None:
    """Enter the classes into the Auto registries; importing the package anew changes nothing."""
    model_type = DeepseekVL2Config.model_type
    register_checkpoint_conversion_mapping(model_type, published_weights(), overwrite=True)
    AutoConfig.register(model_type, DeepseekVL2Config, exist_ok=True)
    AutoModel.register(DeepseekVL2Config, DeepseekVL2Model, exist_ok=True)
    AutoModelForImageTextToText.register(
        DeepseekVL2Config, DeepseekVL2ForConditionalGeneration, exist_ok=True
    )
    AutoImageProcessor.register(
        DeepseekVL2Config, slow_image_processor_class=DeepseekVL2ImageProcessor, exist_ok=True
    )
    AutoProcessor.register(DeepseekVL2Config, DeepseekVL2Processor, exist_ok=True)
