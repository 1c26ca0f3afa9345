"""Every mode and turn of a picture: what the model sees, and the size that is stored of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ivcprune.data.batch import _images
from ivcprune.data.pictures import image_size, open_picture, to_rgb
from source_formats import png

RAMP = np.linspace(0, 1, 256).reshape(16, 16)


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def encoded(content: bytes) -> dict[str, Any]:
    return {"bytes": content, "path": None}


def grey_of(picture: Image.Image) -> np.ndarray[Any, Any]:
    pixels = np.asarray(to_rgb(picture))
    assert pixels.shape[2] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_what_is_transparent_is_white(mode: str) -> None:
    alpha = Image.new("L", (4, 2), 0)
    alpha.putpixel((0, 0), 255)
    alpha.putpixel((1, 0), 51)
    picture = Image.new("P" if mode == "PA" else "L", (4, 2), 0)
    picture.putalpha(alpha)
    if mode != "PA":
        picture = picture.convert("RGBA" if mode.startswith("RGB") else "LA").convert(mode)
    assert picture.mode == mode
    seen = grey_of(picture)
    assert seen[0, 0] == 0
    assert abs(int(seen[0, 1]) - 204) <= 1  # a fifth of black on white
    assert (seen[1] == 255).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1", "I;16"])
def test_a_colour_that_is_declared_transparent_is_white(mode: str) -> None:
    picture = Image.new("L" if mode == "I;16" else mode, (4, 2), 0)
    if mode == "I;16":
        picture = Image.fromarray(np.zeros((2, 4), np.uint16))
    picture.putpixel((0, 0), (9, 9, 9) if mode == "RGB" else 1)
    if mode == "P":
        picture.putpalette([0, 0, 0, 90, 90, 90])
    key: Any = (0, 0, 0) if mode == "RGB" else 0
    content = saved(picture, transparency=key)
    seen = np.asarray(open_picture(encoded(content)))
    assert (seen[1] == 255).all()
    expected = {"P": 90, "L": 1, "RGB": 9, "1": 255, "I;16": 0}
    assert seen[0, 0].tolist() == [expected[mode]] * 3


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_grey_of_16_bits_keeps_its_steps(mode: str) -> None:
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    picture = Image.fromarray(deep)
    if mode == "I;16B":
        picture = Image.frombytes(mode, picture.size, deep.astype(">u2").tobytes())
    assert (grey_of(picture) == np.rint(RAMP * 255)).all()


def test_a_png_of_16_bits_equals_that_of_8() -> None:
    shallow = np.rint(RAMP * 255).astype(np.uint8)
    deep = saved(Image.fromarray(shallow.astype(np.uint16) * 257))
    (seen,) = _images({"images": [encoded(deep)]})
    (same,) = _images({"images": [encoded(saved(Image.fromarray(shallow)))]})
    assert np.array_equal(np.asarray(seen), np.asarray(same))


@pytest.mark.parametrize(
    ("mode", "low", "high"),
    [("I", 0, 65535), ("I", -1000, 1_000_000), ("F", 0, 1), ("F", -1, 1), ("F", 0, 4095)],
)
def test_grey_of_32_bits_is_scaled_by_its_range(mode: str, low: float, high: float) -> None:
    kind = np.int32 if mode == "I" else np.float32
    values = (low + RAMP * (high - low)).astype(kind)
    picture = Image.fromarray(values)
    assert picture.mode == mode
    assert (np.abs(grey_of(picture).astype(int) - RAMP * 255) <= 1).all()


def test_floats_between_0_and_1_are_not_stretched() -> None:
    assert (grey_of(Image.fromarray(np.full((2, 2), 0.5, np.float32))) == 128).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_grey_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="grey values that are no number"):
        to_rgb(Image.fromarray(np.full((2, 2), value, np.float32)))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "RGBX"])
def test_other_colour_spaces_keep_their_colours(mode: str) -> None:
    red = Image.new("RGB", (4, 4), (200, 30, 40))
    if mode == "LAB":
        from PIL import ImageCms

        spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(red, *spaces, outputMode="LAB")
        assert picture is not None
    else:
        picture = red.convert(mode)
    seen = np.asarray(to_rgb(picture)).astype(int)
    assert (np.abs(seen - (200, 30, 40)) <= 6).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_stored_size_is_that_of_the_picture_that_is_seen(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.new("RGB", (40, 20)), kind, exif=exif)
    upright = (20, 40) if orientation >= 5 else (40, 20)
    (tmp_path / "picture").write_bytes(content)
    for image in (encoded(content), {"bytes": None, "path": str(tmp_path / "picture")}):
        assert image_size(image) == upright
        assert open_picture(image).size == upright


def test_a_png_may_say_at_its_end_or_in_xmp_how_it_is_turned() -> None:
    from PIL.PngImagePlugin import PngInfo

    xmp = '<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain, turned = saved(Image.new("RGB", (40, 20))), saved(Image.new("RGB", (40, 20)), exif=exif)
    start = turned.index(b"eXIf") - 4
    chunk = turned[start : start + 12 + int.from_bytes(turned[start : start + 4])]
    end = plain.index(b"IEND") - 4
    for content in (
        plain[:end] + chunk + plain[end:],
        saved(Image.new("RGB", (40, 20)), pnginfo=info),
    ):
        assert open_picture(encoded(content)).size == image_size(encoded(content)) == (20, 40)


def test_sizes_come_from_the_header_alone() -> None:
    assert image_size(encoded(png(30, 20)[:60])) == (30, 20)
    assert image_size(encoded(b"")) == (0, 0)
    assert image_size({"bytes": None, "path": "/no/such/file.png"}) == (0, 0)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX",
     "RGBa", "La", "I;16", "I;16L", "I;16B", "I;16N"],
)  # fmt: skip
def test_every_mode_of_pillow_is_seen_in_rgb(mode: str) -> None:
    seen = to_rgb(Image.new(mode, (3, 2)))
    assert (seen.mode, seen.size) == ("RGB", (3, 2))
