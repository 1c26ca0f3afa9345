"""Whether a reply says yes or no."""

from __future__ import annotations

import re

from .replies import answer_part, fold
from .vqa import strip_punctuation

_WORD = re.compile(r"(?<![a-z0-9])(yes|no)(?![a-z0-9])")
_STATED = re.compile(r"(?:answer\s*(?:is|:)|答案\s*(?:是|为|:))[\W_]*(yes|no)(?![a-z0-9])")
_LEADING = re.compile(r"[\W_]*(yes|no)(?=[\W_]*$|\s*[\"'*_)\]]*\s*[,.!;:\n-]|[^\x00-\x7f])")
_ALONE = re.compile(r"[\"'*_)\]]*\s*(?:$|[,.!?;:/\n&]|(?:and|or)\b)")
_OTHER_WORDS = {
    **dict.fromkeys(
        ("y", "yeah", "yep", "yup", "true", "是", "是的", "对", "对的", "有", "有的"), "yes"
    ),
    **dict.fromkeys(
        ("n", "nope", "nah", "false", "否", "不", "不是", "不是的", "不对", "没有", "没"), "no"
    ),
}
_EDGES = " \t\"'*_()[]{}<>$"
_FIRST_CLAUSE = re.compile(r"[.,!?;:\n]")


def parse_yes_no(reply: str) -> str | None:
    """ "yes" or "no" as a person reads it, None where it is unclear; never fails.

    In this order: the word that the reply states to be its answer; the word that it begins with,
    unless the other one stands alone as well; the only one of the two words; "Y", "true", 是, 没有
    and the like as the whole reply or its first clause.
    """
    text = fold(answer_part(reply)).lower()
    return (
        _only({match[1] for match in _STATED.finditer(text)})
        or _leading(text)
        or _only(set(_WORD.findall(text)))
        or _OTHER_WORDS.get(_FIRST_CLAUSE.split(text.strip(_EDGES))[0].strip(_EDGES))
    )


def published_yes_no(reply: str) -> str | None:
    """ "yes" or "no" where exactly one of the two words occurs, else None; as published."""
    words = set(strip_punctuation(reply.lower()).split()) & {"yes", "no"}
    return words.pop() if len(words) == 1 else None


def _only(words: set[str]) -> str | None:
    return next(iter(words)) if len(words) == 1 else None


def _leading(text: str) -> str | None:
    """The word that the text begins with; "no" as in "Yes, there is no doubt" contradicts nothing,
    and a word that ends a clause does: "Yes. No." and "yes or no" say neither."""
    match = _LEADING.match(text)
    if match is None:
        return None
    alone = {m[1] for m in _WORD.finditer(text) if _ALONE.match(text[m.end() :])}
    return match[1] if alone <= {match[1]} else None
