"""What many files share: chunks of large tables, memos of tensors, checks of settings."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from ivcprune import checks
from ivcprune.pruning.memo import SameTensors
from ivcprune.selectors import HoloVSelector, Per, RandomSelector, VisPrunerSelector, VScanSelector
from ivcprune.tokens.chunks import chunk_length, chunks


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [(5, 4, [(0, 2), (2, 4), (4, 6)]), (2, 99, [(0, 1), (1, 2)]), (3, 0, [(0, 10)]), (0, 4, [])],
)
def test_chunks_cover_every_entry_once(monkeypatch, n, size, expected):
    """Ten elements at most: two entries of 4 each; one entry where a single one has 99."""
    monkeypatch.setattr("ivcprune.tokens.chunks.LARGEST", 10)
    assert [(some.start, some.stop) for some in chunks(n, size)] == expected
    assert [i for some in chunks(n, size) for i in range(n)[some]] == list(range(n))
    assert chunk_length(size) == max(1, 10 // max(1, size))


class TestSameTensors:
    def test_equal_tensors_are_not_the_same(self):
        memo: SameTensors[int] = SameTensors()
        made: list[int] = []

        def make() -> int:
            made.append(len(made))
            return made[-1]

        one, other = torch.ones(2), torch.ones(2)
        assert [memo.once((x, None), make) for x in (one, other, one)] == [0, 1, 0]
        assert memo.once((one, None), make, 3) == 2  # of another number
        assert memo.once((None, one), make) == 3

    def test_an_id_is_not_given_to_another_tensor(self):
        """Else a new tensor at the address of one that has gone would find its entry."""
        memo: SameTensors[float] = SameTensors()
        for number in range(200):
            tensor = torch.full((3,), float(number))
            assert memo.once((tensor,), lambda x=tensor: x[0].item()) == number
            del tensor
            gc.collect(0)

    def test_what_is_made_may_be_none(self):
        memo: SameTensors[None] = SameTensors()
        asked: list[None] = []
        for _ in range(2):
            memo.once((asked,), lambda: asked.append(None))
        assert asked == [None]


@dataclass(frozen=True)
class Owner:
    width: float = 0.5


def test_a_setting_is_called_by_its_class():
    assert checks.setting(Owner(), "width") == "Owner.width"


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, float("nan")])
def test_a_fraction_is_a_number_from_0_to_1(value):
    for good in (0, 0.5, 1):
        checks.check_fraction("x", good)
    with pytest.raises(ValueError, match=r"^x is .*: it must be a share in \[0, 1\]$"):
        checks.check_fraction("x", value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Per("smaple", RandomSelector()), "Per.scope is 'smaple': did you mean 'sample'?"),
        (lambda: VScanSelector(window=2.5), "VScanSelector.window is 2.5: .*whole number"),
        (lambda: HoloVSelector(runs=0), "HoloVSelector.runs is 0: .*at least 1"),
        (lambda: VisPrunerSelector(important=2.0), "VisPrunerSelector.important is 2.0"),
    ],
)
def test_selectors_say_what_a_setting_may_be(make: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        make()
