"""One pass over the data: every candidate against the unpruned model, on each batch in turns."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ..api import prune, shared_prefix
from ..checks import one_line
from ..data.batch import Batch, Collate
from ..data.sample import Sample
from ..models.decoding import Decoding
from ..policy import BoundPolicy, PruningPolicy
from ..pruning.statistics import PrefillStatistics
from .agreement import (
    Answers,
    answers_of,
    divergence,
    forced_logits,
    mean_over_real,
    same_answers,
)
from .candidates import Candidate
from .cost import Prefills
from .rows import REFERENCE, Agreement, Findings

log = logging.getLogger(__name__)

VANILLA = PruningPolicy(name="none")
UNPRUNED = BoundPolicy("none", (), "all_layers", frozenset(), "keep")

Turn = Callable[[int], AbstractContextManager[None]]


class Comparison:
    """Compares candidates with the unpruned model, and keeps what was found.

    Pictures are encoded once and the layers before the candidates part run once, see
    `pruning.shared_prefix`. A candidate that fails leaves the others going.

    Attributes:
        failed: why candidates stopped, by their labels.
        unread: samples that could not be asked, and why.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        collate: Collate,
        decoding: Decoding,
        prefills: Prefills,
        findings: Findings,
        shared: bool = True,
    ) -> None:
        self.failed: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self._model, self._processor, self._collate = model, processor, collate
        self._decoding, self._prefills, self._findings = decoding, prefills, findings
        self._shared = shared

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        device: torch.device = self._model.device
        return device

    def compare(self, batch: Batch, candidates: Sequence[Candidate]) -> None:
        """Whatever candidates lack on the batch's samples.

        Raises:
            RuntimeError: the unpruned model fails, so that there is nothing to compare with.
        """
        for failure in batch.failures:
            self.unread[failure.sample_id] = failure.message
        for sample in batch.samples:
            self._findings.forget_other(sample.id, sample.asked)
        for lacking, samples in self._parts(batch, candidates):
            part = batch if len(samples) == len(batch.samples) else self._encoded(samples)
            self._compare(part, lacking, self._shared)

    def _parts(
        self, batch: Batch, candidates: Sequence[Candidate]
    ) -> Iterator[tuple[list[Candidate], list[Sample]]]:
        """Samples that the same candidates lack, with these."""
        parts: dict[tuple[str, ...], list[Sample]] = {}
        going = {c.key: c for c in candidates if c.label not in self.failed}
        for sample in batch.samples:
            lacking = tuple(key for key in going if self._findings.lacks(key, sample.id))
            if lacking:
                parts.setdefault(lacking, []).append(sample)
        for keys, samples in parts.items():
            yield [going[key] for key in keys], samples

    def _encoded(self, samples: Sequence[Sample]) -> Batch:
        return self._collate.encode(list(samples)).to(self._model.device)

    def _compare(self, batch: Batch, candidates: Sequence[Candidate], shared: bool) -> None:
        """All at once; where memory does not suffice, one half of the batch after the other."""
        try:
            self._findings.add(self._rows(batch, candidates, shared))
            return
        except torch.OutOfMemoryError as error:
            shortage = one_line(error)
        # Outside of the handler: the exception holds the tensors of the failed attempt.
        torch.cuda.empty_cache()
        samples = batch.samples
        if len(samples) > 1:
            log.warning("out of memory for a batch of %d, which is halved", len(samples))
            middle = (len(samples) + 1) // 2
            for half in (samples[:middle], samples[middle:]):
                self._compare(self._encoded(half), candidates, shared)
        elif shared:
            self._compare(batch, candidates, shared=False)
        else:
            self.unread[samples[0].id] = f"OutOfMemoryError: {shortage}"

    @torch.inference_mode()
    def _rows(self, batch: Batch, candidates: Sequence[Candidate], shared: bool) -> list[Agreement]:
        ids = [sample.id for sample in batch.samples]
        policies = [VANILLA, VANILLA, *(candidate.policy for candidate in candidates)]
        order: Sequence[int] = range(len(policies))
        turn: Turn = _alone
        if shared:
            prefix = shared_prefix(self._model, policies)
            order, turn = prefix.order, prefix.turn
        first, second, *others = order  # none parts later than what prunes nothing
        try:
            with turn(first):
                answers = answers_of(self._model, batch.inputs, self._decoding, ids)
            with turn(second):
                reference, whole = self._forced(VANILLA, batch, answers)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise RuntimeError(
                f"the unpruned model failed ({type(error).__name__}: {one_line(error)}) on the "
                f"samples {', '.join(ids)}"
            ) from error
        rows = self._measured(batch, answers, reference, answers.logits, whole, REFERENCE, UNPRUNED)
        for number in others:
            candidate = candidates[number - 2]
            try:
                with turn(number):
                    logits, stats = self._forced(candidate.policy, batch, answers)
                rows += self._measured(
                    batch, answers, reference, logits, stats, candidate.key, candidate.bound
                )
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                self._stop(candidate, error, ids)
        return rows

    def _stop(self, candidate: Candidate, error: Exception, ids: Sequence[str]) -> None:
        reason = f"{type(error).__name__}: {one_line(error)} (samples {', '.join(ids)})"
        self.failed[candidate.label] = reason
        log.warning("%s has failed, the others go on: %s", candidate.label, reason)
        log.debug("%s has failed", candidate.label, exc_info=error)

    def _forced(
        self, policy: PruningPolicy, batch: Batch, answers: Answers
    ) -> tuple[Tensor, PrefillStatistics]:
        found: list[PrefillStatistics] = []
        with prune(self._model, policy, on_prefill=found.append) as run:
            run.identify([sample.id for sample in batch.samples])
            logits = forced_logits(self._model, batch.inputs, answers.ids)
        return logits, found[0]

    def _measured(
        self,
        batch: Batch,
        answers: Answers,
        reference: Tensor,
        logits: Tensor,
        stats: PrefillStatistics,
        key: str,
        policy: BoundPolicy,
    ) -> list[Agreement]:
        real = answers.real.to(reference.device)
        away = mean_over_real(divergence(reference, logits.to(reference.device)), real)
        if not all(map(math.isfinite, away)):
            raise ValueError("the logits are no numbers, so that there is no divergence")
        same, lengths = same_answers(logits, answers), answers.real.sum(dim=1).tolist()
        texts = [""] * len(away)
        if key == REFERENCE:
            texts = self._processor.batch_decode(answers.ids, skip_special_tokens=True)
        return [
            Agreement(
                sample_id=sample.id,
                task=sample.task,
                candidate=key,
                kl=away[i],
                tokens=lengths[i],
                same=same[i],
                n_visual=stats.n_visual[i],
                average_tokens=stats.average_tokens_per_sequence[i],
                kv_bytes=stats.kv_bytes_per_sequence[i],
                flops=self._prefills.measured(policy, stats, i),
                whole_flops=self._prefills.measured(UNPRUNED, stats, i),
                answer=texts[i],
                asked=sample.asked,
            )
            for i, sample in enumerate(batch.samples)
        ]


def _alone(number: int) -> AbstractContextManager[None]:
    """A turn that shares nothing with others."""
    return nullcontext()
