"""Keeps what libraries print out of the output of a job."""

from __future__ import annotations

import logging

import datasets
import transformers


def silence_libraries() -> None:
    """No progress bars and no advice; errors stay."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
