"""The tokenizer of InternVL checkpoints in their own format, without their code.

Those with InternLM2 hold a SentencePiece model, whose tokenizer class is code of the repository;
those with Qwen hold a tokenizer that transformers knows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaTokenizer, Qwen2Config
from transformers.convert_slow_tokenizer import import_protobuf
from transformers.tokenization_utils_base import generate_merges

NAMED_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
"""Tokens that `InternVLProcessor` asks its tokenizer for."""

END_OF_TURN = "<|im_end|>"

_CONTROL, _USER_DEFINED = 3, 4
"""Types of pieces in a SentencePiece model that are matched before all others."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint in InternVL's own format.

    Raises:
        ValueError: the package protobuf is not installed, and the tokenizer needs it.
    """
    if (folder / "tokenizer.model").is_file():
        return _from_sentencepiece(folder)
    # By default the kind of tokenizer follows from config.json, whose model type is not known.
    return AutoTokenizer.from_pretrained(
        folder, config=Qwen2Config(), extra_special_tokens=NAMED_TOKENS
    )


def _from_sentencepiece(folder: Path) -> LlamaTokenizer:
    """InternLM2's: byte-pair encoding with byte fallback; some pieces got another text later on."""
    model = _sentencepiece_model(folder / "tokenizer.model")
    settings = _json(folder / "tokenizer_config.json")
    pieces = [piece.piece for piece in model.pieces]
    special = {
        number: AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
        for number, piece in enumerate(model.pieces)
        if piece.type in (_CONTROL, _USER_DEFINED)
    } | added_tokens(folder)
    vocabulary = {
        special[number].content if number in special else piece: number
        for number, piece in enumerate(pieces)
    }
    tokenizer = LlamaTokenizer(
        vocab=vocabulary,
        merges=generate_merges(vocabulary, skip_tokens={t.content for t in special.values()}),
        add_prefix_space=model.normalizer_spec.add_dummy_prefix,
        add_bos_token=settings.get("add_bos_token", True),
        add_eos_token=settings.get("add_eos_token", False),
        bos_token=settings.get("bos_token", "<s>"),
        eos_token=settings.get("eos_token", "</s>"),
        pad_token=settings.get("pad_token", "</s>"),
        unk_token=settings.get("unk_token", "<unk>"),
        added_tokens_decoder=special,
        extra_special_tokens=NAMED_TOKENS,
    )
    wrong = {
        token.content: number
        for number, token in special.items()
        if tokenizer.convert_tokens_to_ids(token.content) != number
    }
    if wrong:
        raise ValueError(f"{folder}: these added tokens do not get the ids they should: {wrong}")
    return tokenizer


def _sentencepiece_model(path: Path) -> Any:
    try:
        protobuf = import_protobuf()
    except ImportError as error:
        raise ValueError(
            f"reading {path} needs the package protobuf: pip install protobuf"
        ) from error
    model = protobuf.ModelProto()
    model.ParseFromString(path.read_bytes())
    return model


def token_ids(folder: Path, *tokens: str) -> list[int]:
    """Ids of tokens that a checkpoint adds to its vocabulary.

    Raises:
        ValueError: it adds no such token.
    """
    ids = {token.content: number for number, token in added_tokens(folder).items()}
    if absent := [token for token in tokens if token not in ids]:
        raise ValueError(
            f"{folder}: neither added_tokens.json nor tokenizer_config.json names {absent}: give "
            "the complete checkpoint"
        )
    return [ids[token] for token in tokens]


def added_tokens(folder: Path) -> dict[int, AddedToken]:
    """Tokens that a checkpoint adds to its vocabulary or writes over pieces of it, by id."""
    tokens = {
        number: AddedToken(content, normalized=False, special=True)
        for content, number in _json(folder / "added_tokens.json").items()
    }
    settings = _json(folder / "tokenizer_config.json")
    for number, token in settings.get("added_tokens_decoder", {}).items():
        tokens[int(number)] = AddedToken(
            token["content"], normalized=False, special=token.get("special", True)
        )
    return dict(sorted(tokens.items()))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content
