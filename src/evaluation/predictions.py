"""What a batch came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from ..runs.schema import SampleRow


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a picture of one sample needs.

    Attributes:
        image: the first image, original size.
        entry: the sample's entry of `tokens.json`, without the name of the image file.
    """

    sample_id: str
    image: Image
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a batch came to: a row for every sample, and an overlay for those that get one."""

    rows: list[SampleRow]
    overlays: list[Overlay]

    def __add__(self, other: Predictions) -> Predictions:
        return Predictions(self.rows + other.rows, self.overlays + other.overlays)
