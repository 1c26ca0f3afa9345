"""Position rules against the token-list oracle, which masks cannot stand in for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ivcprune import PruningPolicy, Stage
from ivcprune.models.registry import family_of_model
from ivcprune.pruner import Pruner
from ivcprune.selectors import PDropSelector, Per, RandomSelector
from ivcprune.testing import tiny_model
from mask_reference import Spy
from pruning_helpers import batch, picture
from token_list_oracle import oracle_logits

STEPS = 3


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model("llava")


def policies():
    stages = {
        "early": Stage(1, RandomSelector(keep=0.7)),
        "late": Stage(3, Per(scope="sample", selector=PDropSelector(keep=0.3))),
    }
    yield PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))})
    yield PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))}, spare_layers=(0,))
    for rule in ("keep", "reassign"):
        yield PruningPolicy(stages, cache="from_stage", positions=rule)


def bind(model, policy):
    family = family_of_model(model)
    return policy.bind(4, 2, family.spare_layers, family.rotary_axes)


def generate(model, inputs):
    return model.generate(
        **inputs,
        max_new_tokens=STEPS + 1,
        min_new_tokens=STEPS + 1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )


def embeddings_of(model, inputs):
    """What the decoder is given."""
    found = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda _, args, kwargs: found.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    model(**inputs)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("policy", policies(), ids=lambda p: f"{p.cache}-{p.positions}")
def test_single_sample_equals_the_oracle(model_and_processor, policy):
    model, processor = model_and_processor
    family = family_of_model(model)
    inputs = batch(processor, ("what is there", [picture(90, 90)]))
    spies = {name: Spy(stage.selector) for name, stage in policy.stages.items()}
    spied = replace(
        policy, stages={n: replace(s, selector=spies[n]) for n, s in policy.stages.items()}
    )
    bound = bind(model, spied)
    with Pruner(model, family, bound), torch.no_grad():
        output = generate(model, inputs)
    answer = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    with torch.no_grad():
        expected = oracle_logits(
            model,
            family,
            bound,
            embeddings_of(model, inputs)[0],
            {name: [index for _, index in spy.log[0]] for name, spy in spies.items()},
            inputs["input_ids"][0] == model.config.image_token_id,
            answer[:STEPS],
        )
    for ours, theirs in zip(output.logits, expected, strict=True):
        assert (ours[0] - theirs).abs().max() < 1e-5


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
