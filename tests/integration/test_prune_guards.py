"""What a prune block leaves behind, lets happen one at a time, and refuses by name."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    Qwen2Config,
)

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.api import bind
from ivcprune.models.registry import family_named, family_of_model, supported
from ivcprune.selectors import MergeDropped, RandomSelector, Selector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture, ragged_batch

HALF = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))})
GREEDY = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
FAMILIES = supported()


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model("llava")


def state_of(model):
    """Everything that a block may put on a model."""
    hooks = [
        (name, tuple(module._forward_pre_hooks), tuple(module._forward_hooks))
        for name, module in model.named_modules()
    ]
    return hooks, {name: sorted(vars(module)) for name, module in model.named_modules()}


def padded_right(inputs):
    """The same prompts with their padding at the end."""
    mask = inputs["attention_mask"]
    order = (mask == 0).to(torch.uint8).argsort(dim=1, stable=True)
    moved = ("input_ids", "attention_mask", "mm_token_type_ids")
    return {k: x.gather(1, order) if k in moved else x for k, x in inputs.items()}


class TestPadding:
    @pytest.mark.parametrize("policy", ["none", "random"])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_right_padded_prompts_are_refused(self, family, policy):
        model, processor = tiny_model(family)
        inputs = padded_right(ragged_batch(processor))
        with prune(model, policy), pytest.raises(ValueError, match=r"samples \d end in padding"):
            model.generate(**inputs, max_new_tokens=1)

    @pytest.mark.parametrize(("taken", "mask"), [("class", False), ("before", True)])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_whichever_generate_is_called(self, family, taken, mask):
        """That of the class, or a method taken before the block, knows nothing of the block."""
        model, processor = tiny_model(family)
        generate = type(model).generate.__get__(model) if taken == "class" else model.generate
        inputs = padded_right(ragged_batch(processor))
        if not mask:  # generate makes one
            unseen = inputs.pop("attention_mask") == 0
            inputs["input_ids"] = inputs["input_ids"].masked_fill(unseen, 5)
            inputs |= {"pad_token_id": 5, "eos_token_id": 7}
        with prune(model, "none"), pytest.raises(ValueError, match=r"samples \d end in padding"):
            generate(**inputs, max_new_tokens=1)
        with prune(model, HALF), pytest.raises(ValueError, match="leave use_cache on"):
            generate(**ragged_batch(processor), use_cache=False, max_new_tokens=2)
        with prune(model, HALF):
            found = generate(**ragged_batch(processor), **GREEDY)
            assert found.equal(model.generate(**ragged_batch(processor), **GREEDY))

    def test_without_a_mask_by_the_padding_token(self, model_and_processor):
        model, processor = model_and_processor
        inputs = padded_right(ragged_batch(processor))
        pad = 5
        ids = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, pad)
        rest = {"pixel_values": inputs["pixel_values"], "max_new_tokens": 1}
        with prune(model, "none"):
            with pytest.raises(ValueError, match="padding_side='left'"):
                model.generate(ids, pad_token_id=pad, eos_token_id=7, **rest)
            model.generate(ids, pad_token_id=pad, eos_token_id=[7, pad], **rest)  # may be an end

    @pytest.mark.parametrize("policy", ["none", "random"])
    def test_left_padding_and_none_are_fine(self, model_and_processor, policy):
        model, processor = model_and_processor
        with prune(model, policy):
            ids = model.generate(**ragged_batch(processor), max_new_tokens=1)
        assert len(ids) == 2

    def test_a_forward_call_may_be_padded_on_the_right(self, model_and_processor):
        """Training does so; what is left of each sample is what is left of it alone."""
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        with torch.no_grad(), prune(model, HALF) as run:
            run.identify(["a", "b"])
            left = model(**inputs).logits[:, -1]
            run.identify(["a", "b"])
            right = model(**padded_right(inputs)).logits[:, -1]
        assert torch.allclose(left[1], right[1], atol=1e-5)


class TestBlock:
    def test_a_failed_entry_leaves_nothing(self, model_and_processor, monkeypatch):
        model, _ = model_and_processor
        before = state_of(model)
        run = prune(model, HALF)
        layer = run._layers[2]

        def fails(*_, **__):
            raise ZeroDivisionError

        monkeypatch.setattr(layer, "register_forward_hook", fails)
        with pytest.raises(ZeroDivisionError):
            run.__enter__()
        monkeypatch.undo()
        assert state_of(model) == before
        with prune(model, HALF):
            pass
        assert state_of(model) == before

    def test_a_copy_made_inside_is_a_plain_model(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, ("where", [picture(84, 84)]))
        with torch.no_grad():
            plain, ids = model(**inputs).logits, model.generate(**inputs, **GREEDY)
            with prune(model, HALF) as run:
                copied = copy.deepcopy(model)
                assert torch.equal(copied(**inputs).logits, plain)
                assert torch.equal(copied.generate(**inputs, **GREEDY), ids)
                assert run.stats is None
                with prune(copied, HALF) as of_copy:
                    pruned = copied(**inputs).logits
                    copied.generate(**inputs, **GREEDY)
                assert run.stats is None
                assert torch.equal(model(**inputs).logits, pruned)
            labels = inputs["input_ids"].masked_fill(inputs["input_ids"] < 50, -100)
            assert copied(**inputs, labels=labels).loss == model(**inputs, labels=labels).loss
        assert of_copy.stats.kept_by_stage == {"select": [18]}

    def test_a_copy_made_inside_outlives_the_block(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        with prune(model, HALF):
            copied = copy.deepcopy(model)
        again = copy.deepcopy(copied)
        expected = model.generate(**inputs, **GREEDY)
        assert torch.equal(again.generate(**inputs, **GREEDY), expected)

    def test_in_a_compiled_function(self, model_and_processor):
        model, processor = model_and_processor

        @torch.compile(backend="eager")
        def step(inputs):
            with prune(model, HALF) as run:
                return model(**inputs), run.stats

        inputs = batch(processor, ("where", [picture(84, 84)]))
        before = state_of(model)
        with torch.no_grad(), pytest.raises(RuntimeError, match="inside a compiled function"):
            step(inputs)
        assert state_of(model) == before

    @pytest.mark.parametrize(
        "move", [lambda m: m.double(), lambda m: m.train(), lambda m: m.half()]
    )
    def test_a_model_that_changes_within_the_block(self, move):
        model, processor = tiny_model("qwen2_5_vl")
        inputs = dict(ragged_batch(processor))
        with torch.no_grad(), prune(model, HALF) as run:
            model(**inputs)
            kept = run.stats.kept
            logits = move(model)(**inputs).logits
            assert all(map(torch.equal, run.stats.kept, kept))
        assert logits.isfinite().all()

    def test_autocast(self, model_and_processor):
        model, processor = model_and_processor
        with torch.autocast("cpu", torch.bfloat16), prune(model, "fastv") as run:
            ids = model.generate(**ragged_batch(processor), **GREEDY)
        assert len(ids) == len(run.stats.kept) == 2


class TestThreads:
    def test_an_overlapping_call_is_refused(self, model_and_processor):
        """The first call waits inside of a selector until the second one is over."""
        model, processor = model_and_processor
        inputs = batch(processor, ("where", [picture(84, 84)]))
        inside, over = threading.Event(), threading.Event()

        @dataclass(frozen=True)
        class Waits(Selector):
            def select(self, tokens):
                inside.set()
                assert over.wait(timeout=60)
                return tokens.valid & (tokens.ordinal % 2 == 0)

        answers = []
        policy = PruningPolicy({"select": Stage(2, Waits())})
        with prune(model, policy) as run:
            first = threading.Thread(
                target=lambda: answers.append(model.generate(**inputs, **GREEDY))
            )
            first.start()
            assert inside.wait(timeout=60)
            try:
                for call in (lambda: model(**inputs), lambda: model.generate(**inputs, **GREEDY)):
                    with pytest.raises(RuntimeError, match="let them take turns"):
                        call()
            finally:
                over.set()
                first.join()
            stats = run.stats
            assert torch.equal(model.generate(**inputs, **GREEDY), answers[0])
        assert stats.kept_by_stage == {"select": [18]}

    def test_calls_in_turns_are_fine(self, model_and_processor):
        model, processor = model_and_processor
        inputs, answers, lock = ragged_batch(processor), [], threading.Lock()

        def answer():
            with lock:
                answers.append(model.generate(**inputs, **GREEDY))

        with prune(model, HALF):
            expected = model.generate(**inputs, **GREEDY)
            threads = [threading.Thread(target=answer) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(answers) == 4
        assert all(torch.equal(ids, expected) for ids in answers)

    def test_two_models_in_two_threads(self):
        models = [tiny_model("llava", seed=seed) for seed in (0, 1)]
        answers = {}

        def answer(number):
            model, processor = models[number]
            with prune(model, HALF) as run:
                run.identify(["a", "b"])
                ids = model.generate(**ragged_batch(processor), **GREEDY)
            answers[number] = ids, run.stats.kept_by_stage

        for number in (0, 1):
            answer(number)
        expected, answers = dict(answers), {}
        threads = [threading.Thread(target=answer, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in (0, 1):
            assert torch.equal(answers[number][0], expected[number][0])
            assert answers[number][1] == expected[number][1]

    def test_a_failed_call_is_over(self, model_and_processor):
        model, processor = model_and_processor
        inputs, answers = ragged_batch(processor), []
        with prune(model, HALF):
            for call in (model, model.generate):
                with pytest.raises(Exception, match="image"):  # of one image, where two are due
                    call(**{**inputs, "pixel_values": inputs["pixel_values"][:1]})
            thread = threading.Thread(
                target=lambda: answers.append(model.generate(**inputs, **GREEDY))
            )
            thread.start()
            thread.join()
        assert len(answers) == 1


class TestContinuousBatching:
    @pytest.mark.parametrize("policy", ["none", "random"])
    @pytest.mark.parametrize(
        "name",
        ["generate_batch", "init_continuous_batching", "continuous_batching_context_manager"],
    )
    def test_refused(self, model_and_processor, policy, name):
        model, _ = model_and_processor
        before = state_of(model)
        with prune(model, policy), pytest.raises(ValueError, match="call generate"):
            getattr(model, name)(inputs=[[1, 2]])
        assert state_of(model) == before


class TestTraining:
    def gradients(self, model, inputs, policy, **options):
        model.zero_grad()
        with prune(model, policy) as run:
            run.identify(["a", "b"])
            output = model(**inputs, **options)
            (
                output.logits.float().square().mean() if output.loss is None else output.loss
            ).backward()
        return output, {
            n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
        }

    @pytest.mark.parametrize("policy", ["ivc_prune", "fastv", "pdrop", "divprune"])
    def test_gradient_checkpointing_is_refused(self, policy):
        model, processor = tiny_model("qwen2_5_vl")
        model.train().gradient_checkpointing_enable()
        inputs = ragged_batch(processor)
        with prune(model, policy) as run:
            with pytest.raises(ValueError, match="gradient checkpointing"):
                model(**inputs)
            with torch.no_grad():
                model(**inputs)
            model.gradient_checkpointing_disable()
            model(**inputs).logits.sum().backward()
        assert run.stats.average_tokens < 1

    def test_vanilla_runs_with_gradient_checkpointing(self):
        model, processor = tiny_model("qwen2_5_vl")
        model.train()
        inputs = ragged_batch(processor)
        _, expected = self.gradients(model, inputs, "none", use_cache=False)
        model.gradient_checkpointing_enable()
        _, gradients = self.gradients(model, inputs, "none")
        assert gradients.keys() == expected.keys()
        assert all(torch.allclose(gradients[n], expected[n], atol=1e-6) for n in expected)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_labels_of_an_answer(self, family):
        """The loss is that of the logits at the answer: its tokens are the last ones."""
        model, processor = tiny_model(family)
        inputs = dict(ragged_batch(processor))
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[:, -4:] = inputs["input_ids"][:, -4:]
        output, _ = self.gradients(model, inputs, HALF, labels=labels)
        assert output.logits.shape[1] < labels.shape[1]
        expected = cross_entropy(output.logits[:, -5:-1].flatten(0, 1), labels[:, -4:].flatten())
        assert torch.allclose(output.loss, expected)

    def test_labels_of_all_text(self, model_and_processor):
        """Each token is predicted by the one before it that is left."""
        model, processor = model_and_processor
        inputs = batch(processor, ("where is it", [picture(84, 84)]))
        ids = inputs["input_ids"]
        is_text = ids != model.config.image_token_id
        labels = ids.masked_fill(~is_text, -100)
        with prune(model, HALF) as run:
            output = model(**inputs, labels=labels)
        left = is_text.clone()
        left[0, run.stats.kept[0]] = True
        kept_labels = labels[left][1:]
        assert torch.allclose(output.loss, cross_entropy(output.logits[0, :-1], kept_labels))

    def test_labels_where_tokens_are_added(self):
        model, processor = tiny_model("llava", depth=16)
        inputs = batch(processor, ("where is it", [picture(84, 84)]))
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[:, -3:] = inputs["input_ids"][:, -3:]
        policy = load_policy("sparsevlm", family="llava")
        with prune(model, policy) as run:
            output = model(**inputs, labels=labels)
        assert run.stats.n_added[0] > 0
        expected = cross_entropy(output.logits[0, -4:-1], labels[0, -3:])
        assert torch.allclose(output.loss, expected)

    def test_labels_of_tokens_that_may_go_are_refused(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, ("where is it", [picture(84, 84)]))
        with prune(model, HALF), pytest.raises(ValueError, match=r"labels: 36 visual tokens"):
            model(**inputs, labels=inputs["input_ids"])

    @pytest.mark.parametrize("policy", ["none", "random"])
    def test_labels_of_text_alone(self, model_and_processor, policy):
        model, processor = model_and_processor
        ids = processor.tokenizer("what is two and two", return_tensors="pt").input_ids
        expected = model(input_ids=ids, labels=ids).loss
        with prune(model, policy):
            assert torch.equal(model(input_ids=ids, labels=ids).loss, expected)

    def test_a_loss_function_of_its_own_comes_back(self, model_and_processor):
        model, processor = model_and_processor
        model.loss_function = lambda logits, labels, **_: logits.sum() * 0 + labels.shape[1]
        own = model.loss_function
        try:
            inputs = batch(processor, ("where is it", [picture(84, 84)]))
            labels = torch.full_like(inputs["input_ids"], -100)
            with prune(model, HALF):
                assert model(**inputs, labels=labels).loss == labels.shape[1] - 18
            assert model.loss_function is own
        finally:
            del model._loss_function


class TestUncoveredModels:
    def config(self, **options):
        return LlavaConfig(**{"vision_config": CLIPVisionConfig(), **options})

    def test_pixtral(self):
        config = self.config(vision_config=PixtralVisionConfig(), text_config=MistralConfig())
        with pytest.raises(ValueError, match=r"vision tower 'pixtral' \(Pixtral\)"):
            bind(PruningPolicy(), family_named("llava"), config)

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            (MistralConfig(sliding_window=4096), r"mistral\) attends in a sliding window of 4096"),
            (
                Qwen2Config(use_sliding_window=True, sliding_window=512, max_window_layers=30),
                r"qwen2\) attends in a sliding window of 512 tokens in 2 of its 32 layers",
            ),
        ],
    )
    def test_sliding_windows(self, text, what):
        config = self.config(text_config=text)
        for policy in (HALF, PruningPolicy()):  # what is measured would be wrong without stages too
            with pytest.raises(ValueError, match=what):
                bind(policy, family_named("llava"), config)

    def test_full_attention_is_covered(self):
        texts = LlamaConfig(), MistralConfig(sliding_window=None), Qwen2Config()
        for text in texts:
            bind(HALF, family_named("llava"), self.config(text_config=text))

    def test_before_a_hook_is_placed(self):
        text = MistralConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocab_size=100,
            sliding_window=8,
        )
        vision = CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
        )
        model = LlavaForConditionalGeneration(self.config(vision_config=vision, text_config=text))
        with pytest.raises(ValueError, match="sliding window of 8 tokens in 3 of its 3 layers"):
            prune(model, HALF)


class TestEmbeddings:
    """inputs_embeds in the place of input_ids: what helps is told, and helps."""

    def embedded(self, model, inputs):
        seen = []

        def look(module, args, kwargs):
            seen.append(kwargs["inputs_embeds"].detach())

        decoder = family_of_model(model).text_model(model)
        handle = decoder.register_forward_pre_hook(look, with_kwargs=True)
        with torch.no_grad():
            model(**inputs)
        handle.remove()
        names = "attention_mask", "mm_token_type_ids", "image_grid_thw", "image_sizes"
        return {"inputs_embeds": seen[0], **{n: inputs[n] for n in names if n in inputs}}

    @pytest.mark.parametrize("beams", [1, 2])
    @pytest.mark.parametrize("family", ["deepseek_vl2", "llava", "qwen2_5_vl", "qwen2_vl"])
    def test_with_the_ids_beside(self, family, beams):
        model, processor = tiny_model(family)
        inputs = ragged_batch(processor)
        options = GREEDY | {"num_beams": beams}
        with prune(model, HALF):
            expected = model.generate(**inputs, **options)[:, -3:]
            embedded = self.embedded(tiny_model(family)[0], inputs)
            given = model.generate(**embedded, input_ids=inputs["input_ids"], **options)
        assert torch.equal(given[:, -3:], expected)

    # transformers' Gemma 3 and 4 generate from ids alone
    @pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("gemma3", "gemma4")])
    def test_without_them(self, family):
        model, processor = tiny_model(family)
        embedded = self.embedded(model, ragged_batch(processor))
        with (
            prune(model, HALF),
            pytest.raises(ValueError, match=r"input_ids,? beside inputs_embeds"),
        ):
            model.generate(**embedded, **GREEDY)


def test_positions_of_more_than_the_new_tokens(model_and_processor):
    """What transformers makes of a mask of the whole conversation in a call of the model."""
    model, processor = tiny_model("qwen2_5_vl")
    inputs = batch(processor, ("where is it", [picture(84, 84)]))
    with torch.no_grad(), prune(model, HALF):
        cache = model(**inputs).past_key_values
        more = {"input_ids": torch.tensor([[3, 4]]), "past_key_values": cache}
        seen = cache.get_seq_length()
        mask = torch.ones(1, seen + 2, dtype=torch.long)
        with pytest.raises(ValueError, match=rf"{seen + 2} positions for 2 new tokens"):
            model(**more, attention_mask=mask)
        assert model(**more).logits.shape[1] == 2


def test_merged_tokens_keep_labels(model_and_processor):
    """Merging changes states, not the sequence's text."""
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(84, 84)]))
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -3:] = inputs["input_ids"][:, -3:]
    policy = PruningPolicy({"x": Stage(2, MergeDropped(selector=RandomSelector(keep=0.5)))})
    with prune(model, policy):
        output = model(**inputs, labels=labels)
    expected = cross_entropy(output.logits[0, -4:-1], labels[0, -3:])
    assert torch.allclose(output.loss, expected)
