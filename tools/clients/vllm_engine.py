"""An engine as the checks of answers start it, what it is asked, and how far it agrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from vllm import LLM, SamplingParams

from ivcprune.policy import PruningPolicy
from ivcprune.serving.vllm import models, selection
from ivcprune.serving.vllm.settings import Settings

from .reference import Answer

CHUNK = 48
"""Tokens of a step: less than a picture and its prompt have."""

NEW_TOKENS = 8
LOGPROBS = 100
"""Tokens of each step whose log-probabilities are compared: the most probable ones."""

Asked = tuple[str, Sequence[Any]]
"""A prompt with one image token for each picture, and the pictures."""


def start(model: Path, settings: dict[str, Any]) -> LLM:
    """An engine that prefills in chunks and finds prefixes again."""
    return LLM(
        model=str(model),
        dtype="float32",
        max_model_len=512,
        max_num_seqs=8,
        max_num_batched_tokens=CHUNK,
        enable_prefix_caching=True,
        block_size=32,  # less than a prompt has: prefixes are found again
        enforce_eager=True,
        seed=0,
        max_logprobs=LOGPROBS,
        limit_mm_per_prompt={"image": 4},
        hf_overrides={"ivcprune": settings},
    )


def policy_of(settings: dict[str, Any], family: str) -> PruningPolicy:
    """The policy that the engine makes of the settings."""
    own = Settings.of(SimpleNamespace(ivcprune=settings))
    assert own is not None
    return own.load(family)


@contextmanager
def noted_selections() -> Iterator[set[tuple[int, ...]]]:
    """What the engine keeps of each picture inside the block: as `Answer.pictures`."""
    chosen: set[tuple[int, ...]] = set()

    def noted(picture: Any, *arguments: Any) -> Any:
        kept = selection.kept_tokens(picture, *arguments)
        chosen.add((picture.n_visual, *kept.tolist()))
        return kept

    with patch.object(models, "kept_tokens", noted):
        yield chosen


def generate(engine: LLM, asked: Sequence[Asked]) -> list[Any]:
    """The engine's outputs, all requests given at once."""
    requests = [
        {"prompt": prompt, "multi_modal_data": {"image": list(pictures)}}
        if pictures
        else {"prompt": prompt}
        for prompt, pictures in asked
    ]
    sampling = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=LOGPROBS)
    outputs: list[Any] = engine.generate(requests, sampling, use_tqdm=False)
    return outputs


def agreement(outputs: Sequence[Any], expected: Sequence[Answer]) -> dict[str, Any]:
    """How many answers and lengths are equal, and how far log-probabilities are apart."""
    same, worst, lengths = 0, 0.0, 0
    for output, answer in zip(outputs, expected, strict=True):
        ids = list(output.outputs[0].token_ids)
        same += ids == answer.ids
        lengths += len(output.prompt_token_ids) == answer.pruned_length
        for step, theirs, token, other in zip(
            output.outputs[0].logprobs, answer.log_probs, ids, answer.ids, strict=False
        ):
            worst = max(worst, *(abs(theirs[i] - x.logprob) for i, x in step.items()))
            if token != other:
                break
    return {
        "answers_equal": f"{same} of {len(expected)}",
        "prompt_lengths_equal": f"{lengths} of {len(expected)}",
        "largest_log_prob_difference": worst,
        "cached_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
    }


def shared_selections(chosen: set[tuple[int, ...]], expected: Sequence[Answer]) -> str:
    """How many of all different selections both have."""
    found = {picture for answer in expected for picture in answer.pictures}
    return f"{len(found & chosen)} of {len(found | chosen)}"
