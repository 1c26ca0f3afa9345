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

    Of pictures and of a video in a file, the content is looked at.

    Returns:
        "" where a picture or the video is not there, so that it cannot be told.
    """
    digest = hashlib.sha256(json.dumps([row[name] for name in TEXTS]).encode())
    try:
        for image in row["images"]:
            digest.update(_sha256(image["path"], image["bytes"]))
        if row["video"] and Path(row["video"]).is_file():
            digest.update(_sha256(row["video"]))
    except OSError:
        return ""
    return digest.hexdigest()[:16]


def _sha256(path: str, content: bytes | None = None) -> bytes:
    if content is not None:
        return hashlib.sha256(content).digest()
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
