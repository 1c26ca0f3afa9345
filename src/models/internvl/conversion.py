"""InternVL checkpoints in their own format (`internvl_chat`).

The repositories `OpenGVLab/InternVL2_5-8B` and the like bring their own code. None of it runs here:
their configuration is translated, and their weights are renamed for transformers' InternVL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedModel,
)

from .config import convert_config
from .tokenizer import END_OF_TURN, NAMED_TOKENS, token_ids

_VISION_TOWER, _TEXT, _PROJECTOR = (
    f"model.{part}." for part in ("vision_tower", "language_model", "multi_modal_projector")
)
_PREFIXES = {
    "vision_model.embeddings.class_embedding": f"{_VISION_TOWER}embeddings.cls_token",
    "vision_model.embeddings.position_embedding": f"{_VISION_TOWER}embeddings.position_embeddings",
    "vision_model.embeddings.patch_embedding.": (
        f"{_VISION_TOWER}embeddings.patch_embeddings.projection."
    ),
    "vision_model.encoder.layers.": f"{_VISION_TOWER}encoder.layer.",
    "mlp1.0.": f"{_PROJECTOR}layer_norm.",
    "mlp1.1.": f"{_PROJECTOR}linear_1.",
    "mlp1.3.": f"{_PROJECTOR}linear_2.",
    "language_model.output.": "lm_head.",
    "language_model.lm_head.": "lm_head.",
    "language_model.model.tok_embeddings.": f"{_TEXT}embed_tokens.",
    "language_model.model.": _TEXT,
}
"""How names begin; the first that fits counts."""

_IN_LAYER = {
    "attn.proj": "attention.projection_layer",
    "attn": "attention",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "attention.wo": "self_attn.o_proj",
    "attention": "self_attn",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""Parts of a layer of InternViT and of InternLM2; Qwen's have the names of transformers."""

_LAYER = re.compile(rf"^(.+\.layers?\.\d+\.)({'|'.join(map(re.escape, _IN_LAYER))})(?=\.|$)")


def load_chat_model(
    folder: Path, chat: Mapping[str, Any], **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of a folder in InternVL's own format, and transformers' loading information.

    Args:
        chat: its `config.json`.
        options: of `from_pretrained`.

    Raises:
        ValueError: the folder holds weights that the model has no place for.
    """
    config = convert_config(chat)
    config.image_token_id, end_of_turn = token_ids(
        folder, NAMED_TOKENS["context_image_token"], END_OF_TURN
    )
    loaded: Any = InternVLForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=convert_weights(read_weights(folder), config),
        output_loading_info=True,
        **options,
    )
    model, information = loaded
    if unexpected := sorted(information["unexpected_keys"]):
        raise ValueError(
            f"{folder} holds {len(unexpected)} weights that InternVL has no place for, among them "
            f"{unexpected[0]!r}: its architecture is another one than its config.json says"
        )
    # The end of a turn; the configuration of the language model names the end of a text.
    model.generation_config.eos_token_id = end_of_turn
    padding = config.get_text_config().pad_token_id
    model.generation_config.pad_token_id = end_of_turn if padding is None else padding
    return model, information


def convert_weights(
    weights: Iterable[tuple[str, Tensor]], config: InternVLConfig
) -> dict[str, Tensor]:
    """The state of transformers' InternVL from weights in InternVL's own format."""
    return dict(
        item for name, value in weights for item in _converted(new_name(name), value, config)
    )


def new_name(name: str) -> str:
    """What transformers calls a weight; fused projections are still one, `qkv` or `wqkv`."""
    within = _LAYER.sub(lambda match: match[1] + _IN_LAYER[match[2]], name)
    for old, new in _PREFIXES.items():
        if within.startswith(old):
            return new + within.removeprefix(old)
    return within


def _converted(name: str, value: Tensor, config: InternVLConfig) -> Iterator[tuple[str, Tensor]]:
    """A renamed weight, or the three that it is fused of."""
    module, _, kind = name.rpartition(".")
    prefix, _, last = module.rpartition(".")
    if last == "qkv":
        parts: Iterable[Tensor] = value.chunk(3)
    elif last == "wqkv":
        parts = _split_by_groups(value, config.get_text_config())
    else:
        yield name, value
        return
    for projection, part in zip(("q_proj", "k_proj", "v_proj"), parts, strict=True):
        yield f"{prefix}.{projection}.{kind}", part.contiguous()


def _split_by_groups(wqkv: Tensor, text: Any) -> tuple[Tensor, Tensor, Tensor]:
    """InternLM2 fuses by key-value head: its queries, then its key, then its value.

    Args:
        wqkv: `[H_kv * (H / H_kv + 2) * D, ...]`.
    """
    n_groups = text.num_key_value_heads
    heads = wqkv.unflatten(0, (n_groups, text.num_attention_heads // n_groups + 2, -1))
    return heads[:, :-2].flatten(0, 2), heads[:, -2].flatten(0, 1), heads[:, -1].flatten(0, 1)


def read_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and weights of all safetensors files in a folder, one after the other."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                yield name, file.get_tensor(name)
