"""How far a pruned model's answers are from the unpruned model's own, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.decoding import Decoding
from ..pruning.caches.names import given_cache, with_cache

PIECE = 16
"""Answer tokens whose distributions are compared at once: vocabularies are large."""
ONE_TOKEN = Decoding(max_new_tokens=1)


@dataclass(frozen=True, eq=False)
class Answers:
    """Greedy answers of the unpruned model.

    Attributes:
        ids: long `[B, T]`, filled up behind their ends.
        real: bool `[B, T]`; the token that ends an answer is one of its own.
        logits: of the steps that decoded them, float `[B, T, V]`.
    """

    ids: Tensor
    real: Tensor
    logits: Tensor


def answers_of(
    model: Any, inputs: Mapping[str, Tensor], decoding: Decoding, sample_ids: list[str]
) -> Answers:
    """Answers the prompts as `job=predict` does, in a prune block or not.

    Args:
        inputs: left-padded.
    """
    with decoding.of(model, sample_ids):
        made = model.generate(**inputs, return_dict_in_generate=True, output_logits=True)
        ends = model.generation_config.eos_token_id
    ids = made.sequences[:, inputs["input_ids"].shape[1] :]
    return Answers(ids, real_tokens(ids, ends), torch.stack(made.logits, dim=1))


def real_tokens(ids: Tensor, ends: int | list[int] | None) -> Tensor:
    """Tokens up to the first that ends an answer, it included, bool `[B, T]`."""
    known = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    is_end = torch.isin(ids, torch.tensor(known, dtype=ids.dtype, device=ids.device))
    return is_end.cumsum(dim=1) - is_end.long() == 0


def forced_logits(model: Any, inputs: Mapping[str, Tensor], ids: Tensor) -> Tensor:
    """Logits of each answer token given those before it, `[B, T, V]`: one prefill, one step.

    The prompt alone is the prefill, so that selections see what they see in use; the answer then
    goes through the model in one piece, on what the prefill left in the caches. It is that of
    `generate`, which gives both the positions that it would decode with.

    Args:
        inputs: left-padded.
        ids: of the answers, long `[B, T]`.
    """
    with ONE_TOKEN.of(model):
        first = model.generate(**inputs, return_dict_in_generate=True, output_logits=True)
        logits = [first.logits[0][:, None]]
        said = ids[:, :-1]
        if said.shape[1]:
            prompt, mask = inputs["input_ids"], inputs["attention_mask"]
            answered = {
                "input_ids": torch.cat([prompt, said], dim=1),
                "attention_mask": torch.cat([mask, mask.new_ones(said.shape)], dim=1),
                "logits_to_keep": said.shape[1],
            }
            with _logits_of(model) as seen:
                model.generate(**with_cache(answered, given_cache(first), model.forward))
            logits.append(seen[0][:, -said.shape[1] :])
    return torch.cat([part.to(logits[0].device) for part in logits], dim=1)


@contextmanager
def _logits_of(model: Any) -> Iterator[list[Tensor]]:
    """The logits of every call of the model in the block; `generate` returns the last alone."""
    seen: list[Tensor] = []
    hook = model.register_forward_hook(lambda *call: seen.append(call[-1].logits))
    try:
        yield seen
    finally:
        hook.remove()


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(reference || other) of each distribution over the vocabulary, in nats, float `[B, T]`.

    Args:
        reference, logits: `[B, T, V]`, in any floating type.
    """
    pieces = zip(reference.split(PIECE, dim=1), logits.split(PIECE, dim=1), strict=True)
    return torch.cat([_divergence(p, q) for p, q in pieces], dim=1)


def _divergence(reference: Tensor, logits: Tensor) -> Tensor:
    p, q = (x.float().log_softmax(dim=-1) for x in (reference, logits))
    return (p.exp() * (p - q)).sum(dim=-1).clamp(min=0.0)


def mean_over_real(values: Tensor, real: Tensor) -> list[float]:
    """Mean of `[B, T]` over the real tokens of each answer."""
    totals = values.masked_fill(~real, 0.0).sum(dim=1)
    return (totals / real.sum(dim=1)).tolist()


def same_answers(logits: Tensor, answers: Answers) -> list[bool]:
    """Whether each answer's tokens are the likeliest under these logits `[B, T, V]` too."""
    alike = logits.argmax(dim=-1) == answers.ids.to(logits.device)
    return (alike | ~answers.real.to(logits.device)).all(dim=1).tolist()
