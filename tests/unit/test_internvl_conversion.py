"""InternVL's own checkpoint format: every weight and every setting finds its place."""

from __future__ import annotations

import pytest
import torch
from transformers import InternVLForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from internvl_chat_checkpoint import (
    PUBLISHED,
    published_shapes,
    published_weights,
    tiny_chat,
    write_checkpoint,
    write_qwen_tokenizer,
    write_tiny_checkpoint,
    write_tokenizer,
)
from ivcprune.models.internvl.config import convert_config
from ivcprune.models.internvl.conversion import convert_weights
from ivcprune.models.internvl.tokenizer import load_tokenizer, token_ids
from ivcprune.models.loading import ModelSpec
from ivcprune.models.registry import family_named
from ivcprune.testing.inputs import picture

FAMILY = family_named("internvl")


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    """A checkpoint in InternVL's own format, and the model that it was made from."""
    folder = tmp_path_factory.mktemp("internvl_chat")
    return folder, write_tiny_checkpoint(folder)


def test_every_published_weight_of_the_8b_model_has_its_place():
    """Names and shapes after conversion are exactly those of transformers' model."""
    config = convert_config(PUBLISHED)
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
        weights = [(n, torch.empty(s)) for n, s in published_shapes(PUBLISHED).items()]
    converted = {n: w.shape for n, w in convert_weights(weights, config).items()}
    assert converted == {n: w.shape for n, w in model.state_dict().items()}


def test_the_tiny_checkpoint_has_the_published_names_and_shapes(chat_folder):
    _, native = chat_folder
    weights = published_weights(native.state_dict(), native.config)
    assert {n: tuple(w.shape) for n, w in weights.items()} == published_shapes(tiny_chat())


def test_parameters_of_the_8b_model():
    """8.08 billion, as its model card says; counted from the published configuration by hand."""
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(convert_config(PUBLISHED))
    layer = 12 * 1024**2 + (3 + 1 + 4 + 1) * 1024 + 4 * 1024 + 2 * 1024
    vision = 1024 + 1025 * 1024 + (3 * 14**2 + 1) * 1024 + 24 * layer
    projector = 2 * 4096 + 2 * (4096 + 1) * 4096
    decoder_layer = (4096 + 2 * 1024 + 4096) * 4096 + 3 * 4096 * 14336 + 2 * 4096
    text = 2 * 92553 * 4096 + 32 * decoder_layer + 4096
    assert sum(p.numel() for p in model.parameters()) == vision + projector + text
    assert round((vision + projector + text) / 1e9, 2) == 8.08


def test_settings_of_the_8b_model():
    config = convert_config(PUBLISHED)
    text = config.text_config
    assert (text.model_type, text.num_hidden_layers, text.head_dim) == ("llama", 32, 128)
    assert text.rope_parameters["rope_type"] == "dynamic"
    # below 32768 tokens, dynamic scaling leaves the frequencies as they are
    inv_freq = LlamaRotaryEmbedding(text).inv_freq
    assert torch.allclose(inv_freq, 1e6 ** -(torch.arange(0, 128, 2) / 128))
    assert config.image_seq_length == 256
    assert config.vision_config.attention_bias
    assert not config.tie_word_embeddings
    assert FAMILY.selection_layer(config) == 16
    own = convert_config(PUBLISHED | {"ivcprune_selection_layer": 20})
    assert FAMILY.selection_layer(own) == 20


def test_a_cache_that_was_off_in_training_is_on(chat_folder, tmp_path):
    """InternVL3-1B is published with `use_cache: false`, under which nothing could be pruned."""
    _, native = chat_folder
    chat = tiny_chat()
    chat["llm_config"]["use_cache"] = False
    write_checkpoint(tmp_path, chat, published_weights(native.state_dict(), native.config))
    model, _ = FAMILY.load_model(tmp_path)
    assert model.config.get_text_config().use_cache
    assert model.generation_config.use_cache


def test_converted_model_equals_the_native_one(chat_folder):
    folder, native = chat_folder
    model, loading = FAMILY.load_model(folder, dtype=torch.float32)
    assert not loading["missing_keys"]
    for (name, ours), theirs in zip(
        model.state_dict().items(), native.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    processor = FAMILY.load_processor(folder)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hello"}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    inputs = processor(text=prompt, images=[picture(140, 56)], return_tensors="pt")
    native.config.image_token_id = model.config.image_token_id
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 4 * 16
    inputs.pop("image_sizes")
    with torch.no_grad():
        assert torch.equal(model.eval()(**inputs).logits, native(**inputs).logits)


def test_model_spec_accepts_the_format(chat_folder):
    folder, _ = chat_folder
    spec = ModelSpec(
        "chat", "internvl", str(folder), {"vqa": "{question}"}, max_pixels=2 * 56 * 56 + 5
    )
    spec.check()
    processor = spec.load_processor()
    assert processor.image_processor.max_patches == 2
    model = spec.load_model("eager", "cpu")
    tokenizer = processor.tokenizer
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_missing_weights_are_found(chat_folder, tmp_path):
    _, native = chat_folder
    weights = published_weights(native.state_dict(), native.config)
    del weights["language_model.model.layers.1.attention.wqkv.weight"]
    write_checkpoint(tmp_path, tiny_chat(), weights)
    spec = ModelSpec("chat", "internvl", str(tmp_path), {"vqa": "{question}"})
    with pytest.raises(ValueError, match=r"lacks 3 weights .*layers.1.self_attn.k_proj.weight"):
        spec.load_model("eager", "cpu")


def test_weights_without_a_place_are_an_error(chat_folder, tmp_path):
    _, native = chat_folder
    weights = published_weights(native.state_dict(), native.config)
    weights["vision_model.encoder.layers.0.attn.q_norm.weight"] = torch.ones(32)
    write_checkpoint(tmp_path, tiny_chat(), weights)
    with pytest.raises(ValueError, match=r"1 weights .*layer.0.attention.q_norm.weight"):
        FAMILY.load_model(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [("Qwen2ForCausalLM", "qwen2"), ("Qwen3ForCausalLM", "qwen3"), ("LlamaForCausalLM", "llama")],
)
def test_other_language_models_keep_their_names(architecture, model_type):
    chat = tiny_chat()
    chat["llm_config"] |= {"architectures": [architecture], "model_type": model_type}
    config = convert_config(chat)
    assert config.text_config.model_type == model_type
    model = InternVLForConditionalGeneration(config)
    text = {
        "language_model." + name.removeprefix("model.").replace("language_model.", "model."): w
        for name, w in model.state_dict().items()
        if "language_model" in name or name.startswith("lm_head")
    }
    converted = convert_weights(text.items(), config)
    assert {n: w.shape for n, w in converted.items()} == {
        n: w.shape
        for n, w in model.state_dict().items()
        if "language_model" in n or n.startswith("lm_head")
    }


def test_the_large_vision_tower_of_26b_and_more_has_its_place():
    """InternViT-6B: queries and keys are normalised, norms have no bias, nor have projections."""
    width, inner, depth = 3200, 12800, 45
    vision = PUBLISHED["vision_config"] | {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": depth,
        "num_attention_heads": 25,
        "norm_type": "rms_norm",
        "qk_normalization": True,
        "qkv_bias": False,
    }
    config = convert_config(tiny_chat() | {"vision_config": vision, "force_image_size": 448})
    layer = dict.fromkeys(("ls1", "ls2", "norm1.weight", "norm2.weight"), (width,))
    layer |= {"attn.q_norm.weight": (width,), "attn.k_norm.weight": (width,)}
    layer |= {"attn.qkv.weight": (3 * width, width), "attn.proj.weight": (width, width)}
    layer |= {"attn.proj.bias": (width,), "mlp.fc1.weight": (inner, width)}
    layer |= {"mlp.fc1.bias": (inner,), "mlp.fc2.weight": (width, inner), "mlp.fc2.bias": (width,)}
    with torch.device("meta"):
        weights = {
            f"vision_model.encoder.layers.{i}.{name}": torch.empty(shape)
            for i in range(depth)
            for name, shape in layer.items()
        }
        tower = InternVLForConditionalGeneration(config).model.vision_tower
    converted = convert_weights(weights.items(), config)
    expected = {f"model.vision_tower.encoder.{n}": w for n, w in tower.encoder.state_dict().items()}
    assert {n: w.shape for n, w in converted.items()} == {n: w.shape for n, w in expected.items()}
    # 5.5 billion, after which it is named
    assert sum(w.numel() for w in weights.values()) == depth * (
        (4 + 8) * width**2 + 6 * width + width + inner + width
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ps_version": "v1"}, "ps_version is 'v1'"),
        (
            {"llm_config": PUBLISHED["llm_config"] | {"architectures": ["Phi3ForCausalLM"]}},
            "'Phi3ForCausalLM': supported are InternLM2ForCausalLM",
        ),
    ],
)
def test_unsupported_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        convert_config(PUBLISHED | change)


def test_unsupported_prompts_are_named(chat_folder, tmp_path):
    write_checkpoint(tmp_path, tiny_chat() | {"template": "internlm2-chat"}, {})
    with pytest.raises(ValueError, match="template is 'internlm2-chat'"):
        FAMILY.load_processor(tmp_path)


class TestTokenizer:
    @pytest.fixture
    def loaded(self, tmp_path):
        n_pieces = write_tokenizer(tmp_path)
        return load_tokenizer(tmp_path), n_pieces

    def test_ids_are_the_published_ones(self, loaded):
        tokenizer, n = loaded
        ids = tokenizer("<|im_start|>hello world<img><IMG_CONTEXT></img>\né<|im_end|>").input_ids
        tokens = ["<s>", "<|im_start|>", "hello", "▁world", "<img>", "<IMG_CONTEXT>", "</img>"]
        tokens += ["<0x0A>", "<0xC3>", "<0xA9>", "<|im_end|>"]
        assert tokenizer.convert_ids_to_tokens(ids) == tokens
        assert (ids[0], ids[1], ids[-1]) == (1, n - 1, n - 2)
        assert ids[4:7] == [n, n + 2, n + 1]

    def test_text_survives_a_round_trip(self, loaded):
        tokenizer, _ = loaded
        text = " hello  world\n你好 é"
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text

    def test_it_can_be_saved_and_loaded(self, loaded, tmp_path):
        tokenizer, _ = loaded
        tokenizer.save_pretrained(tmp_path / "saved")
        again = type(tokenizer).from_pretrained(tmp_path / "saved")
        text = "<|im_start|>hello<img>"
        assert again(text).input_ids == tokenizer(text).input_ids
        assert again.context_image_token_id == tokenizer.context_image_token_id

    def test_checkpoints_with_qwen_have_a_tokenizer_that_transformers_knows(self, tmp_path):
        n = write_qwen_tokenizer(tmp_path)
        tokenizer = load_tokenizer(tmp_path)
        ids = tokenizer("<|im_start|>hello<img><IMG_CONTEXT></img>\n<|im_end|>").input_ids
        tokens = ["<|im_start|>", "hello", "<img>", "<IMG_CONTEXT>", "</img>", "Ċ", "<|im_end|>"]
        assert tokenizer.convert_ids_to_tokens(ids) == tokens
        assert ids[2:5] == [n + 3, n + 5, n + 4]
        assert tokenizer.context_image_token_id == n + 5

    def test_a_folder_without_the_image_tokens_is_incomplete(self, tmp_path):
        write_tokenizer(tmp_path)
        (tmp_path / "added_tokens.json").unlink()
        with pytest.raises(ValueError, match=r"names \['<IMG_CONTEXT>'\]: give the complete"):
            token_ids(tmp_path, "<IMG_CONTEXT>", "<|im_end|>")


def test_prompt_of_several_images(chat_folder):
    folder, _ = chat_folder
    processor = FAMILY.load_processor(folder)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Compare."}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    system, _, rest = prompt.partition("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\n你是书生·万象")
    assert rest == (
        "<|im_start|>user\nImage-1: <IMG_CONTEXT>\nImage-2: <IMG_CONTEXT>\nCompare.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
