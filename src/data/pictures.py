"""From encoded images to the RGB pictures that a model sees, upright and on white."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
from PIL.Image import Image

ENCODED: Mapping[str, Any] = {"bytes": None, "path": None}
"""An image that `datasets` has not decoded."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned."""

ON_ITS_SIDE = range(5, 9)
"""Values of that tag with which the sides are exchanged."""

WIDTH, HEIGHT = 256, 257
"""TIFF tags of the sides of the stored picture."""

ABOUT_PNG = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""Names of the chunks of a PNG that may say how it is turned."""

WORD = 65535
"""The white of 16-bit grey."""

WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def open_picture(image: Mapping[str, Any]) -> Image:
    """The picture of an undecoded image, as a model sees it.

    Args:
        image: see `ENCODED`.

    Raises:
        OSError, ValueError, ...: it is missing or damaged; Pillow sets no limit to what it raises.
    """
    return to_rgb(datasets.Image().decode_example(dict(image)))


def to_rgb(picture: Image) -> Image:
    """The picture in RGB; `Image.convert` alone would drop transparency and clip deep grey.

    What is transparent shows white, as on paper. Grey of 16 bits is reduced to the 8 of RGB. Of
    grey in 32-bit integers the darkest becomes black and the brightest white; so of floats, unless
    all are in [0, 1], which then is the range.

    Raises:
        ValueError: a grey value is no finite number.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _grey(picture)
    if picture.mode in WITH_ALPHA or "transparency" in picture.info:
        return _on_white(picture)
    return picture.convert("RGB")


def _on_white(picture: Image) -> Image:
    if picture.mode == "La":  # Pillow knows one way back from it
        picture = picture.convert("LA")
    picture = picture.convert("RGBA")
    ground = PIL.Image.new("RGBA", picture.size, "white")
    return PIL.Image.alpha_composite(ground, picture).convert("RGB")


def _grey(picture: Image) -> Image:
    """A picture of deep grey in 8 bits: "L", or "LA" where one value is transparent."""
    stored = np.asarray(picture)
    if not np.isfinite(stored).all():
        raise ValueError(f"the picture, of mode {picture.mode}, has grey values that are no number")
    values = stored.astype(np.float64)
    low, high = _range(picture, values)
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    grey = PIL.Image.fromarray(np.rint(scaled).astype(np.uint8))
    if (transparent := picture.info.get("transparency")) is not None:
        opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
        grey.putalpha(PIL.Image.fromarray(opaque))
    return grey


def _range(picture: Image, values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """What is black and what is white in a picture of deep grey."""
    # Older versions of Pillow open a PNG of 16 bits as one of 32.
    if picture.mode.startswith("I;16") or picture.format == "PNG":
        return 0, WORD
    low, high = float(values.min()), float(values.max())
    if picture.mode == "F" and low >= 0 and high <= 1:
        return 0, 1
    return low, high


def image_size(image: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) of the picture that `open_picture` gives, from the header where that does.

    Returns:
        (0, 0) where it cannot be read; whoever decodes it reports why.
    """
    try:
        file: Any = io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
        with PIL.Image.open(file) as header:
            return _upright_size(header, image)
    # PIL sets no limit to what a broken file raises.
    except Exception:
        return 0, 0


def _upright_size(header: Image, image: Mapping[str, Any]) -> tuple[int, int]:
    if header.format == "PNG" and not _may_be_turned(image):
        return header.size  # Pillow would decode the whole to look for EXIF data, which few have
    turned = header.getexif().get(ORIENTATION) in ON_ITS_SIDE
    width, height = header.size
    if header.format == "TIFF":
        # Some versions of Pillow have exchanged the sides of the header already.
        tags: Any = getattr(header, "tag_v2", {})
        width, height = tags[WIDTH], tags[HEIGHT]
    return (height, width) if turned else (width, height)


def _may_be_turned(png: Mapping[str, Any]) -> bool:
    content = png["bytes"]
    if content is None:
        content = Path(png["path"]).read_bytes()
    return any(name in content for name in ABOUT_PNG)
