"""A refusal of the disk is explained, and leaves files as they were."""

import errno
import os
from pathlib import Path

import pytest

from ivcprune.runs.storage import REFUSALS, StorageError, replacing, writing


def fill_up(draft: Path) -> None:
    draft.write_text("half")
    refuse(errno.ENOSPC)


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", REFUSALS)
def test_what_the_user_can_put_right_is_explained(tmp_path: Path, number: int) -> None:
    explained = pytest.raises(StorageError, match=REFUSALS[number].split(":")[0])
    with explained as caught, writing(tmp_path):
        refuse(number)
    assert caught.value.errno == number
    assert str(tmp_path) in str(caught.value)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error") as caught, writing(tmp_path):
        refuse(errno.EIO)
    assert not isinstance(caught.value, StorageError)


def test_a_file_that_cannot_be_replaced_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(StorageError), replacing(path) as draft:
        fill_up(draft)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text() == "old"


def test_a_file_in_a_place_of_its_own_is_written_at_once(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "file.txt") as draft:
        draft.write_text("all of it")
        assert not (tmp_path / "new" / "file.txt").exists()
    assert (tmp_path / "new" / "file.txt").read_text() == "all of it"
