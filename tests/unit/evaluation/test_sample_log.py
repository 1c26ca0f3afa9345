"""Rows survive a kill, torn lines are repaired, failures are tried again."""

from dataclasses import replace
from pathlib import Path

import pytest

from ivcprune.runs.samples import SampleLog, answered, merge, read_rows
from ivcprune.runs.schema import SampleRow


def row(sample_id: str, error: str | None = None, prediction: str = "") -> SampleRow:
    return SampleRow(sample_id, task="vqa", rank=0, error=error, prediction=prediction)


def write(path: Path, *rows: SampleRow) -> None:
    log = SampleLog(path)
    log.append(rows)
    log.close()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "rank00.jsonl"
    rows = [
        row("a", prediction='naïve "quote"\nnext \ud800 line'),
        row("b", error="OSError: broken"),
    ]
    write(path, *rows[:1])
    write(path, *rows[1:])
    assert read_rows([path]) == rows


@pytest.mark.parametrize("torn", [b'{"sample_id": "b", "ta', b"\0\0\0\0", b'{"sample_id": "\xc3'])
def test_a_torn_last_line_is_ignored_and_then_repaired(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "rank00.jsonl"
    write(path, row("a"))
    with path.open("ab") as file:
        file.write(torn)
    assert [r.sample_id for r in read_rows([path])] == ["a"]
    write(path, row("b"))
    assert [r.sample_id for r in read_rows([path])] == ["a", "b"]


def test_a_file_with_nothing_but_a_torn_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "rank00.jsonl"
    path.write_text('{"sample')
    write(path, row("a"))
    assert read_rows([path]) == [row("a")]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rank00.jsonl"
    write(path, row("a"))
    with path.open("a") as file:
        file.write("garbage\n")
    write(path, row("b"))
    with pytest.raises(ValueError, match=r"rank00\.jsonl, line 2 is damaged .* delete the line"):
        read_rows([path])


def test_success_counts_whatever_rank_failed_before_or_after(tmp_path: Path) -> None:
    first, second = tmp_path / "rank00.jsonl", tmp_path / "rank01.jsonl"
    write(first, row("a", error="out of luck"), row("b"), row("c", error="first"))
    write(second, row("a"), row("b", error="late"), row("c", error="second"))
    assert read_rows([first, second]) == [row("a"), row("b"), row("c", error="second")]


def test_two_successes_of_one_sample_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "rank00.jsonl", tmp_path / "rank01.jsonl"
    write(first, row("a"))
    write(second, row("a"))
    with pytest.raises(ValueError, match="two processes wrote to this run"):
        read_rows([first, second])


def test_of_an_edited_sample_the_answer_to_what_it_asks_now_counts(tmp_path: Path) -> None:
    path = tmp_path / "rank00.jsonl"
    old, new = (replace(row("a", prediction=text), asked=text) for text in ("old", "new"))
    write(path, old, replace(row("b"), asked="b"), new, row("c", error="missing"))
    assert answered([path]) == {"a": {"old", "new"}, "b": {"b"}}
    for one in (old, new):
        rows = read_rows([path], {"a": one.asked})
        assert [row for row in rows if row.sample_id == "a"] == [one]
    failed = row("a", error="broken")
    write(path, failed)
    assert failed in read_rows([path], {"a": "newest"})
    write(path, old)
    with pytest.raises(ValueError, match="'a', which was finished before"):
        read_rows([path])


def test_merge_follows_the_dataset_and_misses_no_sample() -> None:
    assert merge([row("b"), row("a"), row("other")], ["a", "b"]) == [row("a"), row("b")]
    with pytest.raises(RuntimeError, match=r"2 of 3 samples have no row, the first is 'b'"):
        merge([row("a")], ["a", "b", "c"])
