"""What decoder layers get for each token, and return: gathered where named, else refused."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.api import bind
from ivcprune.models.llava import Llava
from ivcprune.models.registry import supported
from ivcprune.pruning.pruner import Pruner
from ivcprune.pruning.read_arguments import is_read
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture, ragged_batch

HALF = {"a": Stage(2, RandomSelector(keep=0.5))}


@pytest.fixture
def tiny():
    return tiny_model("llava")


def family(**stated):
    return type("Mine", (Llava,), {"name": "mine", **stated})()


def pruner(model, mine, policy):
    return Pruner(model, mine, bind(policy, mine, model.config))


def run(model, inputs, mine, policy=None):
    with pruner(model, mine, policy or PruningPolicy(HALF)), torch.no_grad():
        return model(**inputs)


@contextmanager
def handed(model, make, positional=False):
    """The decoder hands its layers one more argument, made of their input; yields what arrives."""
    arrived = []
    for layer in model.model.language_model.layers:

        def forward(hidden, *args, own=layer.forward, mark=None, **kwargs):
            arrived.append((hidden, args[0] if positional else mark))
            return own(hidden, **kwargs)

        def before(module, args, kwargs):
            extra = make(args[0])
            return ((args[0], extra), kwargs) if positional else (args, {**kwargs, "mark": extra})

        layer.forward = forward
        layer.register_forward_pre_hook(before, with_kwargs=True)
    yield arrived


def numbers(hidden):
    """The slot of each token, `[B, S]`."""
    return torch.arange(hidden.shape[1]).expand(len(hidden), -1)


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (numbers, "along"),
        (lambda hidden: [None, hidden[..., :3]], "in a list"),
        (lambda hidden: {"x": (numbers(hidden)[0],)}, "in a dictionary"),
        (lambda hidden: torch.zeros(2, 1, 1, hidden.shape[1]), "last"),
    ],
)
def test_an_unnamed_tensor_as_long_as_the_sequence_is_refused(tiny, make, where):
    model, processor = tiny
    inputs = ragged_batch(processor)
    length = inputs["input_ids"].shape[1]
    with (
        handed(model, make),
        pytest.raises(ValueError, match=rf"gets `mark` .*{length} tokens: the family 'mine'"),
    ):
        run(model, inputs, family())


def test_with_nothing_to_prune_it_goes_its_way(tiny):
    model, processor = tiny
    inputs = ragged_batch(processor)
    with handed(model, numbers) as arrived:
        run(model, inputs, family(), PruningPolicy())
    assert all(mark.shape == hidden.shape[:2] for hidden, mark in arrived)
    assert len(arrived) == 4


def test_a_tensor_of_another_length_is_nobodys_business(tiny):
    model, processor = tiny
    with handed(model, lambda _: torch.zeros(7)) as arrived:
        run(model, ragged_batch(processor), family())
    assert all(mark.shape == (7,) for _, mark in arrived)


@pytest.mark.parametrize("cache", ["all_layers", "recomputed"])
def test_a_named_one_follows_its_tokens(tiny, cache):
    model, processor = tiny
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    length = inputs["input_ids"].shape[1]
    mine = family(per_token_arguments=("mark",))
    given = torch.arange(length)[None]  # of the whole input, whatever the layer gets
    with handed(model, lambda _: given) as arrived, torch.no_grad():
        run_ = pruner(model, mine, PruningPolicy(HALF, cache=cache))
        with run_:
            model(**inputs)
    marks = [mark[0].tolist() for _, mark in arrived]
    visual = inputs["input_ids"][0] == model.config.image_token_id
    kept = set(run_.stats.kept[0].tolist())
    left = [i for i in range(length) if not visual[i] or i in kept]
    assert marks[:2] == [list(range(length))] * 2
    assert marks[2:] == [left] * (2 if cache == "all_layers" else 4)
    assert len(left) == length - visual.sum() // 2


def test_positional_ones_have_names_too(tiny):
    model, processor = tiny
    inputs = ragged_batch(processor)
    whole = numbers(inputs["input_ids"])
    with handed(model, lambda _: whole, positional=True) as arrived:
        for layer in model.model.language_model.layers:

            def forward(hidden, mark, own=layer.forward, **kwargs):
                return own(hidden, mark, **kwargs)

            layer.forward = forward
        with pytest.raises(ValueError, match="gets `mark` of the shape"):
            run(model, inputs, family())
        arrived.clear()
        run(model, inputs, family(per_token_arguments=("mark",)))
        shapes = [(hidden.shape[:2], mark.shape) for hidden, mark in arrived]
    assert all(hidden == mark for hidden, mark in shapes)
    assert len({hidden for hidden, _ in shapes}) == 2


def test_one_that_is_right_as_it_is_can_be_said_to_be(tiny):
    model, processor = tiny
    inputs = ragged_batch(processor)
    whole = numbers(inputs["input_ids"])
    with handed(model, lambda _: whole) as arrived:
        run(model, inputs, family(whole_arguments=("mark",)))
    assert all(mark is whole for _, mark in arrived)
    assert len({hidden.shape for hidden, _ in arrived}) == 2


@pytest.mark.parametrize("name", ["cache_position", "mm_token_type_ids", "token_type_ids", "notes"])
@pytest.mark.parametrize("family", supported())
def test_what_no_layer_reads_changes_nothing(family, name):
    model, processor = tiny_model(family)
    inputs = dict(ragged_batch(processor))
    zeros = torch.zeros_like(inputs["input_ids"])
    more = {name: zeros[0].cumsum(0) if name == "cache_position" else zeros}
    found = []
    for given in (inputs, {**more, **inputs}):
        with prune(model, PruningPolicy(HALF)) as block, torch.no_grad():
            block.identify(["a", "b"])
            found.append((model(**given).logits, block.stats.kept))
    (expected, kept), (logits, again) = found
    assert torch.equal(logits, expected)
    assert all(map(torch.equal, again, kept))


def through_keywords(hidden, **kwargs):
    return helper(hidden, **kwargs)


def helper(hidden, **kwargs):
    return hidden if kwargs.get("mark") is None else hidden + 0 * kwargs["mark"][..., None]


class Reads(torch.nn.Module):
    def forward(self, hidden, **kwargs):
        return self.handed(hidden, **kwargs)

    def handed(self, hidden, **kwargs):
        return hidden if kwargs.get("method_mark") is None else hidden + 1


class Calls(torch.nn.Module):
    def forward(self, hidden, **kwargs):
        return through_keywords(hidden, **kwargs)


class Attends(torch.nn.Module):
    config = SimpleNamespace(_attn_implementation="sdpa")

    def forward(self, hidden, **kwargs):
        kwargs_of = [hidden]
        return kwargs_of[0]


@pytest.mark.parametrize(
    ("module", "read", "unread"),
    [
        (Calls(), "mark", "labels"),
        (Reads(), "method_mark", "mark"),
        (Attends(), "position_bias", "kwargs_of"),
        (torch.nn.Sequential(Calls()), "mark", "labels"),
    ],
)
def test_what_is_read_is_told_from_code(module, read, unread):
    assert is_read(module, read)
    assert not is_read(module, unread)


def test_what_an_attention_function_reads_is_refused(tiny):
    """Layers hand it on by `**kwargs`; SDPA adds it to its scores."""
    model, processor = tiny
    inputs = ragged_batch(processor)
    bias = torch.zeros(1, 1, *[inputs["input_ids"].shape[1]] * 2)
    for layer in model.model.language_model.layers:
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "position_bias": bias}),
            with_kwargs=True,
        )
    with pytest.raises(ValueError, match="gets `position_bias` of the shape"):
        run(model, inputs, family())


def test_layers_that_return_more_than_states(tiny):
    model, processor = tiny
    for layer in model.model.language_model.layers:
        layer.register_forward_hook(lambda module, args, output: (output, None))
    with pytest.raises(TypeError, match="LlamaDecoderLayer returns a tuple: pruning needs"):
        run(model, ragged_batch(processor), family())


def test_layers_without_a_rotary_embedding(tiny):
    model, processor = tiny
    for layer in model.model.language_model.layers:

        def forward(hidden, own=layer.forward, **kwargs):
            return hidden

        layer.forward = forward
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: (args, {**kwargs, "position_embeddings": None}),
            with_kwargs=True,
        )
    with pytest.raises(ValueError, match="gives its layers no position_embeddings"):
        run(model, ragged_batch(processor), family())


def test_a_decoder_without_a_rotary_embedding(tiny):
    model, _ = tiny
    del model.model.language_model.rotary_emb
    with pytest.raises(ValueError, match="LlamaModel has no rotary position embedding"):
        pruner(model, family(), PruningPolicy(HALF))


def test_several_states_a_token(tiny):
    """Hyper-connections: `[B, S, copies, E]`."""
    model, processor = tiny
    for layer in model.model.language_model.layers:
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: ((args[0][:, :, None],), kwargs), with_kwargs=True
        )
    with pytest.raises(ValueError, match="hidden states of 4 dimensions: pruning needs one state"):
        run(model, ragged_batch(processor), family())
