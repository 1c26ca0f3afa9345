"""Two conversations in turns on one model: each goes on as if it were alone."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import DynamicCache

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.pruning.caches.names import with_cache
from ivcprune.pruning.conversations import Conversations
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, chat, picture, ragged_batch

REMEMBER = ["glm4v", "paddleocr_vl", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"]
"""Families whose models keep `rope_deltas` of the last images."""
POLICIES = [PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))}), PruningPolicy()]
GREEDY = {
    "max_new_tokens": 3,
    "min_new_tokens": 3,
    "do_sample": False,
    "output_logits": True,
    "return_dict_in_generate": True,
}


class Talk:
    """A conversation on a cache of its own."""

    def __init__(self, model, processor, first):
        self.model, self.processor = model, processor
        self.cache = DynamicCache(config=model.config.get_text_config())
        self.first, self.said = dict(first), None

    def generate(self, **inputs):
        given = with_cache({**inputs, **GREEDY}, self.cache, self.model.forward)
        answer = self.model.generate(**given)
        self.said = answer.sequences
        return torch.stack(answer.logits)

    def begin(self):
        return self.generate(**self.first)

    def go_on(self):
        text = chat(self.processor, "and what is beside it", 0)
        more = self.processor.tokenizer(text, return_tensors="pt").input_ids
        ids = torch.cat([self.said, more.expand(len(self.said), -1)], dim=1)
        return self.generate(input_ids=ids, attention_mask=(ids != self.pad).long())

    @property
    def pad(self):
        return self.processor.tokenizer.pad_token_id

    def step(self):
        """One more call of the model itself, on the text that it continues by."""
        ids = self.processor.tokenizer("and now", return_tensors="pt").input_ids
        given = {"input_ids": ids, "use_cache": True}
        return self.model(**with_cache(given, self.cache, self.model.forward)).logits


def talks(model, processor):
    """One with a large picture, one with a small one, one without any."""
    return [
        Talk(model, processor, batch(processor, sample))
        for sample in (
            ("where is it", [picture(280, 280)]),
            ("where", [picture(56, 56, 1)]),
            ("what is two and two", []),
        )
    ]


@pytest.fixture(scope="module", params=REMEMBER)
def model_and_processor(request):
    return tiny_model(request.param)


@pytest.mark.parametrize("policy", POLICIES)
class TestInTurns:
    @torch.no_grad()
    def test_as_if_alone(self, model_and_processor, policy):
        model, processor = model_and_processor
        alone = []
        with prune(model, policy):
            for talk in talks(model, processor):
                alone.append([talk.begin(), talk.go_on(), talk.step(), talk.go_on()])
        with prune(model, policy):
            together = talks(model, processor)
            rounds = [[talk.begin() for talk in together], [talk.go_on() for talk in together]]
            rounds += [[talk.step() for talk in together], [talk.go_on() for talk in together]]
        for number, turns in enumerate(alone):
            for turn, expected in enumerate(turns):
                assert torch.allclose(rounds[turn][number], expected, atol=1e-5), (number, turn)

    @torch.no_grad()
    def test_a_batch_among_them(self, model_and_processor, policy):
        """Conversations of other sizes do not even fit what the model remembers."""
        model, processor = model_and_processor
        other = batch(processor, ("where is it", [picture(112, 56)]))
        with prune(model, policy) as run:
            run.identify(["a", "b"])
            alone = Talk(model, processor, ragged_batch(processor))
            expected = alone.begin(), alone.go_on()
            run.identify(["a", "b"])
            talk = Talk(model, processor, ragged_batch(processor))
            first = talk.begin()
            Talk(model, processor, other).begin()
            assert torch.allclose(first, expected[0], atol=1e-5)
            assert torch.allclose(talk.go_on(), expected[1], atol=1e-5)

    @torch.no_grad()
    def test_a_copy_of_the_cache_goes_on_too(self, model_and_processor, policy):
        model, processor = model_and_processor
        with prune(model, policy):
            talk, other, _ = talks(model, processor)
            talk.begin()
            branch = copy.copy(talk)
            branch.cache = copy.deepcopy(talk.cache)
            expected = talk.go_on()
            other.begin()
            assert torch.allclose(branch.go_on(), expected, atol=1e-5)

    @torch.no_grad()
    def test_a_cache_goes_on_in_another_block(self, model_and_processor, policy):
        model, processor = model_and_processor
        with prune(model, policy):
            alone, other, _ = talks(model, processor)
            alone.begin()
            expected = alone.go_on()
            talk = talks(model, processor)[0]
            talk.begin()
            other.begin()
        with prune(model, policy):
            assert torch.allclose(talk.go_on(), expected, atol=1e-5)


class TestOffsets:
    """How far positions lie from the number of real tokens, worked out by hand."""

    class Core:
        rope_deltas = None

    def remembered(self, positions, mask, past=0):
        core, cache = self.Core(), DynamicCache()
        conversations = Conversations(core)
        conversations.remember(cache, torch.tensor(positions), mask, past)
        conversations.go_on(cache, torch.tensor(positions).shape[1])
        return core.rope_deltas.tolist()

    def test_an_image_that_spans_fewer_positions_than_tokens(self):
        # text, an image of 2 x 3 tokens at 1 to 3, text: 8 tokens end at position 4
        t, h, w = [0, 1, 1, 1, 1, 1, 1, 4], [0, 1, 1, 1, 2, 2, 2, 4], [0, 1, 2, 3, 1, 2, 3, 4]
        assert self.remembered([[t], [h], [w]], None) == [[4 + 1 - 8]]

    def test_padding_does_not_count(self):
        positions = [[[1, 1, 0, 1], [0, 1, 2, 3]]] * 3
        mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
        assert self.remembered(positions, mask) == [[0], [0]]

    def test_padding_at_the_position_of_the_only_token(self):
        mask = torch.tensor([[0, 1]])
        assert self.remembered([[[1, 0]]] * 3, mask) == [[0]]

    def test_a_later_turn_counts_the_earlier_ones(self):
        assert self.remembered([[[7, 8]]] * 3, None, past=10) == [[8 + 1 - 12]]

    def test_beams_of_a_sample_are_alike(self):
        core, cache = self.Core(), DynamicCache()
        conversations = Conversations(core)
        positions = torch.tensor([[[5], [5], [8], [8]]] * 3)
        conversations.remember(cache, positions, None, 0)
        conversations.go_on(cache, 2)
        assert core.rope_deltas.tolist() == [[5], [8]]

    def test_a_batch_that_does_not_fit_changes_nothing(self):
        core, cache = self.Core(), DynamicCache()
        conversations = Conversations(core)
        conversations.remember(cache, torch.tensor([[[5], [5]]] * 3), None, 0)
        conversations.go_on(cache, 3)
        assert core.rope_deltas is None
