"""Published checkpoints of DeepSeek-VL2: configuration, sizes, names of the weights."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from deepseek_vl2_reference import Reference
from ivcprune import prune
from ivcprune.models.deepseek_vl2 import DeepseekVL2Config, DeepseekVL2ForConditionalGeneration
from ivcprune.models.registry import family_named, family_of
from ivcprune.testing.tiny import deepseek_vl2 as tiny
from pruning_helpers import batch, picture

FAMILY = family_named("deepseek_vl2")

SMALL = {
    "vocab_size": 102400,
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "topk_method": "greedy",
    "n_group": 1,
    "topk_group": 1,
    "use_mla": True,
}
TINY = SMALL | {
    "vocab_size": 129280,
    "hidden_size": 1280,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 10,
    "intermediate_size": 6848,
    "moe_intermediate_size": 896,
    "kv_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
    "use_mla": False,
}
TOWER = {"layers": 27, "mlp_ratio": 3.7362, "model_type": "vision", "patch_size": 14, "width": 1152}
PROJECTOR = {"model_type": "mlp_projector"}


def published(language, **changes):
    """A `config.json` as DeepSeek published it."""
    config = {
        "model_type": "deepseek_vl_v2",
        "language_config": {"model_type": "deepseek_v2", **language},
        "vision_config": TOWER,
        "projector_config": PROJECTOR | {"n_embed": language["hidden_size"]},
        "candidate_resolutions": [[384, 384], [384, 768], [768, 384]],
        "tile_tag": "2D",
        "global_view_pos": "head",
        "torch_dtype": "bfloat16",
    }
    return config | changes


@pytest.mark.parametrize(
    ("language", "parameters", "image_token_id", "end", "rope"),
    [
        # the model cards speak of 16.1 B and 3.37 B, SigLIP's unused pooling head (15.2 M) included
        pytest.param(SMALL, 16_133_111_152, 100003, 100001, 64, id="small"),
        pytest.param(TINY, 3_355_263_088, 128815, 1, 128, id="tiny"),
    ],
)
def test_published_sizes(language, parameters, image_token_id, end, rope):
    config = AutoConfig.for_model(**published(language))
    assert isinstance(config, DeepseekVL2Config)
    assert (config.image_token_id, config.text_config.eos_token_id) == (image_token_id, end)
    assert config.grids == [(1, 1), (1, 2), (2, 1)]
    assert (config.geometry.side, config.geometry.tile_size) == (14, 384)
    with torch.device("meta"):
        model = DeepseekVL2ForConditionalGeneration(config)
    assert model.num_parameters() == parameters
    assert len(FAMILY.layers(model)) == language["num_hidden_layers"]
    theta = FAMILY.inverse_frequencies(model)
    assert torch.allclose(theta, 1e4 ** -(torch.arange(0, rope, 2) / rope))


def test_number_of_parameters_counted_by_hand():
    """Of the decoder of Small, from its published sizes."""
    width, heads = 2048, 16
    attention = width * heads * 192 + width * (512 + 64) + 512 + 512 * heads * 256
    attention += heads * 128 * width + 2 * width
    experts = 3 * width * 1408 * (64 + 2) + 64 * width
    decoder = 27 * attention + 3 * width * 10944 + 26 * experts + width + 102400 * width
    with torch.device("meta"):
        model = DeepseekVL2ForConditionalGeneration(AutoConfig.for_model(**published(SMALL)))
    assert sum(p.numel() for p in model.model.language_model.parameters()) == decoder


@pytest.mark.parametrize(
    ("depth", "layer"), [(27, 17), (12, 8), (4, 3), (1, 1)], ids=lambda value: str(value)
)
def test_selection_layer(depth, layer):
    assert FAMILY.default_layer(depth) == layer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language_config": SMALL | {"scoring_func": "sigmoid"}}, "scoring_func is 'sigmoid'"),
        ({"language_config": SMALL | {"topk_method": "noaux_tc"}}, "topk_method is 'noaux_tc'"),
        ({"language_config": SMALL | {"norm_topk_prob": True}}, "norm_topk_prob is True"),
        ({"projector_config": {"projector_type": "linear"}}, "projector_type is 'linear'"),
        ({"projector_config": {"n_embed": 64}}, "n_embed is 64: only 2048"),
        ({"tile_tag": "1D"}, "tile_tag is '1D': only '2D'"),
        ({"language_config": SMALL | {"vocab_size": 9}}, "image_token_id is missing"),
    ],
)
def test_what_the_modules_do_not_compute_is_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AutoConfig.for_model(**published(SMALL, **changes))


# Weights ------------------------------------------------------------------------------------------


@pytest.fixture(params=["small", "tiny"])
def built(request):
    build = {"small": tiny.build, "tiny": tiny.build_multi_head}[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = build(3)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval(), processor


def published_state(model):
    """The weights under their published names and shapes, worked out name by name."""
    renamed = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("model.")
        if name.startswith("language_model.") and ".mlp.experts." in name:
            layer, kind = name.removeprefix("language_model.").split(".mlp.experts.")
            for j, expert in enumerate(value):
                prefix = f"language.model.{layer}.mlp.experts.{j}"
                if kind == "down_proj":
                    renamed[f"{prefix}.down_proj.weight"] = expert
                    continue
                gate, up = expert.chunk(2)
                renamed |= {f"{prefix}.gate_proj.weight": gate, f"{prefix}.up_proj.weight": up}
        elif name.startswith("language_model."):
            renamed["language.model." + name.removeprefix("language_model.")] = value
        elif name == "lm_head.weight":
            renamed["language.lm_head.weight"] = value
        elif name.startswith("vision_tower."):
            renamed |= published_vision(name.removeprefix("vision_tower."), value, model)
        else:
            renamed[name] = value
    renamed["vision.attn_pool.latent"] = torch.zeros(1, 1, 32)
    return {name: value.contiguous().clone() for name, value in renamed.items()}


def published_vision(name, value, model):
    if name == "embeddings.position_embedding.weight":
        return {"vision.pos_embed": value[None]}
    if ".self_attn." in name and "out_proj" not in name:
        if "q_proj" not in name:
            return {}
        state = model.state_dict()
        parts = [
            state["model.vision_tower." + name.replace("q_proj", p)]
            for p in ("q_proj", "k_proj", "v_proj")
        ]
        target = name.replace("encoder.layers", "vision.blocks").replace(
            "self_attn.q_proj", "attn.qkv"
        )
        return {target: torch.cat(parts)}
    names = {
        "embeddings.patch_embedding": "patch_embed.proj",
        "post_layernorm": "norm",
        "encoder.layers": "blocks",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "self_attn.out_proj": "attn.proj",
    }
    for ours, theirs in names.items():
        name = name.replace(ours, theirs)
    return {"vision." + name: value}


@pytest.fixture
def checkpoint(built, tmp_path):
    """A folder with the model's weights in the published form; its configuration is ours."""
    model, _ = built
    model.config.save_pretrained(tmp_path)
    save_file(published_state(model), tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path


def same_outputs(one, other, processor):
    inputs = batch(processor, ("what is it", [picture(140, 60)]))
    with torch.no_grad():
        return torch.equal(one(**inputs).logits, other(**inputs).logits)


def test_published_weights_have_their_places(built, checkpoint):
    model, processor = built
    loaded, info = FAMILY.load_model(checkpoint, dtype=torch.float32)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    for (name, value), other in zip(
        model.state_dict().items(), loaded.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    assert same_outputs(model, loaded.eval(), processor)


def test_logits_follow_from_the_published_weights(built, checkpoint):
    """Against the formulas, which know nothing of transformers' modules and names."""
    _, processor = built
    loaded, _ = FAMILY.load_model(checkpoint, dtype=torch.float32)
    text = loaded.config.text_config
    latent = None
    if text.model_type == "deepseek_v2":
        latent = (
            text.kv_lora_rank,
            text.qk_nope_head_dim,
            text.qk_rope_head_dim,
            text.v_head_dim,
        )
    state = load_file(checkpoint / "model.safetensors")
    reference = Reference({name: x.double() for name, x in state.items()}, latent=latent)
    inputs = batch(processor, ("what is it", [picture(140, 60)]))
    assert inputs["images_spatial_crop"].tolist() == [[[2, 1]]]
    expected = reference.logits(
        inputs["input_ids"][0], inputs["pixel_values"].double(), (2, 1), processor.image_token_id
    )
    with torch.no_grad():
        found = loaded.eval()(**inputs).logits[0]
    assert expected.abs().max() > 1
    assert (found - expected).abs().max() < 1e-5


def published_config(config):
    """Our configuration of a tiny model in the published form."""
    text, vision = config.text_config, config.vision_config
    language = {
        name: getattr(text, name, None)
        for name in (*SMALL, "bos_token_id", "eos_token_id")
        if name not in ("use_mla", "first_k_dense_replace")
    }
    latent = text.model_type == "deepseek_v2"
    return published(
        {**language, "use_mla": latent, "first_k_dense_replace": 1, "rope_theta": 10000.0},
        vision_config={
            "width": vision.hidden_size,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
            "layers": vision.num_hidden_layers,
            "heads": vision.num_attention_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "model_name": "siglip_so400m_patch14_384",
        },
        projector_config={"input_dim": vision.hidden_size, "n_embed": text.hidden_size},
        candidate_resolutions=[[70 * w, 70 * h] for w, h in config.grids],
        image_token_id=config.image_token_id,
        torch_dtype="float32",
        auto_map={"AutoConfig": "configuration_deepseek_vl2.DeepseekVLV2Config"},
    )


def test_a_published_folder_runs(built, checkpoint):
    model, processor = built
    (checkpoint / "config.json").write_text(json.dumps(published_config(model.config)))
    config = FAMILY.read_config(json.loads((checkpoint / "config.json").read_text()))
    assert config.get_text_config().num_hidden_layers == 3
    loaded, info = FAMILY.load_model(checkpoint, dtype=torch.float32)
    assert not info["missing_keys"]
    assert same_outputs(model, loaded.eval(), processor)
    assert loaded.generation_config.eos_token_id == model.config.text_config.eos_token_id
    inputs = batch(processor, ("what is it", [picture(140, 60)]))
    with prune(loaded, "ivc_prune") as run:
        loaded.generate(**inputs, max_new_tokens=2, do_sample=False)
    assert 0 < len(run.stats.kept[0]) < run.stats.n_visual[0]


def test_options_reach_every_part(checkpoint):
    options = {"dtype": torch.bfloat16, "attn_implementation": "eager"}
    loaded, _ = FAMILY.load_model(checkpoint, **options)
    for part in (loaded.model.vision_tower, loaded.model.language_model):
        assert part.config._attn_implementation == "eager"
    # transformers may keep the routers of the experts in float32 (5.24 does)
    others = {p.dtype for name, p in loaded.named_parameters() if not name.endswith("gate.weight")}
    assert others == {torch.bfloat16}


def test_an_incomplete_checkpoint_is_reported(built, checkpoint):
    file = checkpoint / "model.safetensors"
    state = load_file(file)
    del state["vision.blocks.1.attn.qkv.bias"]
    save_file(state, file, {"format": "pt"})
    _, info = FAMILY.load_model(checkpoint)
    lost = {f"model.vision_tower.encoder.layers.1.self_attn.{p}_proj.bias" for p in "qkv"}
    assert set(info["missing_keys"]) == lost


def test_saving_gives_the_published_names_back(built, tmp_path):
    model, processor = built
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    expected = published_state(model)
    del expected["vision.attn_pool.latent"]
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in saved)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert same_outputs(model, again.eval(), processor)
    config = json.loads((tmp_path / "config.json").read_text())
    assert family_of(config["model_type"]) is FAMILY
    assert AutoConfig.from_pretrained(tmp_path).grids == model.config.grids
