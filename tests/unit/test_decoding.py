"""Decoding: what is asked for, and nothing that a checkpoint's file asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from ivcprune.configuration.build import build_decoding, compose
from ivcprune.models.decoding import Decoding, not_followed

OF_CHECKPOINT = {
    "repetition_penalty": 1.05,
    "do_sample": True,
    "temperature": 0.1,
    "top_k": 1,
    "no_repeat_ngram_size": 3,
    "suppress_tokens": [5],
    "max_new_tokens": 7,
    "eos_token_id": [3, 4],
    "pad_token_id": 2,
    "bos_token_id": 1,
}


def test_greedy_is_the_default_and_penalises_nothing() -> None:
    made = build_decoding(compose([]))
    assert made == Decoding(max_new_tokens=32)
    assert build_decoding(compose(["model.max_new_tokens=5"])).max_new_tokens == 5
    assert (made.repetition_penalty, made.no_repeat_ngram_size, made.do_sample) == (1.0, 0, False)


def test_only_special_tokens_come_from_the_checkpoint() -> None:
    own = GenerationConfig(**OF_CHECKPOINT)
    said = Decoding(max_new_tokens=9).config(own).to_diff_dict()
    said.pop("transformers_version")
    neutral = {"do_sample": False, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
    tokens = {"eos_token_id": [3, 4], "pad_token_id": 2, "bos_token_id": 1}
    assert said == {"max_new_tokens": 9, **neutral, **tokens}
    asked = not_followed(own, Decoding(max_new_tokens=9).config(own))
    assert sorted(asked) == sorted(set(OF_CHECKPOINT) - set(tokens))


def test_an_end_of_ones_own_and_padding_that_is_missing() -> None:
    own = GenerationConfig(eos_token_id=3)
    assert Decoding(max_new_tokens=9, eos_token_id=8).config(own).eos_token_id == [8]
    assert Decoding(max_new_tokens=9).config(own).pad_token_id == 3
    assert Decoding(max_new_tokens=9, eos_token_id=[8, 9]).config(own).pad_token_id == 8
    assert Decoding(max_new_tokens=9).config(GenerationConfig()).pad_token_id is None


def test_sampling_says_all_of_it() -> None:
    config = Decoding(max_new_tokens=9, do_sample=True).config(GenerationConfig())
    assert (config.temperature, config.top_p, config.top_k) == (1.0, 1.0, 0)


def test_the_model_has_its_own_again_afterwards() -> None:
    own = GenerationConfig(**OF_CHECKPOINT)
    model: Any = SimpleNamespace(generation_config=own)
    with Decoding(max_new_tokens=9).of(model):
        assert model.generation_config.repetition_penalty == 1.0
    assert model.generation_config is own
    with pytest.raises(ZeroDivisionError), Decoding(max_new_tokens=9).of(model):
        _ = 1 / 0
    assert model.generation_config is own


def test_a_batch_draws_by_its_samples() -> None:
    model: Any = SimpleNamespace(generation_config=GenerationConfig())
    drawn = []
    for seed, ids in ((0, ["a", "b"]), (0, ["a", "b"]), (0, ["a"]), (1, ["a", "b"])):
        with Decoding(max_new_tokens=9, do_sample=True, seed=seed).of(model, ids):
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1]
    assert drawn[0] not in drawn[2:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.7}, "temperature is 0.7, which greedy decoding does not look at"),
        ({"top_k": 5}, "top_k is 5, which greedy decoding does not look at"),
        ({"do_sample": True, "temperature": 0}, "temperature is 0: it must be a number above 0"),
        ({"do_sample": True, "top_p": 2}, r"top_p is 2: it must be in \(0, 1\]"),
        ({"do_sample": "yes"}, "do_sample is 'yes': it must be true or false"),
        ({"repetition_penalty": "x"}, "repetition_penalty is 'x': it must be a number above 0"),
        ({"min_new_tokens": 10}, "min_new_tokens is 10, more than max_new_tokens=9"),
        ({"eos_token_id": "end"}, "eos_token_id is 'end': it must be a whole number"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1: it must be a whole number"),
    ],
)
def test_what_cannot_be_decoded_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Decoding(**{"max_new_tokens": 9, **settings})
