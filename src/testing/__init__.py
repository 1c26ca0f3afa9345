"""Helpers for our tests and for those of plugin authors."""

from .tiny import tiny_model

__all__ = ["tiny_model"]
