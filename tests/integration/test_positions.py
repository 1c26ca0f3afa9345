"""Position rules, merged and added tokens against the token-list oracle.

Masks cannot stand in for any of these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from ivcprune import PruningPolicy, Stage
from ivcprune.models.registry import family_of_model
from ivcprune.pruning.caches.names import given_cache
from ivcprune.pruning.pruner import Pruner
from ivcprune.selectors import (
    FastVIDSelector,
    PDropSelector,
    Per,
    PruMergeSelector,
    RandomSelector,
    Selector,
    VisionZipSelector,
)
from ivcprune.selectors.selection import AddedTokens, Selection
from ivcprune.testing import tiny_model
from ivcprune.tokens import Signal
from pruning_helpers import batch, generate, picture
from token_list_oracle import Recorder, oracle_logits


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model("llava")


@dataclass(frozen=True)
class Changing(Selector):
    """Merges random states into what `selector` keeps, and adds random tokens to each image."""

    selector: Selector
    seed: int
    n_added: int = 3

    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens):
        hidden = tokens.hidden()
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(4, 64, generator=generator)
        # by number in the image, so that a batch gets what singles get
        states = hidden + noise[tokens.ordinal % 4]
        origin = torch.arange(self.n_added).expand(len(tokens.rows), -1) * 2
        added = AddedTokens(
            states=2 * states.gather(1, origin[..., None].expand(-1, -1, 64)),
            origin=origin,
            valid=origin < torch.tensor(tokens.count)[:, None],
        )
        return Selection(self.selector.select(tokens), states, added)


def policies():
    stages = {
        "early": Stage(1, RandomSelector(keep=0.7)),
        "late": Stage(3, Per(scope="sample", selector=PDropSelector(keep=0.3))),
    }
    yield PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))})
    yield PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))}, spare_layers=(0,))
    changing = {
        "early": Stage(1, Changing(RandomSelector(keep=0.6), seed=1)),
        "late": Stage(3, Changing(RandomSelector(keep=0.5, of="current"), seed=2)),
    }
    for rule in ("keep", "reassign"):
        yield PruningPolicy(stages, cache="from_stage", positions=rule)
        yield PruningPolicy(changing, cache="from_stage", positions=rule)
    yield PruningPolicy(changing)
    yield PruningPolicy({"select": Stage(0, changing["early"].selector)})
    mergers = (
        VisionZipSelector(keep=0.4),
        PruMergeSelector(plus=True),
        PruMergeSelector(keep=0.3, plus=False),
        FastVIDSelector(keep=0.3),
    )
    for number, merger in enumerate(mergers):
        layer, rule = number % 2, "keep" if number < 2 else "reassign"
        yield PruningPolicy(
            {"select": Stage(layer, Per("row", merger))}, cache="from_stage", positions=rule
        )
    # as many added as dropped: nothing is shorter, and yet nothing is as it was
    everything = Changing(RandomSelector(keep=36), seed=3, n_added=4)
    yield PruningPolicy({"select": Stage(2, everything)}, cache="from_stage")


def bind(model, policy):
    family = family_of_model(model)
    return policy.bind(4, 2, family.spare_layers, family.rotary_axes)


def embeddings_of(model, inputs):
    """What the decoder is given."""
    found = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: found.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    model(**inputs)
    hook.remove()
    return found[0]


@pytest.mark.parametrize(
    "policy", policies(), ids=lambda p: f"{p.cache}-{p.positions}-{len(p.stages)}"
)
def test_single_sample_equals_the_oracle(model_and_processor, policy):
    model, processor = model_and_processor
    family = family_of_model(model)
    inputs = batch(processor, ("what is there", [picture(90, 90)]))
    recorders = {name: Recorder(stage.selector) for name, stage in policy.stages.items()}
    recorded = replace(
        policy, stages={n: replace(s, selector=recorders[n]) for n, s in policy.stages.items()}
    )
    bound = bind(model, recorded)
    with Pruner(model, family, bound) as run, torch.no_grad():
        output = generate(model, inputs)
    answer = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    with torch.no_grad():
        expected = oracle_logits(
            model,
            family,
            bound,
            embeddings_of(model, inputs)[0],
            {name: recorder.decisions[0] for name, recorder in recorders.items()},
            answer[:-1],
        )
    for ours, theirs in zip(output.logits, expected, strict=True):
        assert (ours[0] - theirs).abs().max() < 1e-5
    lengths = [layer.keys.shape[2] for layer in output.past_key_values.layers]
    n_new = len(answer[:-1])
    assert [length - n_new for length in lengths] == run.stats.kv_tokens[:, 0].tolist()
    assert output.past_key_values.get_seq_length() == inputs["input_ids"].shape[1] + n_new


def test_merged_and_added_tokens_in_a_ragged_batch(model_and_processor):
    model, processor = model_and_processor
    samples = [
        ("what is there", [picture(90, 90)]),
        ("how many of them are red", [picture(90, 90, 1), picture(120, 84, 2)]),
    ]
    policy = PruningPolicy(
        {
            "early": Stage(1, Changing(RandomSelector(keep=0.6), seed=1)),
            "late": Stage(3, Changing(RandomSelector(keep=0.5, of="current"), seed=2)),
        }
    )
    with Pruner(model, family_of_model(model), bind(model, policy)) as run, torch.no_grad():
        together, stats = generate(model, batch(processor, *samples)), run.stats
        singles = [(generate(model, batch(processor, s)), run.stats) for s in samples]
    for step, logits in enumerate(together.logits):
        alone = torch.cat([single.logits[step] for single, _ in singles])
        assert (logits - alone).abs().max() < 1e-5
    # of 36 tokens 22 stay and 3 join; of these 25, 12 stay and 3 join
    assert stats.kept_by_stage == {"early": [22, 44], "late": [12, 24]}
    n_added = [n for _, single in singles for n in single.n_added]
    assert stats.n_added == n_added
    for row, (kept, added) in enumerate(zip(stats.kept, stats.n_added, strict=True)):
        n_text = int(stats.n_text[row])
        assert len(kept) < stats.kept_by_stage["late"][row]
        assert len(kept) + added == [15, 30][row]
        assert stats.kv_tokens[3, row] == n_text + len(kept) + added


def test_reassigned_batch_equals_singles(model_and_processor):
    model, processor = model_and_processor
    samples = [
        ("what is there", [picture(90, 90)]),
        ("how many of them are red", [picture(90, 90, 1), picture(120, 84, 2)]),
    ]
    policy = PruningPolicy(
        {"select": Stage(1, Per(scope="sample", selector=PDropSelector(keep=0.4)))},
        cache="from_stage",
        positions="reassign",
    )
    with Pruner(model, family_of_model(model), bind(model, policy)), torch.no_grad():
        together = generate(model, batch(processor, *samples))
        singles = [generate(model, batch(processor, sample)) for sample in samples]
    for step, logits in enumerate(together.logits):
        alone = torch.cat([single.logits[step] for single in singles])
        assert (logits - alone).abs().max() < 1e-5


@dataclass(frozen=True, eq=False)
class InTurn(Selector):
    """One selector after the other."""

    selectors: list[Selector]

    def select(self, tokens):
        return self.selectors.pop(0).select(tokens)


def test_a_later_turn_continues_each_layer_where_it_stopped(model_and_processor):
    """Also the layers behind a stage that keeps all of the new image."""
    model, processor = model_and_processor
    half = RandomSelector(keep=0.5)
    late = InTurn([RandomSelector(keep=0.2), RandomSelector(keep=1.0)])
    policy = PruningPolicy(
        {"early": Stage(1, half), "late": Stage(2, late)}, cache="from_stage", positions="reassign"
    )
    turns = [batch(processor, (text, [picture(90, 90)])) for text in ("what is it", "and now")]
    decoder, seen = model.model.language_model, []

    def look(module, args, kwargs):
        hidden, cache = args[0], given_cache(kwargs)
        stored = cache.layers[module.self_attn.layer_idx].stored
        positions = torch.arange(stored, stored + hidden.shape[1])[None]
        expected = decoder.rotary_emb(hidden, positions)
        seen.append(torch.allclose(kwargs["position_embeddings"][0], expected[0], atol=1e-5))

    with Pruner(model, family_of_model(model), bind(model, policy)), torch.no_grad():
        cache = model(**turns[0]).past_key_values
        hooks = [
            layer.register_forward_pre_hook(look, with_kwargs=True) for layer in decoder.layers
        ]
        past = cache.get_seq_length()
        length = turns[1]["input_ids"].shape[1]
        inputs = {k: v for k, v in turns[1].items() if k != "attention_mask"}
        position_ids = torch.arange(past, past + length)[None]
        model(**inputs, past_key_values=cache, position_ids=position_ids)
        for hook in hooks:
            hook.remove()
    assert seen == [True] * 4


def test_the_rules_differ(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("what is there", [picture(90, 90)]))
    last = []
    for rule in ("keep", "reassign"):
        policy = PruningPolicy(
            {"select": Stage(1, RandomSelector(keep=0.4))}, cache="from_stage", positions=rule
        )
        with Pruner(model, family_of_model(model), bind(model, policy)), torch.no_grad():
            last.append(model(**inputs).logits[:, -1])
    assert (last[0] - last[1]).abs().max() > 1e-3
