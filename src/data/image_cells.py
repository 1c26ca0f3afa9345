"""What image cells mean: paths, encoded images in bytes or text, structs and lists of them."""

from __future__ import annotations

import ast
import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from typing import Any

import PIL.Image

from .cells import file_in, parse_list
from .pictures import ENCODED
from .texts import as_list, as_text, is_missing, shortened

Row = dict[str, Any]

DATA_URI = "data:"
LONGEST_REFERENCE = 64
"""Characters; a shorter text is an image only if its bytes begin as one."""

LONGEST_PATH = 1024
"""Characters; a longer text in base64 is an image, if a damaged one."""

_URL_SAFE = str.maketrans("-_", "+/")
_LITERALS = ("b'", 'b"', "{'bytes'", "{'path'", '{"bytes"', '{"path"')
"""How the text of a cell begins that held bytes or a struct before it was written to a csv."""


def images_in(cell: Any, folder: str | None) -> list[Row]:
    """The undecoded images of a cell; a missing one, in one of several columns say, is left out.

    Args:
        cell: a path, an address of the kind `data:image/png;base64,...`, base64, bytes, a struct of
            `bytes` and `path`, a list of these, or such a list written as text.
        folder: what paths are relative to.

    Raises:
        ValueError: it is none of these.
    """
    found = (image_in(part, folder) for whole in as_list(cell) for part in _parts(whole))
    return [image for image in found if image is not None]


def _parts(cell: Any) -> list[Any]:
    """The members of a list that was written as text; a path may begin with a bracket, too."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return [cell]
    try:
        return parse_list(cell)
    except ValueError:
        return [cell]


def image_in(cell: Any, folder: str | None) -> Row | None:
    """The undecoded image of a cell that holds one at most; None where there is none.

    Raises:
        ValueError: it holds something else.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, bytes | bytearray):
        return _of_bytes(bytes(cell))
    if isinstance(cell, Mapping):
        return _of_struct(cell, folder)
    if isinstance(cell, str) and cell.lstrip().startswith(_LITERALS):
        return image_in(_literal(cell), folder)
    text = as_text(cell)
    if (content := bytes_in(text)) is not None:
        return {**ENCODED, "bytes": content}
    if len(text) > LONGEST_PATH:
        raise ValueError(f"the image {shortened(text)} is neither base64 nor a path")
    return {**ENCODED, "path": file_in(folder, text)} if text else None


def _of_bytes(content: bytes) -> Row:
    """An image in bytes; a text in bytes is decoded, but is no path."""
    text = content.decode("ascii", errors="ignore") if content.isascii() else ""
    decoded = bytes_in(text) if text else None
    return {**ENCODED, "bytes": content if decoded is None else decoded}


def _of_struct(cell: Mapping[str, Any], folder: str | None) -> Row | None:
    if not {"bytes", "path"} & set(cell):
        raise ValueError(f"the image {shortened(cell)} has neither `bytes` nor `path`")
    content, path = cell.get("bytes"), cell.get("path")
    if is_missing(content):
        return image_in(path, folder)
    if isinstance(content, str):
        if (decoded := bytes_in(content)) is None:
            raise ValueError(f"the bytes of the image {shortened(content)} are no base64")
        content = decoded
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"the bytes of the image {shortened(content)} are none")
    return _of_bytes(bytes(content)) | {"path": as_text(path) or None}


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"the image {shortened(text)} is cut off or damaged") from None


def bytes_in(text: str) -> bytes | None:
    """The bytes of an image that is written as text; None where the text is no such thing."""
    if text[: len(DATA_URI)].lower() == DATA_URI:
        kind, _, payload = text.partition(",")
        if not kind.lower().endswith(";base64"):
            raise ValueError(f"the image {shortened(text)} is an address without base64")
        return decode_base64(payload)
    # A path has an ending, which base64 cannot have; that spares decoding most of them.
    if not text or "." in text:
        return None
    content = decode_base64(text)
    if content and (len(text) > LONGEST_PATH or _is_image(content)):
        return content
    return None


def decode_base64(text: str) -> bytes:
    """Bytes from base64, perhaps of addresses, unpadded or on several lines; none if damaged."""
    compact = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_image(content: bytes) -> bool:
    try:
        with warnings.catch_warnings(), PIL.Image.open(io.BytesIO(content)):
            return True
    # Whatever is wrong with it, it is not known to be an image.
    except Exception:
        return False
