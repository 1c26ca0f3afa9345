"""Processors that need no torchvision, under the name that programs import them by."""

from .qwen.processors import ImageTextProcessor, Qwen2Processor, Qwen3Processor

__all__ = ["ImageTextProcessor", "Qwen2Processor", "Qwen3Processor"]
