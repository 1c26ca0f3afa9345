"""Rows of finished samples: appended while a run goes on, read back when it is resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .storage import writing


@dataclass(frozen=True, slots=True)
class SampleRow:
    """What one sample came to; a row of `samples/rank*.jsonl` and of `samples.parquet`.

    Attributes:
        parsed: what was read from `prediction`: a box as JSON, or the normalised answer; "" where
            it is unread.
        target: the true box as JSON, or the accepted answers separated by " | ".
        score: in [0, 1]; None where the sample failed, or only a judge could have told.
        n_visual, n_kept: visual tokens before pruning, and after the last stage.
        kept_by_stage: JSON, visual tokens left after each stage by its name.
        average_tokens: share of the visual tokens in the KV cache, mean over layers.
        kv_bytes: size of this sample's part of the KV cache after the prefill.
        settled: False where the prediction is unread.
        published_parsed, published_score, published_settled: the same to the letter of the
            published evaluation.
        judge: name of the judge that gave a verdict, in the readings that are not settled; "" where
            none did.
        error: why the sample failed; None where it did not.
        rank: of the process that computed it.
    """

    sample_id: str
    task: str
    rank: int
    category: str = ""
    question: str = ""
    prediction: str = ""
    parsed: str = ""
    target: str = ""
    score: float | None = None
    n_visual: int | None = None
    n_kept: int | None = None
    kept_by_stage: str = "{}"
    average_tokens: float | None = None
    kv_bytes: int | None = None
    settled: bool = True
    published_parsed: str = ""
    published_score: float | None = None
    published_settled: bool = True
    judge: str = ""
    error: str | None = None

    @property
    def is_unread(self) -> bool:
        """Whether neither a rule nor a judge could tell what the reply says."""
        return self.error is None and not self.settled and not self.judge

    def as_published(self) -> SampleRow:
        """The row with the published reading in the place of a person's."""
        return replace(
            self,
            parsed=self.published_parsed,
            score=self.published_score,
            settled=self.published_settled,
        )


class SampleLog:
    """Appends rows to a file such that a killed process loses at most the batch it was at.

    A torn last line, which such a process may leave, is removed first: its sample is computed
    again.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_torn_line(path)
            # Unbuffered: what could not be written must not be tried again when the file is closed.
            self._file = path.open("ab", buffering=0)

    def append(self, rows: Sequence[SampleRow]) -> None:
        """Returns when the rows are on the disk; all of them, or after an error none.

        Raises:
            StorageError: the disk is full, for example.
        """
        size = os.fstat(self._file.fileno()).st_size
        with writing(self._path):
            try:
                self._write("".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())
                os.fsync(self._file.fileno())
            except BaseException:
                os.ftruncate(self._file.fileno(), size)
                raise

    def _write(self, content: bytes) -> None:
        """A disk that is nearly full takes a part, and only refuses the next one."""
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        self._file.close()


def read_rows(paths: Iterable[Path]) -> list[SampleRow]:
    """All complete rows, of each sample the one that counts: success before failure, then the last.

    Raises:
        ValueError: a line in the middle of a file is damaged, or a sample succeeded twice.
    """
    rows: dict[str, SampleRow] = {}
    for path in paths:
        for row in _read(path):
            known = rows.get(row.sample_id)
            if known is None or known.error is not None:
                rows[row.sample_id] = row
            elif row.error is None:
                raise ValueError(
                    f"{path} has sample {row.sample_id!r}, which was finished before: two "
                    "processes wrote to this run; delete its folder and run the command again"
                )
    return list(rows.values())


def finished_ids(paths: Iterable[Path]) -> frozenset[str]:
    """The samples that need not be computed again; failed ones do."""
    return frozenset(row.sample_id for row in read_rows(paths) if row.error is None)


def merge(rows: Iterable[SampleRow], ids: Sequence[str]) -> list[SampleRow]:
    """One row for each of `ids`, in their order.

    Raises:
        RuntimeError: a sample has no row.
    """
    by_id = {row.sample_id: row for row in rows}
    if missing := [sample_id for sample_id in ids if sample_id not in by_id]:
        raise RuntimeError(
            f"{len(missing)} of {len(ids)} samples have no row, the first is {missing[0]!r}: "
            "run the command again to compute them"
        )
    return [by_id[sample_id] for sample_id in ids]


def _read(path: Path) -> list[SampleRow]:
    complete, _, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            rows.append(SampleRow(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number} is damaged ({error}): delete the line and run the command "
                "again, which computes its sample anew"
            ) from error
    return rows


def _remove_torn_line(path: Path) -> None:
    if path.exists():
        complete, newline, _ = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(complete) + len(newline))
