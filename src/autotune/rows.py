"""What is known of each candidate on each sample: a line of a file, written as soon as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runs.samples import SampleLog, read_lines

REFERENCE = "none"
"""In the place of a candidate's key: the unpruned model, decoding step by step."""
FILE = "agreement.jsonl"


@dataclass(frozen=True)
class Agreement:
    """One candidate on one sample.

    Attributes:
        candidate: its key.
        kl: from the unpruned model's distributions, mean over the tokens of its answer, in nats.
        tokens: of that answer.
        same: whether the candidate's likeliest tokens are that answer.
        answer: of the unpruned model; "" in rows of candidates.
        asked: see `ivcprune.data.asked`.
        average_tokens: visual tokens in the caches, as a share.
        kv_bytes: keys and values right after the prefill.
        flops, whole_flops: of the decoder layers in the prefill, and without pruning.
    """

    sample_id: str
    task: str
    candidate: str
    kl: float
    tokens: int
    same: bool
    n_visual: int
    average_tokens: float
    kv_bytes: int
    flops: float
    whole_flops: float
    answer: str = ""
    asked: str = ""


class Findings:
    """The rows of a question, on the disk and in memory."""

    def __init__(self, folder: Path) -> None:
        """Reads what is finished.

        Raises:
            ValueError: the file is damaged.
            StorageError: it cannot be written.
        """
        path = folder / FILE
        self._rows: dict[tuple[str, str], Agreement] = {}
        self._candidates: set[str] = set()
        if path.exists():
            self._remember(read_lines(path, Agreement))
        self._log = SampleLog(path)

    def add(self, rows: Sequence[Agreement]) -> None:
        """Returns when they are on the disk."""
        self._log.append(rows)
        self._remember(rows)

    def _remember(self, rows: Iterable[Agreement]) -> None:
        for row in rows:
            self._rows[row.candidate, row.sample_id] = row
            self._candidates.add(row.candidate)

    def forget_other(self, sample_id: str, asked: str) -> None:
        """Drops what was found when another prompt or picture had this id."""
        for key in [(candidate, sample_id) for candidate in self._candidates]:
            if key in self._rows and self._rows[key].asked != asked:
                del self._rows[key]

    def lacks(self, candidate: str, sample_id: str) -> bool:
        return (candidate, sample_id) not in self._rows

    def of(
        self, candidates: Iterable[str], sample_ids: Sequence[str]
    ) -> dict[str, list[Agreement]]:
        """The rows of each candidate by its key, in the order of these samples."""
        return {
            key: [row for name in sample_ids if (row := self._rows.get((key, name))) is not None]
            for key in candidates
        }

    def close(self) -> None:
        self._log.close()
