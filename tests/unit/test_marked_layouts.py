"""Layouts that are told by the tokens between visual ones."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ivcprune.models.registry import family_named
from ivcprune.testing import tiny_model
from ivcprune.testing.inputs import batch, picture

IMAGE, FENCE, BREAK, TWO_BREAKS, NAME, WHOLE, TEXT = range(10, 17)
CORE = SimpleNamespace(image_seq_len=4, config=SimpleNamespace(image_token_id=IMAGE))


def tiled(rows: int, columns: int, name: list[int], last: list[int]) -> list[int]:
    """An image of rows x columns tiles of four tokens, as Idefics3's processor writes it."""
    tile = [FENCE, *name, *[IMAGE] * 4]
    lines = [tile * columns] * rows
    joined = [token for line in lines[:-1] for token in [*line, BREAK]]
    whole = [FENCE, WHOLE, *[IMAGE] * 4, FENCE]
    return [*joined, *lines[-1], *last, *whole] if rows else whole


def layout(ids: list[int]) -> list[tuple[int, str, tuple[float, float]]]:
    """Image, kind and centre of each block."""
    inputs = {"input_ids": torch.tensor([ids])}
    found = family_named("idefics3").blocks(CORE, inputs, torch.zeros(1, 1, len(ids)).long())
    starts = [i for i in range(len(ids)) if ids[i] == IMAGE and ids[i - 1] != IMAGE]
    assert [block.start for block in found] == starts
    centres = [block.xy.mean(dim=0).tolist() for block in found]
    return [
        (block.image, block.kind, (round(x, 3), round(y, 3)))
        for block, (x, y) in zip(found, centres, strict=True)
    ]


@pytest.mark.parametrize("name", [[NAME], [NAME, NAME, NAME]], ids=["one-token", "spelt"])
@pytest.mark.parametrize("last", [[BREAK, BREAK], [TWO_BREAKS]], ids=["two-breaks", "merged"])
@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 1), (2, 2), (2, 3)])
def test_tiles_lie_where_the_marks_say(
    grid: tuple[int, int], last: list[int], name: list[int]
) -> None:
    rows, columns = grid
    found = layout([TEXT, *tiled(rows, columns, name, last), TEXT])
    tiles = [
        (0, "tile", (round((column + 0.5) / columns, 3), round((row + 0.5) / rows, 3)))
        for row in range(rows)
        for column in range(columns)
    ]
    assert found == [*tiles, (0, "thumbnail", (0.5, 0.5))]


def test_images_side_by_side_are_told_apart() -> None:
    cut, plain = tiled(1, 2, [NAME], [TWO_BREAKS]), tiled(0, 0, [], [])
    found = layout([*plain, *cut, TEXT, *plain])
    assert [(image, kind) for image, kind, _ in found] == [
        (0, "thumbnail"),
        *[(1, "tile")] * 2,
        (1, "thumbnail"),
        (2, "thumbnail"),
    ]


def test_an_image_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="do not stand in runs of 4, each between marks"):
        layout([FENCE, WHOLE, *[IMAGE] * 4])


@pytest.mark.parametrize("size", [(168, 40), (40, 168), (168, 168), (100, 60)])
def test_they_are_the_processors(size: tuple[int, int]) -> None:
    model, processor = tiny_model("idefics3")
    images = processor.image_processor([[picture(*size)]], return_row_col_info=True)
    rows, columns = images["rows"][0][0], images["cols"][0][0]
    ids = batch(processor, ("where", [picture(*size)]))["input_ids"]
    found = family_named("idefics3").blocks(model.model, {"input_ids": ids}, ids[None])
    centres = {tuple(block.xy.mean(dim=0).tolist()) for block in found if block.kind == "tile"}
    assert len(found) == rows * columns + 1
    assert len({x for x, _ in centres}) == columns
    assert len({y for _, y in centres}) == rows


def test_frames_of_glm_use_the_image_token_between_the_marks_of_a_video() -> None:
    model, _ = tiny_model("glm4v")
    config = model.config
    marks = [config.image_start_token_id, config.image_end_token_id]
    frame = [marks[0], *[config.image_token_id] * 4, marks[1], 100]
    videos = [config.video_start_token_id, *frame, *frame, config.video_end_token_id]
    ids = torch.tensor([[*frame, *videos, 101, *videos]])
    is_video = torch.zeros_like(ids)
    is_video[:, len(frame) :] = 1
    kinds = (ids == config.image_token_id).int() * (1 + is_video)
    positions, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=kinds,
        image_grid_thw=torch.tensor([[1, 4, 4]]),
        video_grid_thw=torch.tensor([[2, 4, 4], [2, 4, 4]]),
    )
    found = family_named("glm4v").blocks(model.model, {"input_ids": ids}, positions)
    assert [(block.image, block.kind, block.grid) for block in found] == [
        (0, "image", (2, 2)),
        *[(1, "frame", (2, 2))] * 2,
        *[(2, "frame", (2, 2))] * 2,
    ]
