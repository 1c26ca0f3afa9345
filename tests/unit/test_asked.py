"""Digests of what samples ask: every part counts, ids and places do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ivcprune.data.asked import asked_of
from ivcprune.data.sample import DEFAULTS

ROW: dict[str, Any] = DEFAULTS | {
    "id": "1",
    "group_id": "1",
    "task": "vqa",
    "question": "what is it?",
    "images": [{"bytes": b"red", "path": None}],
}


@pytest.mark.parametrize(
    "other",
    [
        {"task": "grounding"},
        {"question": "what colour is it?"},
        {"answers": ["red"]},
        {"boxes": [[0.0, 1.0, 2.0, 3.0]]},
        {"choices": ["red", "blue"]},
        {"hint": "look"},
        {"metadata": "{}"},
        {"category": "count"},
        {"images": [{"bytes": b"blue", "path": None}]},
        {"images": ROW["images"] * 2},
        {"images": []},
    ],
)
def test_every_part_counts(other: dict[str, Any]) -> None:
    assert asked_of(ROW | other) not in ("", asked_of(ROW))


@pytest.mark.parametrize("other", [{"id": "2"}, {"group_id": "2"}, {"width": 8, "height": 9}])
def test_names_and_measures_do_not(other: dict[str, Any]) -> None:
    assert asked_of(ROW | other) == asked_of(ROW)


def test_a_picture_counts_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"red")
    named = ROW | {"images": [{"bytes": None, "path": str(file)}]}
    assert asked_of(named) == asked_of(ROW)
    file.write_bytes(b"blue")
    assert asked_of(named) not in ("", asked_of(ROW))
    file.unlink()
    assert asked_of(named) == ""
    assert asked_of(ROW | {"images": [{"bytes": None, "path": None}]}) == ""


def test_a_video_counts_by_its_size(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    filmed = ROW | {"images": [], "video": str(file)}
    assert asked_of(filmed) == ""
    file.write_bytes(b"1")
    first = asked_of(filmed)
    file.write_bytes(b"12")
    assert asked_of(filmed) not in ("", first)
