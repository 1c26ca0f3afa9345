"""FasterVLM for ivcprune."""

from .selector import FasterVLMSelector

__all__ = ["FasterVLMSelector"]
