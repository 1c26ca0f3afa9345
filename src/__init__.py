"""Visual-token pruning for vision-language models: composable selectors on unmodified models."""

__version__ = "0.1.0"
