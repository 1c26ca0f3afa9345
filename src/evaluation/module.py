"""One prediction step: prune, generate, score."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from transformers import PreTrainedModel, ProcessorMixin

from ..api import prune
from ..checks import one_line
from ..data.batch import Batch, Failure
from ..data.datamodule import PredictData
from ..data.sample import Sample
from ..metrics.parsers import DEFAULT_PARSER
from ..metrics.scoring import Conventions, published_reading, read_reply
from ..models.areas import WHOLE, Area
from ..models.decoding import Decoding, not_followed
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..pruning.statistics import PrefillStatistics
from ..runs.schema import SampleRow
from .predictions import Overlay, Predictions

log = logging.getLogger(__name__)


class PredictionError(RuntimeError):
    """Pruning, generating or reading replies failed; the cause has the traceback."""


class PredictModule(LightningModule):
    """Answers batches with a pruned model, and scores the answers.

    Args:
        spec: the model to load.
        processor: of the same model.
        policy: how its visual tokens are pruned.
        attention: "auto", "flash", "sdpa" or "eager".
        decoding: how answers are decoded.
        overlay_ids: the samples that get an overlay.
        parser: how answers are read; see `ivcprune.metrics.parsers`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        processor: ProcessorMixin,
        policy: PruningPolicy,
        attention: str,
        decoding: Decoding,
        overlay_ids: Collection[str] = (),
        parser: str = DEFAULT_PARSER,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.processor = processor
        self.policy = policy
        self.attention = attention
        self.decoding = decoding
        self.overlay_ids = frozenset(overlay_ids)
        self.parser = parser
        self.model: PreTrainedModel | None = None

    def configure_model(self) -> None:
        """Loads the model onto the device of this rank."""
        if self.model is None:
            # Past nn.Module's registration: the model is where it belongs, perhaps on several
            # devices, and Lightning would move a submodule to one.
            self.__dict__["model"] = self.spec.load_model(
                attention=self.attention, device=self.trainer.strategy.root_device
            )
            if self.global_rank == 0:
                self._tell_decoding()

    def use_model_of(self, other: PredictModule) -> None:
        """Answers with the model that another module has loaded."""
        self.__dict__["model"] = other.model

    def _tell_decoding(self) -> None:
        """Says what of the checkpoint's generation configuration counts, and what does not."""
        own = self.model.generation_config  # type: ignore[union-attr]
        followed = self.decoding.config(own)
        log.debug("decoding: %s", followed.to_diff_dict())
        if asked := not_followed(own, followed):
            told = ", ".join(f"{name}={value}" for name, value in asked.items())
            log.info("the checkpoint's generation_config is not followed: %s; see generation", told)

    def predict_step(self, batch: Batch, batch_idx: int) -> Predictions:
        return naming_samples(batch, partial(self.predict, batch))

    def predict(self, batch: Batch) -> Predictions:
        """Answers the batch; where memory does not suffice, one half after the other."""
        try:
            return self.predict_at_once(batch)
        except torch.OutOfMemoryError as error:
            shortage = one_line(error)
        # Outside of the handler: the exception holds the tensors of the failed attempt.
        failed = Predictions([self._failed(failure) for failure in batch.failures], [])
        return self._with_less_memory(batch, shortage) + failed

    def predict_at_once(self, batch: Batch) -> Predictions:
        """Answers the batch as a whole.

        Raises:
            torch.OutOfMemoryError: memory does not suffice for that.
        """
        predictions = Predictions([self._failed(failure) for failure in batch.failures], [])
        return self._answer(batch) + predictions if batch.samples else predictions

    def _with_less_memory(self, batch: Batch, shortage: str) -> Predictions:
        """The batch in two halves; a sample that does not fit alone has failed."""
        torch.cuda.empty_cache()
        n = len(batch.samples)
        if n == 1:
            sample = batch.samples[0]
            log.warning("out of memory for sample %s alone: it failed", sample.id)
            failure = Failure(sample.id, sample.task, f"OutOfMemoryError: {shortage}")
            return Predictions([self._failed(failure)], [])
        log.warning(
            "out of memory for a batch of %d, which is halved; batch_size=%d saves the attempts",
            n,
            n // 2,
        )
        collate, device = self._data.collate, batch.inputs["input_ids"].device
        halves = (batch.samples[: (n + 1) // 2], batch.samples[(n + 1) // 2 :])
        first, second = (self.predict(collate.encode(half).to(device)) for half in halves)
        return first + second

    @property
    def _data(self) -> PredictData:
        data: PredictData = self.trainer.datamodule  # type: ignore[attr-defined]
        return data

    def _failed(self, failure: Failure) -> SampleRow:
        return SampleRow(
            sample_id=failure.sample_id,
            task=failure.task,
            rank=self.global_rank,
            error=failure.message,
        )

    def _answer(self, batch: Batch) -> Predictions:
        replies, stats = self._generate(batch)
        rows = [self._row(batch, i, reply, stats) for i, reply in enumerate(replies)]
        return Predictions(rows, self._overlays(batch, rows, stats))

    def _generate(self, batch: Batch) -> tuple[list[str], PrefillStatistics]:
        model: Any = self.model
        sample_ids = [sample.id for sample in batch.samples]
        decoding = self.decoding.of(model, sample_ids)
        with prune(model, self.policy) as run, decoding, torch.inference_mode():
            run.identify(sample_ids)
            run.annotate([annotated_boxes(s, self._visible_area(s)) for s in batch.samples])
            ids = model.generate(**batch.inputs)
        if run.stats is None:
            raise RuntimeError("generate() ended without a prefill, so nothing was measured")
        prompt_length = batch.inputs["input_ids"].shape[1]
        replies = self.processor.batch_decode(ids[:, prompt_length:], skip_special_tokens=True)
        return replies, run.stats

    def _row(self, batch: Batch, i: int, reply: str, stats: PrefillStatistics) -> SampleRow:
        sample = batch.samples[i]
        conventions = Conventions(
            self.spec.box_format,
            batch.input_sizes[i],
            self.parser,
            strip_final_stop=self.spec.strip_final_stop,
        )
        reading = read_reply(sample, reply, conventions)
        published = published_reading(sample, reply, conventions)
        return SampleRow(
            sample_id=sample.id,
            task=sample.task,
            rank=self.global_rank,
            category=sample.category,
            question=sample.question,
            asked=sample.asked,
            prediction=reply,
            parsed=reading.parsed,
            target=target_of(sample),
            score=reading.score,
            settled=reading.settled,
            published_parsed=published.parsed,
            published_score=published.score,
            published_settled=published.settled,
            n_visual=stats.n_visual[i],
            n_kept=len(stats.kept[i]),
            kept_by_stage=json.dumps({name: n[i] for name, n in stats.kept_by_stage.items()}),
            average_tokens=stats.average_tokens_per_sequence[i],
            kv_bytes=stats.kv_bytes_per_sequence[i],
        )

    def _visible_area(self, sample: Sample) -> Area:
        """What the tokens of the first image show of it."""
        if not sample.images or sample.video:
            return WHOLE
        size, family = (sample.width, sample.height), family_named(self.spec.family)
        return family.visible_area(self.processor, size, len(sample.images))

    def _overlays(
        self, batch: Batch, rows: list[SampleRow], stats: PrefillStatistics
    ) -> list[Overlay]:
        wanted = [i for i, s in enumerate(batch.samples) if s.id in self.overlay_ids and s.images]
        maps = stats.kept_maps() if wanted else []
        overlays = []
        for i in wanted:
            sample = batch.samples[i]
            located = sample.task == "grounding"
            entry = {
                "sample_id": sample.id,
                "maps": [
                    {
                        "image": m.image,
                        "kind": m.kind,
                        "grid": list(m.grid),
                        "keep": m.keep.int().tolist(),
                    }
                    for m in maps
                    if m.sample == i
                ],
                "area": list(self._visible_area(sample)),
                "input_size": list(batch.input_sizes[i]),
                "predicted_box": json.loads(rows[i].parsed or "null") if located else None,
                "true_box": list(sample.boxes[0]) if sample.boxes else None,
            }
            overlays.append(Overlay(sample.id, sample.images[0], entry))
        return overlays


def naming_samples(batch: Batch, answer: Callable[[], Predictions]) -> Predictions:
    """What `answer` returns; whatever it raises names the samples of the batch.

    No context manager: those of contextlib let a StopIteration through that became the cause of a
    RuntimeError.

    Raises:
        PredictionError: also for what would end the loop (StopIteration) or the run (exit()) as if
            it were done.
        SystemExit: somebody ends this process.
    """
    try:
        return answer()
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code:
            raise
        raise PredictionError(_failure_of(batch, error)) from error


def _failure_of(batch: Batch, error: BaseException) -> str:
    ids = ", ".join(sample.id for sample in batch.samples)
    message = one_line(error)
    kind = type(error).__name__
    return f"{kind}: {message} (samples {ids})" if message else f"{kind} (samples {ids})"


def annotated_boxes(sample: Sample, area: Area = WHOLE) -> list[list[float]]:
    """The true boxes as fractions of what the model sees of the image, cut off at its edges.

    A box without an area covers nothing, and is left out, as is one out of sight.

    Args:
        area: see `Family.visible_area`.
    """
    left, top, right, bottom = area
    size = (sample.width, sample.height) * 2
    start, extent = (left, top) * 2, (right - left, bottom - top) * 2

    def seen(box: Sequence[float]) -> list[float]:
        places = zip(box, size, start, extent, strict=True)
        return [
            min(max((x / side - first) / length, 0.0), 1.0) for x, side, first, length in places
        ]

    boxes = [seen(box) for box in sample.boxes]
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def target_of(sample: Sample) -> str:
    """The truth as text: the true box as JSON, or the accepted answers."""
    if sample.task == "grounding":
        return json.dumps([round(coordinate, 2) for coordinate in sample.boxes[0]])
    return " | ".join(sample.answers)
