"""Policies that take turns on one batch: each as it is alone, what they have in common once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ivcprune import load_policy, prune, shared_prefix
from ivcprune.models.registry import family_of_model
from ivcprune.policy import PruningPolicy, Stage
from ivcprune.pruning.statistics import PrefillStatistics
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import generate, ragged_batch

DEPTH = 6
DEMO = ("none", "ivc_prune", "foreground_only", "foreground_random", "fastv", "fastv_ivc", "pdrop",
        "random")  # fmt: skip
SOME = ("random", "none", "ivc_prune", "pdrop")
MAIN = ("qwen2_5_vl", "llava", "internvl")
OTHERS = ("qwen3_vl", "deepseek_vl2", "llava_onevision", "glm4v", "idefics3", "mistral3")
UNSHARED = ("qwen3_5", "gemma3")


@dataclass(frozen=True)
class Outcome:
    ids: Tensor
    logits: Tensor
    stats: PrefillStatistics

    def check_is(self, other: Outcome) -> None:
        assert torch.equal(self.ids, other.ids)
        assert torch.equal(self.logits, other.logits)
        own, its = self.stats, other.stats
        assert [k.tolist() for k in own.kept] == [k.tolist() for k in its.kept]
        assert own.kept_by_stage == its.kept_by_stage
        assert own.average_tokens_per_sequence == its.average_tokens_per_sequence
        assert own.kv_bytes_per_sequence == its.kv_bytes_per_sequence


def policies_of(family: str, names: Sequence[str]) -> list[PruningPolicy]:
    return [load_policy(name, family=family) for name in names]


@torch.inference_mode()
def answer(model: Any, policy: PruningPolicy, inputs: Mapping[str, Any]) -> Outcome:
    with prune(model, policy) as run:
        run.identify(["a", "b"])
        out = generate(model, inputs)
    assert run.stats is not None
    return Outcome(out.sequences, torch.stack(out.logits), run.stats)


def side_by_side(model: Any, policies: Sequence[PruningPolicy], inputs: Any) -> list[Outcome]:
    shared = shared_prefix(model, policies)
    outcomes = {}
    for number in shared.order:
        with shared.turn(number):
            outcomes[number] = answer(model, policies[number], inputs)
    return [outcomes[number] for number in range(len(policies))]


@contextmanager
def counted(model: Any) -> Iterator[dict[str, list[int]]]:
    """Prefill calls that REALLY run: of the vision tower, and of each layer's attention."""
    family = family_of_model(model)
    layers = family.layers(model)
    counts = {"tower": [0], "layers": [0] * len(layers)}

    def count(name: str, index: int, *_: Any, **__: Any) -> None:
        counts[name][index] += 1

    def count_layer(index: int, module: Any, args: Any, kwargs: Any) -> None:
        if kwargs["hidden_states"].shape[1] > 1:
            count("layers", index)

    with ExitStack() as hooks:
        tower = family.vision_tower(family.core(model)).module
        hooks.callback(tower.register_forward_pre_hook(lambda *_: count("tower", 0)).remove)
        for i, layer in enumerate(layers):
            handle = layer.self_attn.register_forward_pre_hook(
                lambda m, a, k, i=i: count_layer(i, m, a, k), with_kwargs=True
            )
            hooks.callback(handle.remove)
        yield counts


@pytest.mark.parametrize("family", [*MAIN, *OTHERS, *UNSHARED])
def test_every_policy_answers_as_it_does_alone(family: str) -> None:
    model, processor = tiny_model(family, depth=DEPTH)
    names = DEMO if family in MAIN else SOME
    policies = policies_of(family, names[:3] if family in UNSHARED else names)
    inputs = ragged_batch(processor)
    alone = [answer(model, policy, inputs) for policy in policies]
    together = side_by_side(model, policies, inputs)
    for one, other in zip(alone, together, strict=True):
        other.check_is(one)
    assert not any("forward" in vars(layer) for layer in family_of_model(model).layers(model))
    answer(model, policies[1], inputs).check_is(alone[1])


@pytest.mark.parametrize("family", MAIN)
def test_the_tower_runs_once_and_each_layer_as_often_as_policies_part_before_it(
    family: str,
) -> None:
    model, processor = tiny_model(family, depth=DEPTH)
    policies = policies_of(family, DEMO)
    with counted(model) as counts:
        side_by_side(model, policies, ragged_batch(processor))
    assert counts["tower"] == [1]
    layers = [min([DEPTH, *layers_of(model, policy).values()]) for policy in policies]
    expected = [1 + sum(fork <= i for fork in layers if fork < DEPTH) for i in range(DEPTH)]
    assert counts["layers"] == expected
    assert expected[0] == 1 < expected[-1] == len(policies)


def layers_of(model: Any, policy: PruningPolicy) -> dict[str, int]:
    with prune(model, policy) as run:
        return run.layers


def test_shared_tensors_are_what_they_were_when_all_have_run() -> None:
    model, processor = tiny_model("qwen2_5_vl", depth=DEPTH)
    policies = policies_of("qwen2_5_vl", DEMO)
    inputs = ragged_batch(processor)
    shared = shared_prefix(model, policies)
    first, *others = shared.order
    with shared.turn(first):
        answer(model, policies[first], inputs)
    trunk = shared._trunk
    held = [x for state in trunk.states for x in (state["keys"], state["values"])]
    held += list(trunk.outputs.values())
    copies = [x.clone() for x in held]
    assert len(held) > 4
    for number in others:
        with shared.turn(number), torch.inference_mode(), prune(model, policies[number]):
            out = generate(model, inputs)
        pairs = zip(held, copies, strict=True)
        assert all(torch.equal(x, copy) for x, copy in pairs), policies[number].name
        assert out.sequences.shape[0] == 2
    assert trunk.states == []
    assert trunk.outputs == {}


def test_a_fork_holds_the_recorded_tensors_themselves() -> None:
    model, processor = tiny_model("llava", depth=DEPTH)
    policies = policies_of("llava", ("none", "fastv"))
    shared = shared_prefix(model, policies)
    inputs = ragged_batch(processor)
    with shared.turn(0), prune(model, policies[0]), torch.inference_mode():
        model.generate(**inputs, max_new_tokens=1)
    recorded = [state["keys"].data_ptr() for state in shared._trunk.states]
    with shared.turn(1), prune(model, policies[1]), torch.inference_mode():
        cache = model(**inputs, use_cache=True).cache
        seen = [cache.layers[i].keys.data_ptr() for i in range(len(recorded))]
    assert recorded
    assert seen == recorded


def test_layers_that_keep_states_or_windows_are_not_shared_and_pictures_are() -> None:
    for family in UNSHARED:
        model, processor = tiny_model(family, depth=DEPTH)
        shared = shared_prefix(model, policies_of(family, SOME[:3]))
        assert shared.obstacle is not None
        assert "keep a state or a window" in shared.obstacle
    model, processor = tiny_model("qwen3_5", depth=DEPTH)
    encoded = []
    handle = model.model.visual.register_forward_pre_hook(lambda *_: encoded.append(1))
    side_by_side(model, policies_of("qwen3_5", ("none", "random")), ragged_batch(processor))
    handle.remove()
    assert encoded == [1]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_what_cannot_share_runs_beside(family: str) -> None:
    """A selection of the tower's signals, one that computes the cache anew, one at the input."""
    model, processor = tiny_model(family, depth=DEPTH)
    policies = [
        load_policy("none", family=family),
        load_policy("vispruner", family=family),
        PruningPolicy({"select": Stage(3, RandomSelector(0.5))}, cache="recomputed"),
        PruningPolicy({"select": Stage(0, RandomSelector(0.5))}),
        load_policy("fastv", family=family),
    ]
    inputs = ragged_batch(processor)
    alone = [answer(model, policy, inputs) for policy in policies]
    with counted(model) as counts:
        together = side_by_side(model, policies, inputs)
    for one, other in zip(alone, together, strict=True):
        other.check_is(one)
    assert counts["tower"] == [2]  # once more for the policy that looks into it


def test_a_layer_sweep_computes_the_prefix_once() -> None:
    model, processor = tiny_model("qwen2_5_vl", depth=DEPTH)
    policies = [
        load_policy("ivc_prune", f"stages.select.layer={i}", family="qwen2_5_vl")
        for i in (2, 5, 3, 4, 1)
    ]
    inputs = ragged_batch(processor)
    alone = [answer(model, policy, inputs) for policy in policies]
    with counted(model) as counts:
        together = side_by_side(model, policies, inputs)
    for one, other in zip(alone, together, strict=True):
        other.check_is(one)
    assert counts["layers"] == [1, 2, 3, 4, 5, 5]  # layer 1 runs for all and for the fork at 1


def test_a_policy_that_fails_leaves_the_others_what_it_computed() -> None:
    class Broken(RandomSelector):
        def score(self, tokens: Any) -> Any:
            raise ValueError("broken")

    model, processor = tiny_model("qwen2_5_vl", depth=DEPTH)
    broken = PruningPolicy({"select": Stage(4, Broken(0.5))}, name="broken")
    policies = [load_policy("fastv", family="qwen2_5_vl"), broken, load_policy("random")]
    inputs = ragged_batch(processor)
    alone = {i: answer(model, policies[i], inputs) for i in (0, 2)}
    shared = shared_prefix(model, policies)
    assert shared.order[0] == 1
    with counted(model) as counts:
        with pytest.raises(ValueError, match="broken"), shared.turn(1):
            answer(model, broken, inputs)
        for number in shared.order[1:]:
            with shared.turn(number):
                answer(model, policies[number], inputs).check_is(alone[number])
    assert counts["tower"] == [1]
    assert counts["layers"][0] == 1
    assert not any("forward" in vars(layer) for layer in model.model.language_model.layers)


def test_another_batch_is_refused() -> None:
    model, processor = tiny_model("qwen2_5_vl", depth=DEPTH)
    policies = policies_of("qwen2_5_vl", ("none", "fastv"))
    inputs = ragged_batch(processor)
    shared = shared_prefix(model, policies)
    with shared.turn(0):
        answer(model, policies[0], inputs)
    longer = dict(inputs)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        longer[name] = torch.cat([x := inputs[name], x[:, -1:]], dim=1)
    with pytest.raises(RuntimeError, match="give every policy the same batch"), shared.turn(1):
        answer(model, policies[1], longer)


def test_nothing_is_shared_after_a_stop() -> None:
    model, processor = tiny_model("internvl", depth=DEPTH)
    policies = policies_of("internvl", ("none", "fastv"))
    inputs = ragged_batch(processor)
    alone = answer(model, policies[1], inputs)
    shared = shared_prefix(model, policies)
    with counted(model) as counts:
        with shared.turn(0):
            answer(model, policies[0], inputs)
        shared.stop()
        with shared.turn(1):
            assert not any(
                "forward" in vars(layer) for layer in family_of_model(model).layers(model)
            )
            answer(model, policies[1], inputs).check_is(alone)
    assert counts == {"tower": [2], "layers": [2] * DEPTH}
