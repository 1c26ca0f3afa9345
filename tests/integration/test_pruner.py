"""The `with` block around a live model: what it leaves alone, what it measures, what it refuses."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import pytest
import torch
from transformers.masking_utils import create_causal_mask

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.models.registry import family_of_model
from ivcprune.pruning import masks
from ivcprune.selectors import FastVSelector, PDropSelector, RandomSelector, Selector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, chat, picture, ragged_batch

GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model("qwen2_5_vl")


def n_hooks(model):
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


def half(layer=2, **options):
    return PruningPolicy({"select": Stage(layer, RandomSelector(keep=0.5))}, **options)


class TestVanilla:
    def test_policy_none_is_bit_identical(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        plain = model(**inputs).logits
        with prune(model, "none") as run:
            inside = model(**inputs).logits
        assert torch.equal(plain, inside)
        assert run.stats.average_tokens == 1.0

    def test_keeping_everything_is_bit_identical(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        policy = PruningPolicy({"select": Stage(2, RandomSelector(keep=1.0))})
        with prune(model, policy):
            inside = model(**inputs).logits
        assert torch.equal(model(**inputs).logits, inside)

    def test_text_alone_is_a_no_op(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, ("what is two and two", []))
        with prune(model, "ivc_prune") as run:
            inside = model.generate(**inputs, **GREEDY)
        assert torch.equal(model.generate(**inputs, **GREEDY), inside)
        assert (run.stats.n_visual, run.stats.average_tokens) == ([0], 1.0)

    def test_what_is_not_pruned_may_have_any_mask(self, model_and_processor):
        model, processor = model_and_processor
        inputs = dict(batch(processor, ("what is two and two", [])))
        n = inputs["input_ids"].shape[1]
        inputs["attention_mask"] = torch.ones(1, 1, n, n).tril().log()
        with prune(model, "ivc_prune"):
            inside = model(**inputs, use_cache=True).logits
        assert torch.equal(model(**inputs).logits, inside)

    def test_a_batch_with_and_without_images(self, model_and_processor):
        model, processor = model_and_processor
        samples = ("what is there", [picture(140, 112)]), ("what is two and two", [])
        inputs = batch(processor, *samples)
        with prune(model, half()) as run:
            together = model.generate(**inputs, **GREEDY)[:, -5:]
            singles = [model.generate(**batch(processor, s), **GREEDY)[:, -5:] for s in samples]
            stats = run.stats
        assert torch.equal(together, torch.cat(singles))
        assert stats.n_visual == [0]

    def test_pruning_changes_the_logits(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        with prune(model, "ivc_prune"):
            pruned = model(**inputs).logits[:, -1]
        assert (pruned - model(**inputs).logits[:, -1]).abs().max() > 1e-3


class TestBlock:
    def test_no_hook_remains(self, model_and_processor):
        model, processor = model_and_processor
        before = n_hooks(model)
        with prune(model, "ivc_prune"):
            assert n_hooks(model) > before
            model(**ragged_batch(processor))
        assert n_hooks(model) == before

    def test_no_hook_remains_after_an_exception(self, model_and_processor):
        model, processor = model_and_processor
        before = n_hooks(model)

        @dataclass(frozen=True)
        class Broken(Selector):
            def select(self, tokens):
                raise ZeroDivisionError("inside a selector")

        inputs = ragged_batch(processor)
        plain = model.generate(**inputs, **GREEDY)
        with (
            pytest.raises(ZeroDivisionError),
            prune(model, PruningPolicy({"x": Stage(1, Broken())})),
        ):
            model.generate(**inputs, **GREEDY)
        assert n_hooks(model) == before
        assert torch.equal(model.generate(**inputs, **GREEDY), plain)

    def test_recovers_within_the_block_after_an_exception(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        positions, _ = model.model.get_rope_index(**inputs)
        with prune(model, "ivc_prune") as run:
            expected = model.generate(**inputs, **GREEDY)
            mask = torch.ones(2, 1, 9, 9)
            with pytest.raises(ValueError, match="2-D padding mask"):
                model(**{**inputs, "attention_mask": mask, "position_ids": positions})
            assert torch.equal(model.generate(**inputs, **GREEDY), expected)
        assert run.stats is not None

    def test_nested_blocks_are_refused(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, "none"):
            with pytest.raises(RuntimeError, match="already active on this model"):
                prune(model, "none").__enter__()
            model(**ragged_batch(processor))
        with prune(model, "none"):
            pass

    def test_unsupported_model(self):
        with pytest.raises(ValueError, match=r"'Linear' is not supported.*qwen2_5_vl"):
            prune(torch.nn.Linear(2, 2), "none")

    def test_unknown_policy(self, model_and_processor):
        with pytest.raises(ValueError, match="ivc_prune"):
            prune(model_and_processor[0], "ivc_prume")

    def test_a_selector_of_the_wrong_shape_is_named(self, model_and_processor):
        model, processor = model_and_processor

        @dataclass(frozen=True)
        class Wrong(Selector):
            def select(self, tokens):
                return tokens.valid[:, :1]

        policy = PruningPolicy({"cut": Stage(1, Wrong())})
        with prune(model, policy), pytest.raises(ValueError, match=r"stages\.cut: Wrong\.select"):
            model(**ragged_batch(processor))


class TestStatistics:
    def test_measured_on_the_cache(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        with prune(model, half()) as run:
            out = model(**inputs, use_cache=True)
        stats = run.stats
        assert stats.n_visual == [20, 47]
        assert stats.kept_by_stage == {"select": [10, 24]}
        assert [len(kept) for kept in stats.kept] == [10, 24]
        text = inputs["attention_mask"].sum(1) - torch.tensor(stats.n_visual)
        assert stats.kv_tokens.tolist() == [(text + torch.tensor([10, 24])).tolist()] * 4
        # each cached token: keys and values of 2 heads of 16 dimensions in float32, in each layer
        assert stats.kv_bytes == int(stats.kv_tokens.sum()) * 2 * 2 * 16 * 4
        assert stats.average_tokens_per_sequence == pytest.approx([10 / 20, 24 / 47])
        assert stats.average_tokens == pytest.approx((10 / 20 + 24 / 47) / 2)
        assert out.past_key_values.layers[0].keys.shape[2] == int(stats.kv_tokens.max())

    def test_logical_length(self, model_and_processor):
        """`generate` slices the ids of a continued conversation by the tokens SEEN."""
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        with prune(model, half()):
            cache = model(**inputs, use_cache=True).past_key_values
        assert cache.get_seq_length() == inputs["input_ids"].shape[1]

    def test_kept_maps_show_the_kept_tokens(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, half()) as run:
            model(**ragged_batch(processor))
        maps = run.stats.kept_maps()
        assert [(m.sample, m.image, m.grid) for m in maps] == [
            (0, 0, (4, 5)),
            (1, 0, (4, 3)),
            (1, 1, (5, 7)),
        ]
        assert sum(int(m.keep.sum()) for m in maps) == 34

    @pytest.mark.parametrize(
        ("depth", "policy", "percent"),
        [
            (28, "fastv", 53.6),
            (32, "fastv", 53.1),
            (27, "fastv", 53.7),
            (28, "pdrop", 61.1),
            (32, "pdrop", 55.6),
            (27, "pdrop", 62.7),
        ],
    )
    def test_average_tokens_of_the_baselines(self, depth, policy, percent):
        """The paper's column at its layer counts, measured on the cache (400 tokens: 20 x 20)."""
        model, processor = tiny_model("qwen2_5_vl", depth=depth)
        with prune(model, policy) as run:
            model(**batch(processor, ("where", [picture(560, 560)])))
        assert 100 * run.stats.average_tokens == pytest.approx(percent, abs=0.06)

    def test_beams_are_sequences(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, ("where", [picture(140, 112)]))
        with prune(model, half()) as run:
            model.generate(**inputs, num_beams=3, max_new_tokens=3)
        assert run.stats.n_visual == [20, 20, 20]


class TestBatching:
    @pytest.mark.parametrize("name", ["ivc_prune", "fastv", "pdrop", "random", "foreground_border"])
    def test_batch_equals_singles(self, model_and_processor, name):
        model, processor = model_and_processor
        samples = [
            ("where", [picture(140, 112)]),
            ("how many blobs are in there", [picture(84, 112, 1), picture(196, 140, 2)]),
            ("is it red or is it blue", [picture(28, 28, 3)]),
        ]
        ids = ["a", "b", "c"]
        with prune(model, name) as run:
            run.identify(ids)
            together = model(**batch(processor, *samples)).logits[:, -1]
            kept = [m.keep for m in run.stats.kept_maps()]
            singles, kept_alone = [], []
            for name_, sample in zip(ids, samples, strict=True):
                run.identify([name_])
                singles.append(model(**batch(processor, sample)).logits[:, -1])
                kept_alone += [m.keep for m in run.stats.kept_maps()]
        assert all(torch.equal(a, b) for a, b in zip(kept, kept_alone, strict=True))
        assert torch.allclose(together, torch.cat(singles), atol=1e-5)

    def test_random_differs_between_named_samples(self, model_and_processor):
        model, processor = model_and_processor
        inputs = batch(processor, *[("where", [picture(196, 140)])] * 2)
        with prune(model, "random") as run:
            run.identify(["one", "two"])
            model(**inputs)
            first, second = run.stats.kept_maps()
            assert not torch.equal(first.keep, second.keep)
            model(**inputs)
            first, second = run.stats.kept_maps()
            assert torch.equal(first.keep, second.keep)


class TestAttention:
    """Attention-based scores are the eager model's own weights, without switching it to eager."""

    @pytest.mark.parametrize(("selector", "offset"), [(FastVSelector, -1), (PDropSelector, 0)])
    @pytest.mark.parametrize("layer", [1, 3])
    def test_rows_equal_eager_weights(self, model_and_processor, selector, offset, layer):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        rows = []

        @dataclass(frozen=True)
        class Record(selector):
            def score(self, tokens):
                score = super().score(tokens)
                rows.append((tokens, score))
                return score

        with prune(model, PruningPolicy({"x": Stage(layer, Record())})):
            model(**inputs)
        ((tokens, score),) = rows
        model.set_attn_implementation("eager")
        try:
            attentions = model(**inputs, output_attentions=True).attentions
        finally:
            model.set_attn_implementation("sdpa")
        last = attentions[layer + offset].mean(1)[:, -1]
        expected = last[tokens.sample[:, None], tokens.index]
        assert (score - expected)[tokens.valid].abs().max() < 1e-5


class TestVideo:
    @pytest.fixture
    def inputs(self, model_and_processor):
        """A video of 3 x 4 x 5 tokens, patches made by hand: there is no video processor here."""
        model, processor = model_and_processor
        text = "<|im_start|>user\n<|vision_start|>" + "<|video_pad|>" * 60
        text += "<|vision_end|>what happens<|im_end|>\n"
        ids = processor.tokenizer(text, return_tensors="pt").input_ids
        generator = torch.Generator().manual_seed(0)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": 2 * (ids == model.config.video_token_id).int(),
            "pixel_values_videos": torch.randn(240, 1176, generator=generator),
            "video_grid_thw": torch.tensor([[3, 8, 10]]),
        }

    def test_frames_are_rows(self, model_and_processor, inputs):
        model, _ = model_and_processor
        with prune(model, "none") as run:
            model(**inputs)
        maps = run.stats.kept_maps()
        assert [(m.kind, m.image, m.grid) for m in maps] == [("frame", 0, (4, 5))] * 3

    def test_published_ranks_the_clip_and_the_paper_each_frame(self, model_and_processor, inputs):
        model, _ = model_and_processor
        with prune(model, "ivc_prune") as run:
            model(**inputs)
            assert run.stats.kept_by_stage == {"select": [30]}
        with prune(model, "ivc_prune_paper") as run:
            model(**inputs)
            counts = [int(m.keep.sum()) for m in run.stats.kept_maps()]
        assert all(8 <= n <= 12 for n in counts)  # 40 % of 20, and up to 2 + 2 coordinates


class TestPrecision:
    def test_bfloat16_runs_and_keeps_float32_coordinates(self, model_and_processor):
        model, processor = tiny_model("qwen2_5_vl")
        inputs = ragged_batch(processor)
        with prune(model, "ivc_only") as run:
            model(**inputs)
            exact = run.stats.kept
        model = model.bfloat16()
        with torch.inference_mode(), prune(model, "ivc_only") as run:
            model.generate(**inputs, **GREEDY)
            rounded = run.stats.kept
        assert all(torch.equal(a, b) for a, b in zip(exact, rounded, strict=True))

    def test_positions_missing_from_the_inputs_are_noticed(self, model_and_processor):
        model, processor = model_and_processor
        inputs = dict(batch(processor, ("where", [picture(140, 112)])))
        del inputs["mm_token_type_ids"]
        model.model.rope_deltas = None
        with prune(model, half()), pytest.raises(ValueError, match="pass mm_token_type_ids"):
            model(**inputs)


def test_default_layers_as_published():
    family = family_of_model(tiny_model("qwen2_5_vl")[0])
    assert [family.default_layer(depth) for depth in (28, 36, 64)] == [16, 22, 35]
    assert family.default_layer(6) == 3
    assert family.default_layer(80) == 46


def test_a_checkpoint_can_name_its_own_layer():
    model, _ = tiny_model("qwen2_5_vl")
    assert prune(model, "ivc_prune").layers == {"select": 2}
    model.config.ivcprune_selection_layer = 3
    assert prune(model, "ivc_prune").layers == {"select": 3}
    assert prune(model, load_policy("ivc_prune", "stages.select.layer=1")).layers == {"select": 1}
    model.config.ivcprune_selection_layer = 9
    with pytest.raises(ValueError, match=r"stages\.select\.layer is 9"):
        prune(model, "ivc_prune")


def test_load_policy_is_a_value():
    policy = load_policy("ivc_prune")
    assert policy == load_policy("ivc_prune")
    assert replace(policy, name="other") != policy


def test_multi_turn_text_continues_on_the_pruned_cache(model_and_processor):
    """A second turn at once equals the same turn token by token."""
    model, processor = model_and_processor
    first = batch(processor, ("where is it", [picture(140, 112)]))
    follow_up = processor.tokenizer(chat(processor, "and now", 0), return_tensors="pt").input_ids
    with prune(model, half()):
        cache = model(**first, use_cache=True).past_key_values
        at_once = model(input_ids=follow_up, past_key_values=cache).logits[:, -1]
        cache = model(**first, use_cache=True).past_key_values
        for i in range(follow_up.shape[1]):
            step = model(input_ids=follow_up[:, i : i + 1], past_key_values=cache).logits[:, -1]
    assert torch.allclose(at_once, step, atol=1e-5)


@pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
def test_caches_without_padding_have_no_mask(model_and_processor, cache):
    """Processors give a mask of ones: decoding must not pay for it in every layer and step."""
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(140, 112)]))
    assert inputs["attention_mask"].all()
    with prune(model, half(cache=cache)):
        caches = model(**inputs).past_key_values
        assert [layer.valid for layer in caches.layers] == [None] * 4
        ragged = model(**ragged_batch(processor)).past_key_values
    assert any(layer.valid is not None for layer in ragged.layers)


def test_layers_alike_share_one_mask(model_and_processor, monkeypatch):
    """On a ragged batch, where each step of decoding needs masks: one for each length of cache."""
    model, processor = model_and_processor
    made = []

    @functools.wraps(create_causal_mask)
    def counted(**arguments):
        made.append(arguments["attention_mask"])
        return create_causal_mask(**arguments)

    monkeypatch.setattr(masks, "create_causal_mask", counted)
    inputs = ragged_batch(processor)
    with prune(model, half()):
        cache = model(**inputs).past_key_values
        assert len({id(layer.valid) for layer in cache.layers}) == 1
        made.clear()
        model(input_ids=torch.full((2, 1), 5), past_key_values=cache)
        assert len(made) == 1
        assert len({id(layer.valid) for layer in cache.layers}) == 1
    with prune(model, half(cache="from_stage")):
        cache = model(**inputs).past_key_values
        made.clear()
        model(input_ids=torch.full((2, 1), 5), past_key_values=cache)
        assert len(made) == 1  # the layers below have the model's own
