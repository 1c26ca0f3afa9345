"""How long sequences will be, told from sizes and texts before images are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import datasets
import pyarrow.compute as pc

from ..models.base import Family
from .prompts import to_messages
from .sample import FEATURES, Sample

_TEXTS = ("id", "task", "question", "choices", "hint")
"""Columns that a prompt is made of."""
_ROWS = 1024
"""Rows whose images are in memory at once where the dataset is a subset."""


def sequence_lengths(
    samples: datasets.Dataset, family: Family, processor: Any, prompts: Mapping[str, str]
) -> list[int]:
    """Tokens of each sample's prompt: its text's and its images'.

    What a chat template adds, for a turn and for each image, is left out; of several images each
    counts like the first, whose size alone is a column; and the frames of a video, which no column
    tells, do not count. So these numbers are for sorting.

    Args:
        samples: canonical rows, see `FEATURES`.
        prompts: task -> template.
    """

    @cache
    def of_images(width: int, height: int, number: int) -> int:
        return _tokens_of_images(family, processor, (width, height), number)

    sizes = zip(samples["width"], samples["height"], _image_counts(samples), strict=True)
    texts = _text_lengths(samples, processor, prompts)
    return [text + of_images(*size) for text, size in zip(texts, sizes, strict=True)]


def _tokens_of_images(family: Family, processor: Any, size: tuple[int, int], number: int) -> int:
    if not number or 0 in size:
        return 0
    try:
        tokens = family.image_tokens(processor, size, number)
    except ValueError:
        return 0  # an image that the processor refuses, as it will when the sample's turn comes
    # Where the processor cannot tell: larger images are mostly longer.
    return number * size[0] * size[1] if tokens is None else tokens


def _image_counts(samples: datasets.Dataset) -> Iterator[int]:
    """Images of each sample, without decoding one."""
    batches = samples.select_columns("images").with_format("arrow").iter(_ROWS)
    for batch in batches:
        yield from (count or 0 for count in pc.list_value_length(batch["images"]).to_pylist())


def _text_lengths(
    samples: datasets.Dataset, processor: Any, prompts: Mapping[str, str]
) -> list[int]:
    without_images: dict[str, Any] = {name: [] for name in FEATURES if name not in _TEXTS}
    texts = [
        _text(Sample.from_row(without_images | row), prompts)
        for row in samples.select_columns(list(_TEXTS))
    ]
    encoded = processor.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return [len(ids) for ids in encoded]


def _text(sample: Sample, prompts: Mapping[str, str]) -> str:
    return "".join(
        part["text"] for turn in to_messages(sample, prompts) for part in turn["content"]
    )
