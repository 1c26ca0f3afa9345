"""Training with the selection on computes what `generate` will compute later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ivcprune import load_policy, prune
from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.pages import Page
from ivcprune.data.scenes.questions import Question, ask, ground
from ivcprune.data.scenes.scene import Scene, Thing, sample_scene
from ivcprune.models.registry import family_of
from ivcprune.training.architectures import architecture_named
from ivcprune.training.cells import IGNORE
from ivcprune.training.pruned import PrunedTraining
from ivcprune.training.turns import TurnMaker, Turns
from ivcprune.training.validation import encode

NAMES = ["tiny", "tiny_llava", "tiny_internvl"]
PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}
POLICIES = ["ivc_prune", "fastv", "pdrop", "random"]


def training(policy: str, name: str = "tiny") -> PrunedTraining:
    torch.manual_seed(0)
    architecture = architecture_named(name)
    processor = architecture.build_processor()
    model: Any = architecture.build_model(processor)
    options = {"steps": 10, "lr": 1e-3, "warmup": 1, "decay": 0.5, "weight_decay": 0.0}
    chosen = load_policy(policy, family=family_of(model.config.model_type).name)
    return PrunedTraining(model, processor, PROMPTS, policy=chosen, **options)


def scenes(count: int) -> list[tuple[Scene, list[Question]]]:
    rng = np.random.default_rng(3)
    drawn = [sample_scene(rng, "train") for _ in range(count)]
    return [(scene, [ground(rng, scene), ask(rng, scene)]) for scene in drawn]


def turn_maker(module: PrunedTraining) -> TurnMaker:
    return TurnMaker(family_of(module.model.config.model_type), module.processor, PROMPTS)


def turns(module: PrunedTraining, count: int = 3) -> Turns:
    """Images of several sizes, answers of several lengths."""
    maker, rng = turn_maker(module), np.random.default_rng(0)
    packed = [
        maker.pack(Page(scene, (), ""), draw(scene, rng), asked) for scene, asked in scenes(count)
    ]
    return maker.collate(packed)


def test_answers_end_and_no_loss_looks_behind_them():
    module = training("none")
    batch = turns(module, 1)
    box, word = batch.labels
    end = module.processor.tokenizer.eos_token_id
    assert box[-1] == end  # four coordinates
    assert word[1] == end  # one word
    assert word[2:].eq(IGNORE).all()
    real = batch.labels != IGNORE
    assert torch.equal(batch.answers[real], batch.labels[real])


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_without_a_policy_they_are_the_logits_of_one_sequence(name):
    module = training("none", name)
    batch = turns(module)
    logits = module.answer_logits(batch)
    for row in range(len(batch.answers)):
        sample = [turn for scene in _samples(module) for turn in scene][row]
        prompt = encode(module.processor, [sample], PROMPTS)
        whole = torch.cat([prompt.pop("input_ids"), batch.answers[row : row + 1, :-1]], dim=1)
        if "mm_token_type_ids" in prompt:
            types = (prompt["mm_token_type_ids"], (0, batch.answers.shape[1] - 1))
            prompt["mm_token_type_ids"] = torch.nn.functional.pad(*types)
        del prompt["attention_mask"]
        expected = module.model(input_ids=whole, **prompt).logits
        assert torch.allclose(logits[row], expected[0, -batch.answers.shape[1] :], atol=1e-5)


def _samples(module):
    maker, rng = turn_maker(module), np.random.default_rng(0)
    return [
        [turn.sample for turn in maker.pack(Page(scene, (), ""), draw(scene, rng), asked)]
        for scene, asked in scenes(3)
    ]


@pytest.mark.parametrize(
    ("policy", "name"),
    [*((policy, "tiny") for policy in POLICIES), *(("ivc_prune", name) for name in NAMES[1:])],
)
@torch.inference_mode()
def test_under_a_policy_they_are_the_logits_of_generate(policy, name):
    """The selection sees what it sees later: the prompts, and nothing of the answers."""
    module = training(policy, name)
    batch = turns(module)
    n_new = batch.answers.shape[1]
    with prune(module.model, module.policy) as run:
        run.identify([f"0/{i}" for i in range(len(batch.answers))])
        said = module.model.generate(
            **batch.prompts,
            max_new_tokens=n_new,
            min_new_tokens=n_new,
            suppress_tokens=[module.model.config.image_token_id],
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        kept = [len(own) for own in run.stats.kept]
    assert all(n < whole for n, whole in zip(kept, run.stats.n_visual, strict=True))
    own = batch._replace(answers=said.sequences[:, -n_new:])
    assert torch.allclose(module.answer_logits(own), torch.stack(said.logits, 1), atol=1e-5)


@pytest.mark.parametrize("policy", ["none", *POLICIES])
def test_gradients_flow_through_what_is_left(policy):
    module = training(policy)
    batch = turns(module)
    loss = module.answer_loss(module.answer_logits(batch)[batch.labels != IGNORE], batch.labels)
    loss.backward()
    without = [n for n, p in module.model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert not any(module_._forward_pre_hooks for module_ in module.model.modules())


def test_boxes_are_answered_for_the_picture_as_the_model_sees_it() -> None:
    module = training("none", "tiny_llava")
    thing = Thing("small", "red", "star", (28, 56, 63, 91))
    scene = Scene(168, 336, (thing,))
    question = Question("grounding", "attribute", "the red star", "28 56 63 91", (0,))
    maker = turn_maker(module)
    image = draw(scene, np.random.default_rng(0))
    batch = maker.collate([maker.pack(Page(scene, (), ""), image, [question])])
    assert module.processor.tokenizer.decode(batch.answers[0, :-1]) == "56 56 126 91"
