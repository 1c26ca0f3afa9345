"""Serves a benchmark as ready-made batches, split over devices without repetition."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Self

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from transformers import ProcessorMixin

from ..checks import check_at_least
from ..models.base import Family
from .asked import asked_of
from .batch import Collate, Row
from .lengths import sequence_lengths
from .loops import ends_no_loop
from .sample import FEATURES
from .sources import Source

log = logging.getLogger(__name__)


class PredictData(LightningDataModule):
    """The samples of a source that are still to be predicted.

    Batches are composed from ALL selected samples and only then reduced to the unfinished ones: a
    resumed run meets the batches of an uninterrupted one. The items of the DataLoader are whole
    batches, which Lightning's distributed sampler deals out to the ranks.

    Args:
        source: where the samples come from.
        family: what the model is one of; it knows the sizes that images are given.
        processor: turns prompts and images into model inputs.
        prompts: task -> template; see `ivcprune.data.prompts`.
        batch_size: samples per model call.
        cache_dir: where sources keep what they download or generate.
        limit: evaluate at most this many samples; None = all.
        subset_seed: None = the first `limit` samples; a number = a random choice of them.
        num_workers: processes that decode and encode; 0 = in the main process.
        finished: ids of the samples whose predictions exist already.

    Raises:
        ValueError: `limit`, `batch_size` or `num_workers` out of range.
    """

    def __init__(
        self,
        source: Source,
        family: Family,
        processor: ProcessorMixin,
        prompts: Mapping[str, str],
        batch_size: int,
        cache_dir: Path,
        limit: int | None = None,
        subset_seed: int | None = None,
        num_workers: int = 0,
        finished: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        if limit is not None:
            check_at_least("data.limit", limit, 1)
        check_at_least("batch_size", batch_size, 1)
        check_at_least("num_workers", num_workers, 0)
        self.source = source
        self.collate = Collate(family, processor, dict(prompts), source.frames)
        self._lengths: list[int] | None = None
        self.batch_size = batch_size
        self.cache_dir = cache_dir
        self.limit = limit
        self.subset_seed = subset_seed
        self.num_workers = num_workers
        self.finished = finished
        self.edited: Mapping[str, str] = {}
        self._asked: dict[str, str] = {}
        self._selected: datasets.Dataset | None = None

    def setup(self, stage: str | None = None) -> None:
        """Loads the source and takes the subset; does nothing the second time.

        Raises:
            ValueError: columns are missing, or two samples have the same id.
        """
        if self._selected is not None:
            return
        samples = self.source.load(self.cache_dir)
        check_canonical(samples, self.source.name)
        chosen = choose_subset(samples["id"], self.limit, self.subset_seed)
        self._selected = samples.select(chosen)

    def for_another_run(self) -> Self:
        """The same selected samples, none of them finished."""
        other = copy.copy(self)
        other.finished, other.edited = frozenset(), {}
        return other

    def meet(self, answered: Mapping[str, frozenset[str]]) -> None:
        """Takes note of what is answered already; samples that were edited since are not finished.

        Args:
            answered: by id, what samples asked when they were answered (`asked_of`), "" where that
                is not known. Afterwards `edited` has what those ask now that asked something else.
        """
        self._look_at(answered.keys() - self._asked.keys())
        now = {sample_id: self._asked.get(sample_id, "") for sample_id in answered}
        told = {i: digest for i, digest in now.items() if digest and "" not in answered[i]}
        self.edited = {i: digest for i, digest in told.items() if answered[i] != {digest}}
        self.finished = frozenset(i for i in answered if i not in told or told[i] in answered[i])

    def _look_at(self, ids: Set[str]) -> None:
        """Digests of the selected samples among these; runs on the same samples share them."""
        if not ids:
            return
        rows = self.selected.with_format("arrow")
        for index, sample_id in enumerate(self.ids):
            if sample_id in ids:
                self._asked[sample_id] = asked_of(rows[[index]].to_pylist()[0])

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Makes error rows of selected samples that cannot be scored: by id, why."""
        if not reasons:
            return
        selected = self.selected
        changed = {
            "error": [reasons.get(i, e) for i, e in zip(self.ids, selected["error"], strict=True)],
            "group_id": [
                "" if i in reasons else g
                for i, g in zip(self.ids, selected["group_id"], strict=True)
            ],
        }
        for name, cells in changed.items():
            kept = selected.remove_columns(name)
            selected = kept.add_column(name, cells, feature=FEATURES[name])
        log.warning(
            "data %r: %d of %d samples cannot be scored (%s) and will be errors in the results",
            self.source.name,
            len(reasons),
            len(selected),
            next(iter(reasons.values())),
        )
        self._selected = selected

    @property
    def selected(self) -> datasets.Dataset:
        """The samples of this run, finished or not, in dataset order."""
        if self._selected is None:
            raise RuntimeError("PredictData is not loaded yet: call setup() first")
        return self._selected

    @property
    def ids(self) -> list[str]:
        """Ids of the selected samples, in dataset order."""
        return list(self.selected["id"])

    @property
    def tasks(self) -> list[str]:
        """The different tasks of the selected samples, sorted."""
        return sorted(set(self.selected["task"]))

    @property
    def names_files(self) -> bool:
        """Whether a picture or a video of the selected samples lies in a file of its own."""
        table: pa.Table = self.selected.with_format("arrow")[:]
        content = pc.struct_field(pc.list_flatten(table["images"]), "bytes")
        return bool(content.null_count) or any(table["video"].to_pylist())

    @property
    def total(self) -> int:
        """Number of selected samples."""
        return len(self.selected)

    @property
    def remaining(self) -> int:
        """Number of selected samples that are not finished."""
        return sum(sample_id not in self.finished for sample_id in self.ids)

    def predict_dataloader(self) -> DataLoader[list[Row]]:
        return self.dataloader_without(self.finished)

    def dataloader_without(self, finished: frozenset[str]) -> DataLoader[list[Row]]:
        """Batches of the selected samples that are not among these ids."""
        ids = self.ids
        batches = [
            [i for i in batch if ids[i] not in finished]
            for batch in compose_batches(self._sequence_lengths(), self.batch_size)
        ]
        batches = [batch for batch in batches if batch]
        # Lightning demands an item for every rank: the last ranks may get an empty batch.
        world_size = self.trainer.world_size if self.trainer is not None else 1
        batches += [[] for _ in range(world_size - len(batches))]
        return DataLoader(
            _RowsOfBatch(self.selected, batches),
            batch_size=1,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            pin_memory=self._serves_gpu(),
        )

    def _sequence_lengths(self) -> list[int]:
        """Of the selected samples; the same however many of them are finished."""
        if self._lengths is None:
            made = self.collate
            self._lengths = sequence_lengths(
                self.selected, made.family, made.processor, made.prompts
            )
        return self._lengths

    def _serves_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


class _RowsOfBatch(Dataset[list[Row]]):
    """Item i holds the rows of the i-th batch, their images undecoded."""

    def __init__(self, rows: datasets.Dataset, batches: list[list[int]]) -> None:
        self._rows = rows.with_format("arrow")
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    @ends_no_loop
    def __getitem__(self, index: int) -> list[Row]:
        batch = self._batches[index]
        return self._rows[batch].to_pylist() if batch else []


def choose_subset(ids: Sequence[str], limit: int | None, seed: int | None) -> list[int]:
    """Ascending indices of at most `limit` of the samples `ids`; all where `limit` is None.

    With a seed, the samples whose hash with the seed is smallest: this depends on no library's
    random numbers and on no order, and a larger limit only adds samples.
    """
    indices = list(range(len(ids)))
    if limit is None or limit >= len(indices):
        return indices
    if seed is None:
        return indices[:limit]
    digests = [hashlib.sha256(f"{seed}:{sample_id}".encode()).digest() for sample_id in ids]
    return sorted(sorted(indices, key=digests.__getitem__)[:limit])


def compose_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices of samples of similar length in batches of `batch_size`, the longest first.

    Little padding is wasted, and what does not fit into memory shows at the start of the run.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def check_canonical(samples: datasets.Dataset, name: str) -> None:
    """Raises ValueError where columns of `FEATURES` are missing or two samples have the same id."""
    if missing := sorted(set(FEATURES) - set(samples.column_names)):
        raise ValueError(
            f"data {name!r} lacks the columns {missing}: its source must map to "
            "ivcprune.data.sample.FEATURES"
        )
    repeated = [sample_id for sample_id, times in Counter(samples["id"]).items() if times > 1]
    if repeated:
        raise ValueError(
            f"data {name!r} has {len(repeated)} sample ids more than once, such as "
            f"{repeated[0]!r}: ids must be unique, since runs are resumed and compared by them"
        )
