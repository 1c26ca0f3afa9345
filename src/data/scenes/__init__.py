"""The built-in benchmark: coloured shapes, referring expressions and questions about them."""

from .dataset import load_scenes

__all__ = ["load_scenes"]
