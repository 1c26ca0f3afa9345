"""What a sample asks, as a digest: a source may be edited in its place, under the same ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXTS = ("task", "question", "answers", "boxes", "category", "choices", "hint", "metadata", "video")
"""Columns of `FEATURES` that an answer or its score depend on, beside the pictures."""


def asked_of(row: Mapping[str, Any]) -> str:
    """Changes with what a row of a canonical dataset asks, and with what is right.

    Of pictures the content is looked at, of a video in a file its size.

    Returns:
        "" where a picture or the video is not there, so that it cannot be told.
    """
    digest = hashlib.sha256(json.dumps([row[name] for name in TEXTS]).encode())
    try:
        for image in row["images"]:
            digest.update(hashlib.sha256(_content(image)).digest())
        if row["video"]:
            video = Path(row["video"])
            digest.update(str(video.is_dir() or video.stat().st_size).encode())
    except OSError:
        return ""
    return digest.hexdigest()[:16]


def _content(image: Mapping[str, Any]) -> bytes:
    if image["bytes"] is None and image["path"] is None:
        raise FileNotFoundError("an image without content")
    content: bytes | None = image["bytes"]
    return Path(image["path"]).read_bytes() if content is None else content
