"""How answers are decoded: what is asked for, and nothing that a checkpoint's file asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..checks import check_at_least

if TYPE_CHECKING:
    from transformers import GenerationConfig

SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""What a checkpoint's own generation configuration is read for."""
NO_DECODING = (*SPECIAL_TOKENS, "transformers_version", "_from_model_config")
GREEDY = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
"""Settings of sampling, and their values that change nothing."""


@dataclass(frozen=True)
class Decoding:
    """Settings of `generate`, by the names that transformers has for them.

    One sequence is decoded for a prompt, by its likeliest tokens or by sampling.

    Attributes:
        max_new_tokens, min_new_tokens: of an answer.
        do_sample: whether tokens are drawn; the next three are for that.
        temperature: divides the logits; above 0.
        top_p: only the likeliest tokens of this mass are drawn; in (0, 1].
        top_k: only so many of the likeliest are; 0 = all.
        repetition_penalty: divides the scores of tokens that came before, in the prompt too;
            1 = none.
        no_repeat_ngram_size: no n-gram comes twice, in prompt and answer; 0 = any may.
        eos_token_id: ends an answer; None = as the checkpoint says.
        seed: of sampling.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    eos_token_id: int | Sequence[int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"max_new_tokens": 1, "min_new_tokens": 0, "top_k": 0, "no_repeat_ngram_size": 0}
        for name, bound in (least | {"seed": 0}).items():
            check_at_least(name, getattr(self, name), bound)
        for name in ("temperature", "top_p", "repetition_penalty"):
            _check_positive(name, getattr(self, name))
        if self.top_p > 1:
            raise ValueError(f"top_p is {self.top_p!r}: it must be in (0, 1]")
        if not isinstance(self.do_sample, bool):
            raise ValueError(f"do_sample is {self.do_sample!r}: it must be true or false")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens is {self.min_new_tokens}, more than "
                f"max_new_tokens={self.max_new_tokens}: lower it, or raise the other "
                "(which is model.max_new_tokens where it is not set)"
            )
        for token in self._ends:
            check_at_least("eos_token_id", token, 0)
        idle = [name for name, value in GREEDY.items() if getattr(self, name) != value]
        if idle and not self.do_sample:
            raise ValueError(
                f"{idle[0]} is {getattr(self, idle[0])!r}, which greedy decoding does "
                "not look at: add generation.do_sample=true, or leave it out"
            )

    @property
    def _ends(self) -> list[int]:
        given = self.eos_token_id
        if given is None:
            return []
        return [given] if isinstance(given, int | str) else list(given)  # a str fails the check

    def config(self, own: GenerationConfig) -> GenerationConfig:
        """All of it for `generate`.

        Args:
            own: the checkpoint's; its special tokens are taken, and nothing else.
        """
        from transformers import GenerationConfig

        tokens = {name: getattr(own, name, None) for name in SPECIAL_TOKENS}
        if self._ends:
            tokens["eos_token_id"] = self._ends
        if tokens["pad_token_id"] is None and (ends := tokens["eos_token_id"]) is not None:
            tokens["pad_token_id"] = ends if isinstance(ends, int) else ends[0]
        sampling = {name: getattr(self, name) for name in GREEDY} if self.do_sample else {}
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens or None,
            do_sample=self.do_sample,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
            **sampling,
            **tokens,
        )

    @contextmanager
    def of(self, model: Any, sample_ids: Sequence[str] = ()) -> Iterator[None]:
        """Inside the block, `model.generate` decodes so, where its arguments say nothing else.

        Args:
            sample_ids: of the batch; with `seed`, they are what its random numbers depend on, so
                that a run that goes on draws as one that was never stopped.
        """
        if self.do_sample:
            import torch

            torch.manual_seed(_seed_of(self.seed, sample_ids))
        own = model.generation_config
        model.generation_config = self.config(own)
        try:
            yield
        finally:
            model.generation_config = own


def not_followed(own: GenerationConfig, followed: GenerationConfig) -> dict[str, Any]:
    """What a checkpoint's generation configuration asks for and is not done.

    Args:
        followed: what is done.
    """
    asked: dict[str, Any] = own.to_diff_dict()
    return {
        name: value
        for name, value in asked.items()
        if name not in NO_DECODING
        and value is not None
        and json.dumps(value, default=str) != json.dumps(getattr(followed, name, None), default=str)
    }


def _seed_of(seed: int, sample_ids: Sequence[str]) -> int:
    """64 bits that depend on the seed and on the samples, on every machine alike."""
    digest = hashlib.sha256(json.dumps([seed, *sample_ids]).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _check_positive(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise ValueError(f"{name} is {value!r}: it must be a number above 0")
