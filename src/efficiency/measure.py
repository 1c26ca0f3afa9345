"""One generation under a policy, timed or counted, and rounds in which policies take turns."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..api import prune
from ..models.decoding import Decoding
from ..models.registry import family_of_model
from ..policy import PruningPolicy
from ..pruning.pruner import Pruner
from .bare import recorded_lengths, shortened
from .clocks import FlopClock, Flops, clock_of, flop_counter
from .marks import PrefillMarks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """One generation; times in milliseconds, of the whole batch.

    Attributes:
        prefill_ms: from the call of `generate` until the first logits.
        vision_ms: of the vision tower.
        language_ms: of the decoder in the prefill, with all that pruning does there.
        pruning_ms: of the pruner's hooks: finding the tokens, selecting, compacting, masks.
        decode_ms: of each further token; None where there is none.
        total_ms: of `generate`.
        kv_bytes: keys and values right after the prefill.
        peak_bytes: most memory allocated on the GPU until then, weights included; None on a CPU.
        bare_ms: of the decoder in the prefill with the policy's lengths but without the pruner, see
            `bare.shortened`; None where it was not measured.
    """

    prefill_ms: float
    vision_ms: float
    language_ms: float
    pruning_ms: float
    decode_ms: float | None
    total_ms: float
    kv_bytes: int
    peak_bytes: int | None
    bare_ms: float | None = None


@dataclass(frozen=True)
class Count:
    """FLOPs of a prefill.

    Attributes:
        language: of the decoder, without what pruning adds.
        pruning: what pruning adds.
        average_tokens: visual tokens in the caches, as a share of those before pruning.
        n_visual: visual tokens of a sample.
        lengths: tokens of the sequence in each decoder layer.
    """

    vision: Flops
    language: Flops
    pruning: Flops
    average_tokens: float
    n_visual: int
    lengths: tuple[int, ...]


def take_reading(
    model: Any, inputs: Mapping[str, Any], policy: PruningPolicy, new_tokens: int
) -> Reading:
    """Generates exactly `new_tokens` tokens; without stages the pruner is not there at all.

    Args:
        inputs: of the model, on its device, without padding.
    """
    clock = clock_of(model.device)
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        torch.cuda.synchronize(model.device)
    with _pruning(model, policy), PrefillMarks(model, family_of_model(model), clock) as marks:
        start = clock.read()
        generate(model, inputs, new_tokens)
        end = clock.read()
    decoding = clock.between(marks.end, end)
    return Reading(
        prefill_ms=clock.between(start, marks.end),
        vision_ms=sum(marks.spent("vision")),
        language_ms=sum(marks.spent("language")),
        pruning_ms=sum(marks.spent("pruning")) if policy.stages else 0.0,
        decode_ms=decoding / (new_tokens - 1) if new_tokens > 1 else None,
        total_ms=clock.between(start, end),
        kv_bytes=marks.kv_bytes,
        peak_bytes=marks.peak_bytes,
    )


def bare_ms(model: Any, inputs: Mapping[str, Any], lengths: Sequence[int]) -> float:
    """Milliseconds of the decoder in a prefill whose layers see so many tokens, unpruned."""
    family, clock = family_of_model(model), clock_of(model.device)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    with shortened(model, family, lengths), PrefillMarks(model, family, clock) as marks:
        generate(model, inputs, 1)
    return sum(marks.spent("language"))


def count(model: Any, inputs: Mapping[str, Any], policy: PruningPolicy) -> Count:
    """Counts the FLOPs of a prefill, attention by SDPA: kernels of others cannot be counted."""
    family = family_of_model(model)
    with (
        countable(model),
        prune(model, policy) as run,
        recorded_lengths(family.layers(model)) as lengths,
        flop_counter() as counter,
        PrefillMarks(model, family, FlopClock(counter)) as marks,
    ):
        generate(model, inputs, 1)
    assert run.stats is not None
    pruning = sum(marks.spent("pruning"), Flops())
    return Count(
        vision=sum(marks.spent("vision"), Flops()),
        language=sum(marks.spent("language"), Flops()) - pruning,
        pruning=pruning,
        average_tokens=run.stats.average_tokens,
        n_visual=run.stats.n_visual[0],
        lengths=tuple(lengths[index] for index in sorted(lengths)),
    )


def take_turns(
    model: Any,
    inputs: Mapping[str, Any],
    policies: Sequence[PruningPolicy],
    new_tokens: int,
    warm_up: int,
    rounds: int,
    seconds: float,
    bare: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[Reading]]:
    """Readings of each policy by its name, one a round; all rounds in this process.

    Policies take turns, and every round begins with another one, so that a machine that gets
    slower or faster meanwhile does so for all of them.

    Args:
        warm_up: rounds that are thrown away.
        rounds: rounds that count.
        seconds: after so long no further round begins; one is always taken.
        bare: lengths of the layers, by the names of the policies after whose turn the bare model
            has one.
    """
    readings: dict[str, list[Reading]] = {policy.name: [] for policy in policies}
    begin = time.monotonic()
    for number in range(-warm_up, rounds):
        if number > 0 and time.monotonic() - begin > seconds:
            log.info("stopped after %d of %d rounds: job.seconds is over", number, rounds)
            break
        first = number % len(policies)
        for policy in [*policies[first:], *policies[:first]]:
            reading = take_reading(model, inputs, policy, new_tokens)
            if bare is not None and policy.name in bare:
                reading = replace(reading, bare_ms=bare_ms(model, inputs, bare[policy.name]))
            if number >= 0:
                readings[policy.name].append(reading)
    return readings


def _pruning(model: Any, policy: PruningPolicy) -> AbstractContextManager[Pruner | None]:
    return prune(model, policy) if policy.stages else nullcontext()


def generate(model: Any, inputs: Mapping[str, Any], new_tokens: int) -> None:
    exactly = Decoding(max_new_tokens=new_tokens, min_new_tokens=new_tokens)
    with exactly.of(model), torch.inference_mode():
        model.generate(**inputs)


@contextmanager
def countable(model: Any) -> Iterator[None]:
    """SDPA in place of FlashAttention's own package, whose kernels PyTorch does not see into."""
    own = model.config._attn_implementation
    if "flash" not in own:
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)
