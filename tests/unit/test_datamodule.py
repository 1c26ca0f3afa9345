"""Subsets, batch composition, resume and distribution of the predict data."""

import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSamplerWrapper
from PIL import Image
from torch.utils.data import DataLoader

from ivcprune.data.batch import Batch
from ivcprune.data.datamodule import PredictData, choose_subset, compose_batches
from ivcprune.data.sample import DEFAULTS, FEATURES
from ivcprune.models.qwen.qwen2_5_vl import Qwen25VL

SIZES = [28, 84, 56, 28, 112, 56, 84]


class StandInProcessor:
    """Counts patches of 14 pixels; words are tokens."""

    image_processor = SimpleNamespace(patch_size=14)

    def tokenizer(self, texts: list[str], **_: Any) -> dict[str, list[list[str]]]:
        return {"input_ids": [text.split() for text in texts]}

    def _get_num_multimodal_tokens(self, image_sizes: list[tuple[int, int]]) -> dict[str, Any]:
        return {"num_image_tokens": [h // 14 * (w // 14) for h, w in image_sizes]}

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return str(messages[0]["content"][-1]["text"])

    def __call__(
        self, text: list[str], images: list[list[Image.Image]], **_: Any
    ) -> dict[str, torch.Tensor]:
        grids = [[1, image.height // 14, image.width // 14] for (image,) in images]
        return {"input_ids": torch.ones(len(text), 1), "image_grid_thw": torch.tensor(grids)}


@dataclass(frozen=True)
class Squares:
    """Square images of given sides; a side of 0 is a corrupt file."""

    sides: tuple[int, ...] = tuple(SIZES)
    name: str = "squares"
    repeat_ids: bool = False
    leave_out: str | None = None
    long_questions: tuple[int, ...] = ()
    frames: None = None

    def load(self, cache_dir: Path) -> datasets.Dataset:
        rows = [self._row(i, side) for i, side in enumerate(self.sides)]
        dataset = datasets.Dataset.from_list(rows, features=FEATURES)
        return dataset.remove_columns(self.leave_out) if self.leave_out else dataset

    def _row(self, i: int, side: int) -> dict[str, Any]:
        file = io.BytesIO()
        Image.new("RGB", (side or 1, side or 1)).save(file, format="PNG")
        sample_id = "same" if self.repeat_ids else f"sample-{i}"
        return DEFAULTS | {
            "id": sample_id,
            "group_id": sample_id,
            "task": "vqa" if i % 2 else "grounding",
            "images": [{"bytes": file.getvalue() if side else b"corrupt", "path": None}],
            "question": "what is this?" if i in self.long_questions else "what?",
            "answers": ["this"],
            "boxes": [],
            "category": "any",
            "width": side,
            "height": side,
        }


def predict_data(source: Squares | None = None, **options: Any) -> PredictData:
    options = {"batch_size": 2, "cache_dir": Path("unused")} | options
    prompts = {"vqa": "{question}", "grounding": "{question}"}
    data = PredictData(source or Squares(), Qwen25VL(), StandInProcessor(), prompts, **options)
    data.setup()
    return data


def composition(data: PredictData) -> list[list[str]]:
    return [[sample.id for sample in batch.samples] for batch in data.predict_dataloader()]


def test_batches_hold_similar_sizes_and_the_largest_come_first() -> None:
    assert compose_batches(SIZES, 3) == [[4, 1, 6], [2, 5, 0], [3]]
    assert compose_batches([], 3) == []


def test_each_sample_is_served_once() -> None:
    data = predict_data()
    assert data.ids == [f"sample-{i}" for i in range(7)]
    assert (data.total, data.remaining, data.tasks) == (7, 7, ["grounding", "vqa"])
    served = [sample_id for batch in composition(data) for sample_id in batch]
    assert sorted(served) == sorted(data.ids)


def test_finished_samples_leave_the_composition_as_it_was() -> None:
    complete = composition(predict_data())
    finished = frozenset({complete[0][1], *complete[2], "sample-of-another-run"})
    data = predict_data(finished=finished)
    assert composition(data) == [complete[0][:1], complete[1], complete[3]]
    assert (data.total, data.remaining) == (7, 4)


@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_image_is_reported_and_the_rest_served(workers: int) -> None:
    data = predict_data(Squares(sides=(56, 0, 56)), batch_size=3, num_workers=workers)
    (batch,) = data.predict_dataloader()
    assert [sample.id for sample in batch.samples] == ["sample-0", "sample-2"]
    assert [failure.sample_id for failure in batch.failures] == ["sample-1"]
    assert batch.input_sizes == [(56, 56), (56, 56)]


def stand_in_trainer(world_size: int = 1, device: str = "cpu") -> SimpleNamespace:
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(world_size=world_size, strategy=strategy)


def ranks(data: PredictData, world_size: int) -> list[list[Batch]]:
    """What Lightning serves on each rank."""
    data.trainer = stand_in_trainer(world_size)
    loader = data.predict_dataloader()
    served = []
    for rank in range(world_size):
        sampler = UnrepeatedDistributedSamplerWrapper(
            loader.sampler, num_replicas=world_size, rank=rank, shuffle=False
        )
        part = DataLoader(loader.dataset, sampler=sampler, collate_fn=loader.collate_fn)
        served.append(list(part))
    return served


def test_two_ranks_share_the_batches_without_repetition() -> None:
    data = predict_data(batch_size=3)
    first, second = ranks(data, world_size=2)
    assert (len(first), len(second)) == (2, 1)
    ids = [sample.id for batch in first + second for sample in batch.samples]
    assert sorted(ids) == sorted(data.ids)


@settings(deadline=None, max_examples=40)
@given(
    sides=st.lists(st.sampled_from([0, 14, 28, 42]), min_size=1, max_size=9),
    batch_size=st.integers(1, 5),
    world_size=st.integers(1, 4),
    data=st.data(),
)
def test_no_ranks_and_no_stop_lose_or_repeat_a_sample(
    sides: list[int], batch_size: int, world_size: int, data: st.DataObject
) -> None:
    """Whatever was finished before; and what goes on meets the batches of an undisturbed run."""
    source = Squares(sides=tuple(sides))
    finished = frozenset(
        f"sample-{i}" for i in data.draw(st.sets(st.integers(0, len(sides) - 1)), "finished")
    )
    served = [
        [*(sample.id for sample in batch.samples), *(item.sample_id for item in batch.failures)]
        for rank in ranks(
            predict_data(source, batch_size=batch_size, finished=finished), world_size
        )
        for batch in rank
    ]
    left = {f"sample-{i}" for i in range(len(sides))} - finished
    assert sorted(sample_id for batch in served for sample_id in batch) == sorted(left)
    whole = [{f"sample-{i}" for i in batch} for batch in compose_batches(sides, batch_size)]
    assert all(
        any(set(batch) == of_whole - finished for of_whole in whole) for batch in served if batch
    )


@pytest.mark.parametrize(("finished", "served"), [(6, 1), (7, 0)])
def test_ranks_without_work_get_an_empty_batch(finished: int, served: int) -> None:
    data = predict_data(finished=frozenset(f"sample-{i}" for i in range(finished)))
    everywhere = ranks(data, world_size=3)
    assert all(len(batches) == 1 for batches in everywhere)
    assert sum(len(batches[0].samples) for batches in everywhere) == served


class Recorder(LightningModule):
    def predict_step(self, batch: Batch, batch_idx: int) -> list[str]:
        return [sample.id for sample in batch.samples]


@pytest.mark.parametrize("finished", [0, 5, 7])
def test_lightning_trainer_serves_the_batches(finished: int, tmp_path: Path) -> None:
    data = predict_data(finished=frozenset(f"sample-{i}" for i in range(finished)))
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    batches = trainer.predict(Recorder(), datamodule=data)
    assert batches is not None
    served = [sample_id for batch in batches for sample_id in batch]
    assert sorted(served) == [f"sample-{i}" for i in range(finished, 7)]


def test_longer_questions_share_a_batch() -> None:
    """Images of one size: what is left is the text."""
    data = predict_data(Squares(sides=(28,) * 6, long_questions=(1, 4)))
    assert composition(data) == [
        ["sample-1", "sample-4"],
        ["sample-0", "sample-2"],
        ["sample-3", "sample-5"],
    ]


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda:1", True)])
def test_inputs_are_pinned_for_a_gpu(device: str, pinned: bool) -> None:
    data = predict_data()
    assert not data.predict_dataloader().pin_memory
    data.trainer = stand_in_trainer(device=device)
    assert data.predict_dataloader().pin_memory is pinned


def test_limit_takes_the_first_samples() -> None:
    assert predict_data(limit=3).ids == ["sample-0", "sample-1", "sample-2"]
    assert predict_data(limit=100).total == 7


def test_random_subset_is_the_same_every_time_and_grows() -> None:
    ids = [f"sample-{i}" for i in range(100)]
    subset = choose_subset(ids, 20, seed=1)
    assert subset == sorted(set(subset))
    assert subset == choose_subset(ids, 20, seed=1)
    assert subset not in (choose_subset(ids, 20, seed=2), choose_subset(ids, 20, seed=None))
    assert set(subset) < set(choose_subset(ids, 30, seed=1))
    assert choose_subset(ids[:4], 2, seed=0) == [0, 3]
    assert choose_subset(ids, None, seed=1) == list(range(100))


def test_random_subset_does_not_depend_on_the_order_of_the_dataset() -> None:
    ids = [f"sample-{i}" for i in range(100)]
    backwards = ids[::-1]
    chosen = {ids[i] for i in choose_subset(ids, 20, seed=1)}
    assert chosen == {backwards[i] for i in choose_subset(backwards, 20, seed=1)}


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"limit": 0}, "data.limit is 0"),
        ({"limit": 0.5}, "data.limit is 0.5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(option: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}.*at least"):
        predict_data(**option)


def test_source_must_be_canonical() -> None:
    with pytest.raises(ValueError, match=r"'squares' lacks the columns \['category'\]"):
        predict_data(Squares(leave_out="category"))
    with pytest.raises(ValueError, match=r"1 sample ids .* 'same'"):
        predict_data(Squares(repeat_ids=True))


def test_use_before_setup_is_explained() -> None:
    data = PredictData(
        Squares(), Qwen25VL(), StandInProcessor(), {}, batch_size=1, cache_dir=Path("unused")
    )
    with pytest.raises(RuntimeError, match=r"call setup\(\)"):
        _ = data.remaining
