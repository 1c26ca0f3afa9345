"""What one command line stands for, under a name that scripts can rely on."""

from __future__ import annotations

from .configuration.experiments import expand_experiment

__all__ = ["expand_experiment"]
