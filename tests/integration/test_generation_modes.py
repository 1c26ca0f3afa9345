"""Every mode of generation works under pruning, or is refused before anything runs."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, GenerationConfig, StaticCache

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.selectors import RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, chat, picture, ragged_batch


@pytest.fixture(scope="module")
def model_and_processor():
    return tiny_model("qwen2_5_vl")


def half(layer=2, **options):
    return PruningPolicy({"select": Stage(layer, RandomSelector(keep=0.5))}, **options)


class TestSupported:
    def test_sampling_is_reproducible_and_batched(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        outputs = []
        with prune(model, half()):
            for _ in range(2):
                torch.manual_seed(3)
                outputs.append(model.generate(**inputs, do_sample=True, max_new_tokens=6))
        assert torch.equal(*outputs)

    def test_several_answers_per_prompt(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, half()) as run:
            ids = model.generate(
                **ragged_batch(processor),
                do_sample=True,
                num_return_sequences=3,
                max_new_tokens=4,
            )
        assert len(ids) == 6
        assert run.stats.n_visual == [20] * 3 + [47] * 3

    @pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
    def test_beams_of_a_batch_equal_beams_of_singles(self, model_and_processor, cache):
        model, processor = model_and_processor
        samples = [("where is it", [picture(140, 112)]), ("how many", [picture(196, 140, 2)])]
        options = {"num_beams": 3, "max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
        with prune(model, half(cache=cache)):
            together = model.generate(**batch(processor, *samples), **options)[:, -5:]
            singles = [
                model.generate(**batch(processor, sample), **options)[:, -5:] for sample in samples
            ]
        assert torch.equal(together, torch.cat(singles))

    def test_hidden_states_and_attentions_have_each_layers_length(self, model_and_processor):
        model, processor = tiny_model("qwen2_5_vl")
        model.set_attn_implementation("eager")
        inputs = batch(processor, ("where", [picture(140, 112)]))
        length = inputs["input_ids"].shape[1]
        with prune(model, half(layer=2)):
            out = model(**inputs, output_hidden_states=True, output_attentions=True)
        assert [a.shape[-1] for a in out.attentions] == [length, length, length - 10, length - 10]
        assert out.hidden_states[-1].shape[1] == length - 10

    def test_inference_mode(self, model_and_processor):
        model, processor = model_and_processor
        with torch.inference_mode(), prune(model, half()):
            ids = model.generate(**ragged_batch(processor), max_new_tokens=3)
        assert len(ids) == 2

    def test_two_blocks_on_two_models(self, model_and_processor):
        one, processor = model_and_processor
        other, _ = tiny_model("qwen2_5_vl", seed=1)
        inputs = ragged_batch(processor)
        with prune(one, half()) as run:
            alone = one(**inputs).logits
        with prune(one, half()) as run, prune(other, half(1)) as other_run:
            assert torch.equal(one(**inputs).logits, alone)
            other(**inputs)
        assert (run.layers, other_run.layers) == ({"select": 2}, {"select": 1})

    def test_embeddings_with_token_types(self, model_and_processor):
        model, processor = model_and_processor
        inputs = dict(ragged_batch(processor))
        positions, _ = model.model.get_rope_index(**inputs)
        with prune(model, half()):
            expected = model(**inputs, position_ids=positions).logits
            pixels = model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
            embeddings = model.get_input_embeddings()(inputs["input_ids"])
            is_image = (inputs["mm_token_type_ids"] > 0)[..., None]
            embeddings = embeddings.masked_scatter(is_image, torch.cat(pixels.pooler_output))
            given = model(
                inputs_embeds=embeddings,
                attention_mask=inputs["attention_mask"],
                position_ids=positions,
                mm_token_type_ids=inputs["mm_token_type_ids"],
            ).logits
        assert torch.allclose(given, expected, atol=1e-5)


class TestConversation:
    """A second turn on the cache of the first."""

    def test_text_continues_where_generate_stopped(self, model_and_processor):
        model, processor = model_and_processor
        first = batch(processor, ("where is it", [picture(140, 112)]))
        options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
        text = chat(processor, "and now", 0)
        follow_up = processor.tokenizer(text, return_tensors="pt").input_ids
        fed = []
        with prune(model, half()):
            cache = DynamicCache()
            said = model.generate(**first, past_key_values=cache, **options)
            conversation = torch.cat([said, follow_up], dim=1)
            hook = model.model.language_model.register_forward_pre_hook(
                lambda _, args, kwargs: fed.append(kwargs["inputs_embeds"].shape[1]),
                with_kwargs=True,
            )
            answer = model.generate(
                input_ids=conversation,
                attention_mask=torch.ones_like(conversation),
                past_key_values=cache,
                **options,
            )
            hook.remove()
        # the last token of turn one was produced, but never read
        assert fed[0] == follow_up.shape[1] + 1
        assert answer.shape[1] == conversation.shape[1] + 4

    def test_an_image_in_turn_two_is_pruned_and_turn_one_stays(self, model_and_processor):
        model, processor = model_and_processor
        first = dict(batch(processor, ("where is it", [picture(140, 112)])))
        second = dict(batch(processor, ("and here", [picture(196, 140, 1)])))
        both_ids = torch.cat([first["input_ids"], second["input_ids"]], dim=1)
        grids = torch.cat([first["image_grid_thw"], second["image_grid_thw"]])
        types = torch.cat([first["mm_token_type_ids"], second["mm_token_type_ids"]], dim=1)
        positions, _ = model.model.get_rope_index(
            both_ids, image_grid_thw=grids, mm_token_type_ids=types
        )
        seen = first["input_ids"].shape[1]
        with prune(model, half()) as run:
            cache = model(**first, position_ids=positions[..., :seen]).past_key_values
            kept_first = cache.layers[0].keys.shape[2]
            model(
                input_ids=second["input_ids"],
                pixel_values=second["pixel_values"],
                image_grid_thw=second["image_grid_thw"],
                position_ids=positions[..., seen:],
                past_key_values=cache,
            )
            stats = run.stats
        assert kept_first == seen - 10
        assert stats.n_visual == [35]
        assert stats.kept_by_stage == {"select": [18]}
        n_second = second["input_ids"].shape[1] - 17
        assert stats.kv_tokens[:, 0].tolist() == [n_second] * 4
        assert [layer.keys.shape[2] for layer in cache.layers] == [kept_first + n_second] * 4
        assert cache.get_seq_length() == both_ids.shape[1]


class TestRefused:
    def test_the_decoder_alone(self, model_and_processor):
        model, processor = model_and_processor
        ids = processor.tokenizer("hello", return_tensors="pt").input_ids
        with prune(model, half()), pytest.raises(ValueError, match="call the whole model"):
            model.model.language_model(input_ids=ids)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"use_cache": False}, r"use_cache=False\) reads the whole prompt anew"),
            ({"prompt_lookup_num_tokens": 3}, "assisted generation"),
            ({"cache_implementation": "static"}, "cache_implementation='static'"),
            ({"prefill_chunk_size": 8}, "splits the prompt"),
            ({"generation_config": GenerationConfig(use_cache=False)}, "leave use_cache on"),
        ],
    )
    def test_before_anything_runs(self, model_and_processor, options, message):
        model, processor = model_and_processor
        calls = []
        hook = model.model.visual.register_forward_pre_hook(lambda *_: calls.append(1))
        with prune(model, half()), pytest.raises(ValueError, match=message):
            model.generate(**ragged_batch(processor), **options)
        hook.remove()
        assert not calls

    def test_assistant_model(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, half()), pytest.raises(ValueError, match="assistant_model"):
            model.generate(**ragged_batch(processor), assistant_model=model)

    def test_static_cache(self, model_and_processor):
        model, processor = model_and_processor
        cache = StaticCache(config=model.config, max_cache_len=64)
        with prune(model, half()), pytest.raises(ValueError, match="holds a StaticLayer"):
            model.generate(**ragged_batch(processor), past_key_values=cache)

    def test_embeddings_without_token_types(self, model_and_processor):
        model, processor = model_and_processor
        embeddings = model.get_input_embeddings()(ragged_batch(processor)["input_ids"])
        with prune(model, half()), pytest.raises(ValueError, match="pass mm_token_type_ids"):
            model(inputs_embeds=embeddings)

    def test_a_positional_configuration(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_batch(processor)
        ids = inputs.pop("input_ids")
        config = GenerationConfig(use_cache=False, max_new_tokens=1)
        with prune(model, half()), pytest.raises(ValueError, match="use_cache=False"):
            model.generate(ids, config, **inputs)

    @pytest.mark.parametrize("policy", ["none", "random"])
    def test_a_method_of_the_instances_own_comes_back(self, model_and_processor, policy):
        model, processor = model_and_processor
        asked = []
        original = model.generate

        def own(*args, **kwargs):
            asked.append(kwargs["max_new_tokens"])
            return original(*args, **kwargs)

        model.generate = own
        try:
            with prune(model, policy):
                model.generate(**ragged_batch(processor), max_new_tokens=1)
            assert model.generate is own
            assert asked == [1]
        finally:
            del model.generate

    def test_the_guard_leaves_with_the_block(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, half()):
            assert "generate" in vars(model)
        assert "generate" not in vars(model)
        ids = model.generate(**ragged_batch(processor), use_cache=False, max_new_tokens=1)
        assert len(ids) == 2

    def test_vanilla_refuses_nothing(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, "none"):
            ids = model.generate(**ragged_batch(processor), use_cache=False, max_new_tokens=1)
        assert len(ids) == 2
