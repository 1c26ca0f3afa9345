"""The words of the bundled models, and a tokenizer of them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase, digits

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Model, WordLevel, WordPiece
from transformers import PreTrainedTokenizerFast

from ..data.scenes.expressions import DIRECTIONS, EXTREMES
from ..data.scenes.questions import PLURALS
from ..data.scenes.scene import BENCHMARK_LEVEL, BIN, COLOURS, SHAPES, SIDES, TOKEN

UNKNOWN = "<|unknown|>"
MAX_SIDE = BENCHMARK_LEVEL.tokens[1] * TOKEN
COORDINATES = tuple(str(pixel) for pixel in range(0, MAX_SIDE + BIN, BIN))
"""One token for each possible box coordinate, in ascending order."""

CONTINUED = "##"
"""Stands before a character that continues the string of the token before it."""
READING = ("read", "text", "written", "beside")
"""Words of the questions about texts."""


def vocabulary(special: Sequence[str], *, spelling: bool) -> list[str]:
    """Every token in the order of its id.

    Args:
        special: the tokens of the chat markup, which come first.
        spelling: whether capitals and digits can be put together to strings of any kind.
    """
    counts = [str(count) for count in range(1, BENCHMARK_LEVEL.things[1] + 1)]
    words = ["system", "user", "assistant", "locate", "the", "object", "objects"]
    words += [*SIDES, *COLOURS, *SHAPES, *PLURALS.values(), *EXTREMES]
    words += " ".join(DIRECTIONS).split()
    words += ["is", "there", "a", "an", "?", "how", "many", "are", "what", "colour", "shape"]
    words += ["yes", "no"]
    if spelling:
        characters = ascii_uppercase + digits
        words += [*READING, *characters, *(CONTINUED + character for character in characters)]
    return list(dict.fromkeys([*special, UNKNOWN, *COORDINATES, *counts, *words]))


def build_tokenizer(
    special: Sequence[str], *, pad: str, end: str, spelling: bool, **named: str
) -> PreTrainedTokenizerFast:
    """Word by word; where it spells, strings that are no word are split into their characters.

    Args:
        special, spelling: see `vocabulary`.
        pad, end: those of the special tokens that pad and end a turn.
        named: those that become attributes of the tokenizer.
    """
    tokens = vocabulary(special, spelling=spelling)
    ids = {token: index for index, token in enumerate(tokens)}
    model: Model = WordLevel(ids, unk_token=UNKNOWN)
    if spelling:
        model = WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUED)
    words = Tokenizer(model)
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if spelling:
        words.decoder = decoders.WordPiece(prefix=CONTINUED, cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token=UNKNOWN,
        pad_token=pad,
        eos_token=end,
        additional_special_tokens=list(special),
        padding_side="left",
        **({"extra_special_tokens": named} if named else {}),
    )
