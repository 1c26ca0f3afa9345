"""Keys, hidden states, embeddings and head rows that selectors get are those of the eager model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import family_of_model, supported
from ivcprune.selectors import RandomSelector, Selector
from ivcprune.testing import tiny_model
from ivcprune.tokens import FROM_VISION_TOWER, Signal, VisualTokens, chunks
from layer_helpers import readable
from pruning_helpers import batch, picture, ragged_batch

LAYER = 2
OWN = frozenset(Signal) - FROM_VISION_TOWER


@dataclass(frozen=True, eq=False)
class Probe(Selector):
    """Keeps everything, and writes down what a question about the tokens answers."""

    ask: Callable[[VisualTokens], Any]
    found: list[Any] = field(default_factory=list)

    needs = OWN

    def select(self, tokens: VisualTokens) -> Tensor:
        self.found.append((tokens, self.ask(tokens)))
        return tokens.valid


class Undeclared(Probe):
    """The same, without a word about what it will ask."""

    needs = frozenset()


@pytest.fixture(params=supported())
def model_and_processor(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return eager(request.param)


def eager(family: str) -> tuple[Any, Any]:
    model, processor = tiny_model(family)
    model.set_attn_implementation("eager")
    return model, processor


@contextmanager
def observed(layer: Any) -> Iterator[list[Tensor]]:
    """The keys `[B, H_kv, past + S, D]` that a layer's eager attention works with, call by call."""
    seen: list[Tensor] = []
    source = sys.modules[type(layer.self_attn).__module__]
    forward = source.eager_attention_forward

    def observing(module: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        if module is layer.self_attn:
            seen.append(key)
        return forward(module, query, key, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "eager_attention_forward", observing)
        yield seen


def asked(model: Any, inputs: Any, probe: Probe, layer: int = LAYER, **stages: Stage) -> Any:
    """The answer to a probe behind other stages, and the model's output."""
    policy = PruningPolicy(stages | {"look": Stage(layer, probe)}, cache="from_stage")
    with prune(model, policy), torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    return (*probe.found[0], output)


def assert_rows(tokens: VisualTokens, got: Tensor, of_sequence: Tensor, place: Tensor) -> None:
    """Each row's real tokens are those at their place in the sequence, `[B, S, ...]`."""
    for row, count in enumerate(tokens.count):
        expected = of_sequence[tokens.sample[row], place[row, :count]]
        torch.testing.assert_close(got[row, :count], expected, atol=1e-5, rtol=1e-5)
        assert expected.abs().max() > 1e-3


def assert_text(
    tokens: VisualTokens, got: tuple[Tensor, Tensor], of_sequence: Tensor, wanted: Tensor
) -> None:
    """Each row gets what `[B, S, ...]` holds at its sample's text, bool `[B, S]`."""
    states, mask = got
    for row, sample in enumerate(tokens.sample.tolist()):
        expected = of_sequence[sample, wanted[sample]]
        torch.testing.assert_close(states[row, mask[row]], expected, atol=1e-5, rtol=1e-5)
        assert len(expected)


def text_of(tokens: VisualTokens, inputs: Any) -> dict[str, Tensor]:
    """By span, which tokens of the input are text, bool `[B, S]`."""
    real = inputs["attention_mask"].bool()
    visual = torch.zeros_like(real)
    for row, count in enumerate(tokens.count):
        visual[tokens.sample[row], tokens.index[row, :count]] = True
    behind = visual.long().flip(1).cumsum(1).flip(1) == 0
    return {"all": real & ~visual, "following_image": real & behind}


def before_pruning(model: Any, inputs: Any) -> dict[str, Tensor]:
    """Where the text of the input is."""
    tokens, _, _ = asked(model, inputs, Probe(lambda _: None))
    return text_of(tokens, inputs)


class TestKeys:
    @pytest.mark.parametrize("share", [None, 0.6])
    def test_rotated_as_attention_uses_them(self, model_and_processor, share):
        """Also behind an earlier stage, and in the current sequence."""
        model, processor = model_and_processor
        layer = family_of_model(model).layers(model)[LAYER - 1]
        early = {} if share is None else {"early": Stage(1, RandomSelector(keep=share))}
        probe = Probe(lambda t: (t.keys(), t.text_keys("all"), t.text("all")))
        with observed(layer) as seen:
            tokens, (keys, text, asking), _ = asked(model, ragged_batch(processor), probe, **early)
        of_sequence = seen[0].transpose(1, 2)
        assert_rows(tokens, keys.transpose(1, 2), of_sequence, tokens.slot)
        states, mask = text
        expected = torch.zeros(of_sequence.shape[:2], dtype=torch.bool)
        expected.scatter_(1, asking.slots, asking.mask)
        assert_text(tokens, (states.transpose(1, 2), mask), of_sequence, expected)

    def test_unrotated_they_are_keys_at_position_0(self, model_and_processor):
        """Of the first layer, whose input knows no positions."""
        model, processor = model_and_processor
        if 0 not in readable(model):
            pytest.skip("layer 0 has no full attention")
        inputs = ragged_batch(processor)
        tokens, keys, _ = asked(model, inputs, Probe(lambda t: t.keys(rope=False)), layer=1)
        family = family_of_model(model)
        nowhere = torch.zeros(3, *inputs["input_ids"].shape, dtype=torch.long)
        if family.rotary_axes == 1:
            nowhere = nowhere[0]
        with observed(family.layers(model)[0]) as seen, torch.no_grad():
            model(**inputs, position_ids=nowhere)
        assert_rows(tokens, keys.transpose(1, 2), seen[0].transpose(1, 2), tokens.slot)

    def test_of_this_turn_alone(self):
        model, processor = eager("llava")
        first = ragged_batch(processor)
        second = batch(processor, *[("and here", [picture(90, 90, seed)]) for seed in (4, 5)])
        mask = torch.cat([first["attention_mask"], second["attention_mask"]], dim=1)
        probe = Probe(lambda t: (t.keys(), t.keys(rope=False)))
        layer = family_of_model(model).layers(model)[LAYER - 1]
        with torch.no_grad(), prune(model, PruningPolicy({"look": Stage(LAYER, probe)})):
            cache = model(**first).past_key_values
            with observed(layer) as seen:
                model(**{**second, "attention_mask": mask}, past_key_values=cache)
        tokens, (rotated, unrotated) = probe.found[1]
        this_turn = seen[0][:, :, -second["input_ids"].shape[1] :].transpose(1, 2)
        assert_rows(tokens, rotated.transpose(1, 2), this_turn, tokens.slot)
        assert unrotated.shape == rotated.shape
        assert not torch.allclose(unrotated, rotated, atol=1e-3)

    def test_layer_0_has_no_previous_layer(self):
        model, _ = eager("llava")
        policy = PruningPolicy({"look": Stage(0, Probe(lambda t: t.keys()))})
        with pytest.raises(ValueError, match="keys"):
            prune(model, policy)


class TestStates:
    def test_hidden_states_of_images_and_text(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        spans = ("all", "following_image")
        probe = Probe(
            lambda t: {
                normed: (t.hidden(normed=normed), [t.text_hidden(s, normed=normed) for s in spans])
                for normed in (False, True)
            }
        )
        tokens, found, output = asked(model, inputs, probe)
        hidden = output.hidden_states[LAYER]
        with torch.no_grad():
            norm = family_of_model(model).text_model(model).norm(hidden)
        places = text_of(tokens, inputs)
        for (own, texts), expected in zip(found.values(), (hidden, norm), strict=True):
            assert_rows(tokens, own, expected, tokens.slot)
            for span, got in zip(spans, texts, strict=True):
                assert_text(tokens, got, expected, places[span])
        assert not torch.allclose(hidden, norm, atol=1e-3)

    def test_what_asks_is_what_follows_without_its_closing_tokens(self, model_and_processor):
        model, processor = model_and_processor
        probe = Probe(lambda t: [t.text(s) for s in ("following_image", "after_image")])
        _, (following, after), _ = asked(model, ragged_batch(processor), probe)
        skip = family_of_model(model).text_skip
        for mine, asking in zip(
            (slots[mask] for slots, mask in zip(following.slots, following.mask, strict=True)),
            (slots[mask] for slots, mask in zip(after.slots, after.mask, strict=True)),
            strict=True,
        ):
            assert mine[skip:].tolist() == asking.tolist()

    def test_embeddings_of_text_behind_an_earlier_stage(self, model_and_processor):
        model, processor = model_and_processor
        inputs, given = ragged_batch(processor), []
        places = before_pruning(model, inputs)
        decoder = family_of_model(model).text_model(model)
        hook = decoder.register_forward_pre_hook(
            lambda _, args, kwargs: given.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        probe = Probe(lambda t: {s: t.text_embeddings(s) for s in ("all", "following_image")})
        early = Stage(1, RandomSelector(keep=0.5))
        tokens, found, _ = asked(model, inputs, probe, early=early)
        hook.remove()
        for span, got in found.items():
            assert_text(tokens, got, given[0], places[span])


class TestHeads:
    @pytest.mark.parametrize("chunk", [None, 1, 3_000])
    def test_rows_of_each_head(self, model_and_processor, chunk, monkeypatch):
        model, processor = model_and_processor
        if chunk is not None:
            monkeypatch.setattr(chunks, "LARGEST", chunk)
        probe = Probe(lambda t: (t.text("all"), t.head_attention(t.text("all"), layer="next")))
        policy = PruningPolicy({"look": Stage(LAYER, probe)})
        with prune(model, policy), torch.no_grad():
            given = model(**ragged_batch(processor), output_attentions=True).attentions
        # hybrid models give only those of their layers with attention
        has_all = len(given) == len(family_of_model(model).layers(model))
        weights = given[LAYER if has_all else readable(model).index(LAYER)]
        tokens, (queries, got) = probe.found[0]
        for row, count in enumerate(tokens.count):
            sample, columns = tokens.sample[row], tokens.slot[row, :count]
            mask = queries.mask[sample]
            expected = weights[sample][:, queries.slots[sample][mask]][:, :, columns]
            torch.testing.assert_close(got[row][:, mask, :count], expected, atol=1e-5, rtol=1e-5)
            assert (got[row][:, ~mask] == 0).all()

    def test_over_the_image_alone_each_head_sums_to_1(self):
        model, processor = eager("llava")
        probe = Probe(lambda t: t.head_attention("last", rope=False, over="image"))
        tokens, got, _ = asked(model, ragged_batch(processor), probe)
        assert got.shape[1] == model.config.text_config.num_attention_heads
        total = got.masked_fill(~tokens.valid[:, None, None], 0.0).sum(dim=-1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_what_is_not_declared_is_refused():
    model, processor = eager("llava")
    for ask in (
        lambda t: t.keys(),
        lambda t: t.text_keys(),
        lambda t: t.text_hidden(),
        lambda t: t.text_embeddings(),
        lambda t: t.vision_keys(),
        lambda t: t.head_attention(),
    ):
        with pytest.raises(ValueError, match="asked for but not declared"):
            asked(model, ragged_batch(processor), Undeclared(ask))


def test_sdpa_gives_the_same_keys_as_eager():
    found = []
    for backend in ("sdpa", "eager"):
        model, processor = tiny_model("qwen2_5_vl")
        model.set_attn_implementation(backend)
        probe = Probe(lambda t: t.keys())
        found.append(asked(model, ragged_batch(processor), probe)[1])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
