"""Positions of pruned pictures, and how places travel beside embeddings."""

import pytest
import torch

from ivcprune.serving.vllm.positions import prompt_positions, split_places, with_places


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_places_come_back_exactly_in_any_type(dtype):
    places = torch.tensor([[0, 0], [255, 256], [257, 511], [1023, 4097], [65_535, 40_001]])
    embeddings = torch.randn(5, 6).to(dtype)
    rows, found = split_places(with_places(embeddings, places))
    assert torch.equal(found, places)
    assert torch.equal(rows, embeddings)
    assert rows.dtype == dtype


def test_one_channel_would_not_do():
    assert int(torch.tensor(257).to(torch.bfloat16)) == 256


def test_text_counts_on_behind_the_longer_side_of_a_picture():
    # 2 of text, a 4 x 6 picture of which 3 tokens are left, 2 of text
    positions, delta = prompt_positions(7, [(2, 3, 6)])
    assert positions.tolist() == [[0, 1, 2, 2, 2, 8, 9]] * 3
    assert delta == 10 - 7


def test_two_pictures_side_by_side_and_a_portrait_one():
    # the second follows at once; its longer side is its height
    positions, delta = prompt_positions(5, [(1, 2, 3), (3, 1, 9)])
    assert positions[0].tolist() == [0, 1, 1, 4, 13]
    assert delta == 14 - 5


def test_a_picture_at_the_very_end_counts_whole():
    positions, delta = prompt_positions(3, [(1, 2, 5)])
    assert positions[0].tolist() == [0, 1, 1]
    assert 3 + delta == 6


def test_text_alone():
    positions, delta = prompt_positions(3, [])
    assert positions.tolist() == [[0, 1, 2]] * 3
    assert delta == 0
