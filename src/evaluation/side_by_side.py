"""One prediction step of several runs: each batch under every policy, in turns on one model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from lightning import LightningModule

from ..api import shared_prefix
from ..data.batch import Batch
from ..pruning.shared_prefix import SharedPrefix
from .lanes import Lane, LaneData, stop_without_lanes
from .module import PredictionError, PredictModule, naming_samples
from .predictions import Predictions

log = logging.getLogger(__name__)


class SideBySideModule(LightningModule):
    """Answers each batch under the policies of all lanes.

    Pictures are decoded, processed and encoded once, and the decoder layers before the policies
    part run once; see `pruning.shared_prefix`. A lane that fails leaves the others going.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__()
        self._lanes = list(lanes)

    def configure_model(self) -> None:
        """Loads the model once, for all lanes."""
        first, *others = (lane.module for lane in self._lanes)
        first.trainer = self.trainer
        first.configure_model()
        for module in others:
            module.trainer = self.trainer
            module.use_model_of(first)
        if self.global_rank == 0 and (reason := self._share(range(len(self._lanes))).obstacle):
            log.info("the policies share the pictures and no decoder layers: %s", reason)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[int, Predictions]:
        """What the batch came to, by number of the lane; none of lanes that stopped or are done."""
        outcomes: dict[int, Predictions] = {}
        for numbers, part in self._parts(batch):
            outcomes |= dict(self._in_turns(numbers, part))
        if not outcomes:
            stop_without_lanes(self._lanes)
        return outcomes

    def _parts(self, batch: Batch) -> Iterator[tuple[list[int], Batch]]:
        """The samples that lanes still lack, as each lane's own batches would hold them."""
        parts: dict[tuple[str, ...], list[int]] = {}
        for number, lane in enumerate(self._lanes):
            if lane.goes_on and (ids := lane.unfinished(batch)):
                parts.setdefault(ids, []).append(number)
        for ids, numbers in parts.items():
            yield numbers, self._part(batch, ids)

    def _part(self, batch: Batch, ids: Sequence[str]) -> Batch:
        if len(ids) == len(batch.samples) + len(batch.failures):
            return batch
        samples = [sample for sample in batch.samples if sample.id in ids]
        failures = [failure for failure in batch.failures if failure.sample_id in ids]
        data: LaneData = self.trainer.datamodule  # type: ignore[attr-defined]
        return data.collate.encode(samples, failures).to(self.device)

    def _in_turns(self, numbers: Sequence[int], batch: Batch) -> Iterator[tuple[int, Predictions]]:
        shared = self._share(numbers)
        for place in shared.order:
            lane = self._lanes[numbers[place]]
            answer = partial(self._turn, shared, place, lane.module, batch)
            try:
                done = naming_samples(batch, answer)
            except PredictionError as error:
                lane.stop(error)
            else:
                yield numbers[place], done

    def _share(self, numbers: Sequence[int]) -> SharedPrefix:
        modules: list[PredictModule] = [self._lanes[number].module for number in numbers]
        model = modules[0].model
        assert model is not None
        return shared_prefix(model, [module.policy for module in modules])

    @staticmethod
    def _turn(shared: SharedPrefix, place: int, module: PredictModule, batch: Batch) -> Predictions:
        """The answers under one policy; alone, where memory does not suffice for sharing."""
        try:
            with shared.turn(place):
                return module.predict_at_once(batch)
        except torch.OutOfMemoryError:
            shared.stop()
        # Outside of the handler: the exception holds the tensors of the failed attempt.
        torch.cuda.empty_cache()
        return module.predict(batch)
