"""Checkpoints in InternVL's own format: published names, made for tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import InternVLForConditionalGeneration
from transformers.convert_slow_tokenizer import import_protobuf

from ivcprune.models.internvl.config import convert_config

DATA = Path(__file__).parents[1] / "data" / "model_configs"
PUBLISHED = json.loads((DATA / "internvl2_5_8b.json").read_text())
"""The `config.json` of InternVL2.5-8B."""

ADDED = ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>")

VISION_LAYER = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.projection_layer",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
INTERNLM2_LAYER = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.w2": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def published_shapes(chat: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a checkpoint whose language model is InternLM2."""
    vision, text = chat["vision_config"], chat["llm_config"]
    width, inner, patch = (vision[k] for k in ("hidden_size", "intermediate_size", "patch_size"))
    n_positions = (chat["force_image_size"] // patch) ** 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.position_embedding": (1, n_positions, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        "vision_model.embeddings.patch_embedding.bias": (width,),
    }
    for i in range(vision["num_hidden_layers"]):
        layer = f"vision_model.encoder.layers.{i}"
        shapes |= {f"{layer}.{name}": (width,) for name in ("ls1", "ls2")}
        shapes |= {
            f"{layer}.norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")
        }
        for name, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", inner, width),
            ("mlp.fc2", width, inner),
        ):
            shapes |= {f"{layer}.{name}.weight": (rows, columns), f"{layer}.{name}.bias": (rows,)}
    hidden, inner, words = (text[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    merged = int(width / chat["downsample_ratio"] ** 2)
    shapes |= {
        "mlp1.0.weight": (merged,),
        "mlp1.0.bias": (merged,),
        "mlp1.1.weight": (hidden, merged),
        "mlp1.1.bias": (hidden,),
        "mlp1.3.weight": (hidden, hidden),
        "mlp1.3.bias": (hidden,),
        "language_model.model.tok_embeddings.weight": (words, hidden),
        "language_model.model.norm.weight": (hidden,),
        "language_model.output.weight": (words, hidden),
    }
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    fused = (heads + 2 * kv_heads) * (hidden // heads)
    for i in range(text["num_hidden_layers"]):
        layer = f"language_model.model.layers.{i}"
        shapes |= {
            f"{layer}.attention.wqkv.weight": (fused, hidden),
            f"{layer}.attention.wo.weight": (hidden, hidden),
            f"{layer}.feed_forward.w1.weight": (inner, hidden),
            f"{layer}.feed_forward.w3.weight": (inner, hidden),
            f"{layer}.feed_forward.w2.weight": (hidden, inner),
            f"{layer}.attention_norm.weight": (hidden,),
            f"{layer}.ffn_norm.weight": (hidden,),
        }
    return shapes


def published_weights(native: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """The weights of transformers' InternVL under their published names, projections fused."""
    vision, text = config.vision_config, config.text_config
    tower, model = "model.vision_tower", "model.language_model"
    embeddings = f"{tower}.embeddings"
    weights = {
        "vision_model.embeddings.class_embedding": native[f"{embeddings}.cls_token"],
        "vision_model.embeddings.position_embedding": native[f"{embeddings}.position_embeddings"],
        "language_model.model.tok_embeddings.weight": native[f"{model}.embed_tokens.weight"],
        "language_model.model.norm.weight": native[f"{model}.norm.weight"],
        "language_model.output.weight": native["lm_head.weight"],
    }
    for kind in ("weight", "bias"):
        weights[f"vision_model.embeddings.patch_embedding.{kind}"] = native[
            f"{embeddings}.patch_embeddings.projection.{kind}"
        ]
        for number, name in ((0, "layer_norm"), (1, "linear_1"), (3, "linear_2")):
            weights[f"mlp1.{number}.{kind}"] = native[f"model.multi_modal_projector.{name}.{kind}"]
    for i in range(vision.num_hidden_layers):
        old, new = f"vision_model.encoder.layers.{i}", f"{tower}.encoder.layer.{i}"
        for n in (1, 2):
            weights[f"{old}.ls{n}"] = native[f"{new}.lambda_{n}"]
        for kind in ("weight", "bias"):
            for theirs, ours in VISION_LAYER.items():
                weights[f"{old}.{theirs}.{kind}"] = native[f"{new}.{ours}.{kind}"]
            qkv = [native[f"{new}.attention.{x}_proj.{kind}"] for x in "qkv"]
            weights[f"{old}.attn.qkv.{kind}"] = torch.cat(qkv)
    groups, dim = text.num_key_value_heads, text.head_dim
    per_group = text.num_attention_heads // groups
    for i in range(text.num_hidden_layers):
        old, new = f"language_model.model.layers.{i}", f"{model}.layers.{i}"
        for theirs, ours in INTERNLM2_LAYER.items():
            weights[f"{old}.{theirs}.weight"] = native[f"{new}.{ours}.weight"]
        q, k, v = (native[f"{new}.self_attn.{x}_proj.weight"] for x in "qkv")
        pieces = []
        for group in range(groups):
            pieces += [q[group * per_group * dim : (group + 1) * per_group * dim]]
            pieces += [x[group * dim : (group + 1) * dim] for x in (k, v)]
        weights[f"{old}.attention.wqkv.weight"] = torch.cat(pieces)
    return weights


def tiny_chat() -> dict[str, Any]:
    """The published configuration of a model a few layers deep."""
    chat = copy.deepcopy(PUBLISHED)
    chat["force_image_size"], chat["max_dynamic_patch"] = 56, 6
    chat["vision_config"] |= {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 7,
    }
    chat["llm_config"] |= {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": 300,
    }
    return chat


def write_tiny_checkpoint(folder: Path) -> InternVLForConditionalGeneration:
    """A checkpoint of `tiny_chat`; returns the model that it was made from."""
    chat = tiny_chat()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        native = InternVLForConditionalGeneration(convert_config(chat)).eval()
        for parameter in native.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    write_checkpoint(folder, chat, published_weights(native.state_dict(), native.config))
    return native


def write_checkpoint(folder: Path, chat: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """`config.json`, weights in two files, and the files of InternLM2's tokenizer."""
    (folder / "config.json").write_text(json.dumps(chat))
    names = sorted(weights)
    halves = {"1": names[::2], "2": names[1::2]}
    for number, some in halves.items():
        tensors = {name: weights[name].contiguous() for name in some}
        save_file(tensors, folder / f"model-0000{number}-of-00002.safetensors")
    where = {
        n: f"model-0000{number}-of-00002.safetensors" for number, ns in halves.items() for n in ns
    }
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> int:
    """InternLM2's files: a SentencePiece model, two of whose pieces are overwritten.

    Returns:
        the number of pieces; tokens of InternVL follow.
    """
    model = import_protobuf().ModelProto()

    def add(piece: str, kind: int) -> None:
        model.pieces.add(piece=piece, score=-float(len(model.pieces)), type=kind)

    for piece, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        add(piece, kind)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 6)
    for piece in ("he", "lo", "llo", "hello", "or", "▁w", "▁wor", "ld", "▁world", *"helowrd▁"):
        add(piece, 1)
    for number in range(3):
        add(f"[UNUSED_TOKEN_{number}]", 4)
    model.normalizer_spec.add_dummy_prefix = False
    n_pieces = len(model.pieces)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    settings = {
        "add_bos_token": True,
        "added_tokens_decoder": {
            str(n_pieces - 2): {"content": "<|im_end|>", "special": True},
            str(n_pieces - 1): {"content": "<|im_start|>", "special": True},
        },
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "tokenizer_class": "InternLM2Tokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    added = {token: n_pieces + number for number, token in enumerate(ADDED)}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    return n_pieces


def write_qwen_tokenizer(folder: Path) -> int:
    """The files of Qwen's tokenizer, as checkpoints with Qwen hold them beside their own code.

    Returns:
        the number of tokens before those that are added.
    """
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*letters, "he", "lo", "llo", "hello"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nh e\nl o\nl lo\nhe llo\n")
    tokens = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *ADDED)
    added = {token: len(vocabulary) + number for number, token in enumerate(tokens)}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    settings = {
        "added_tokens_decoder": {
            str(number): {"content": token, "special": True, **flags}
            for token, number in added.items()
        },
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {"model_type": "internvl_chat", "auto_map": {"AutoConfig": "configuration.Chat"}}
    (folder / "config.json").write_text(json.dumps(config))
    return len(vocabulary)
