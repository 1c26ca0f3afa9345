"""ViP-LLaVA for ivcprune."""

from .family import VipLlava

__all__ = ["VipLlava"]
