"""Which option of a multiple-choice question a reply means, as a person reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from .options import NO_OPTION, REFUSALS, options_or_letters
from .published_letters import VERSIONS, published_letter
from .replies import answer_part, fold, same_words

READ = "read"
_BEFORE = 40
"""Characters before a letter in which what is said of it is looked for: long replies stay cheap."""

_LETTER = re.compile(
    r"(?<![A-Za-z0-9°])(?<![A-Za-z]['-])(?<![A-Z]\.)"
    r"([A-Z])"
    r"(?![A-Za-z0-9]|['-][A-Za-z0-9]|\.[A-Z](?![a-z])|\+\+)"
)
_IN_BRACKETS = re.compile(r"\(\s*([a-z])\s*\)")
_STATED_SMALL = re.compile(
    r"(?:\b(?:answer|option|choice)\s*(?:is|:)|答案\s*(?:是|为|:))[\W_]*([a-z])(?=[\W_]*(?:\n|$))",
    re.IGNORECASE,
)
_ARTICLE = re.compile(
    r"\s+(?!(?:is|was|are|because|since|as|seems|appears|looks|would|will|should|must|may|might"
    r"|can|has|does|matches|fits|shows|describes|says|states|refers|corresponds|and|or|nor|but)\b)"
    r"[a-z]"
)
_NEGATION = re.compile(
    r"(?:\b(?:not|cannot|neither|nor|except|than|instead of|never)|n't|不是|不选择?|并非|排除)"
    r"[\s\"'(\[*]*(?:be\s+)?(?:(?:option|choice|answer|an?|the|选项)[\s\"'(\[*]*)?$",
    re.IGNORECASE,
)
_STATED_BEFORE = re.compile(
    r"(?:\b(?:answer|option|choice)\s*(?:is|:|=|(?:would|should|must|will) be)|\bfinal answer"
    r"|答案\s*(?:应该?)?\s*(?:是|为|:)|(?<!不)选择?)"
    r"\s*:?\s*(?:(?:option|choice|letter|选项)\b\s*)?[\W_]*$",
    re.IGNORECASE,
)
_STATED_AFTER = re.compile(
    r"[\"')\].]*\s*(?:is|是|为)\s*(?:the\s+)?(?:(?:best|most)\s+)?"
    r"(?:correct|right|answer|accurate|appropriate|正确|答案)",
    re.IGNORECASE,
)
_BARE_LINE = re.compile(
    r"[\W_]*(?:(?:option|choice|answer|选项|答案)\s*:?\s*)?[\W_]*([A-Za-z])[\W_]*", re.IGNORECASE
)
_LEADING = re.compile(
    r"[\W_]*([A-Za-z])(?:[\"'*_\s]*[.):\],>-][\"'*_]*(?=\s|$|[^\x00-\x7f]|[A-Z][a-z])"
    r"|\s+(?:because|since)\b)"
)
_ROW = re.compile(r"[\W_]*[A-Za-z][\W_]+[A-Z](?![A-Za-z0-9])")
_SEVERAL = re.compile(r"\b(?:or|and|either|both|maybe)\b|/|&|或|和|还是", re.IGNORECASE)


def parse_letter(reply: str, choices: Sequence[str], version: str = READ) -> str | None:
    """The letter of the option that `reply` means, `NO_OPTION`, or None where it is unclear.

    As a person reads it, in this order: a refusal; the letter that the reply states to be its
    answer; a letter alone on the first or last line; the letter that the reply begins with; the
    only letter; the only option whose text occurs. Letters may stand in quotes, brackets, bold
    type, beside Chinese characters; "a red car" holds no letter, "not B" does not mean B. Never
    fails on a text.

    Args:
        choices: option texts in the order A, B, C, ...; none at all stand for A to D.
        version: "read", or one of `VERSIONS`: then to the letter of a published evaluation.

    Raises:
        ValueError: unknown version.
    """
    if version in VERSIONS:
        return published_letter(reply, choices, version)
    if version != READ:
        raise ValueError(
            f"parser version {version!r} is unknown: choose one of {[READ, *VERSIONS]}"
        )
    if any(refusal in reply for refusal in REFUSALS):
        return NO_OPTION
    options = options_or_letters(choices)
    text = fold(answer_part(reply))
    letters = list(_letters(text, options))
    return (
        _only(_stated(text, letters))
        or _only(_bare_lines(text, options))
        or _leading(text, options, letters)
        or _only({letter for _, letter in letters})
        or _none_of_them(text, letters)
        or _only_text(text, options)
    )


def _only(letters: set[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _letters(text: str, options: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Where letters of options stand for an option, and which; in order."""
    found = [(m.start(1), m[1]) for m in _LETTER.finditer(text) if not _is_word(text, m, options)]
    for pattern in (_IN_BRACKETS, _STATED_SMALL):
        found += [(m.start(1), m[1].upper()) for m in pattern.finditer(text)]
    for start, letter in sorted(found):
        if letter in options and not _NEGATION.search(_before(text, start)):
            yield start, letter


def _before(text: str, start: int) -> str:
    return text[max(0, start - _BEFORE) : start]


def _is_word(text: str, letter: re.Match[str], options: Mapping[str, str]) -> bool:
    """Whether "A" or "I" is an article or a pronoun."""
    if letter[1] not in "AI":
        return False
    if _ARTICLE.match(text, letter.end()):
        return True
    others = (option for name, option in options.items() if name != letter[1] and option)
    start = letter.end() + 1
    named = (text[start : start + len(option)].lower() == option.lower() for option in others)
    return text[letter.end() : start].isspace() and any(named)


def _stated(text: str, letters: Sequence[tuple[int, str]]) -> set[str]:
    return {
        letter
        for start, letter in letters
        if _STATED_BEFORE.search(_before(text, start)) or _STATED_AFTER.match(text, start + 1)
    }


def _bare_lines(text: str, options: Mapping[str, str]) -> set[str]:
    """The letters that stand alone on the first and on the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    bare = (_BARE_LINE.fullmatch(line) for line in (lines[:1] + lines[-1:]))
    return {match[1].upper() for match in bare if match} & options.keys()


def _leading(
    text: str, options: Mapping[str, str], letters: Sequence[tuple[int, str]]
) -> str | None:
    """The letter and mark that the reply begins with ("B. a dog"), if it lists no other option."""
    lines = [line for line in text.splitlines() if line.strip()]
    led = [match[1].upper() for line in lines if (match := _LEADING.match(line))]
    first = _LEADING.match(lines[0]) if lines else None
    if first is None or len({*led} & options.keys()) != 1:
        return None
    end = text.index(lines[0]) + len(lines[0])
    on_first_line = {letter for start, letter in letters if start < end} | {led[0]}
    several = _ROW.match(lines[0]) or _SEVERAL.search(lines[0])
    lists = len(on_first_line) > 1 and several
    return None if lists or led[0] not in options else led[0]


def _none_of_them(text: str, letters: Sequence[tuple[int, str]]) -> str | None:
    says_none = not letters and any(m[1] == NO_OPTION for m in _LETTER.finditer(text))
    return NO_OPTION if says_none else None


def _only_text(text: str, options: Mapping[str, str]) -> str | None:
    """The only option whose text is the reply, else the only one that occurs in it as words.

    Of an option that is part of another one that occurs ("cat", "black cat"), the longer counts.
    """
    said = same_words(text)
    texts = {letter: fold(option).lower().strip(" .") for letter, option in options.items()}
    exact = {letter for letter, option in options.items() if said and same_words(option) == said}
    found = {letter for letter, option in texts.items() if option and _occurs(option, text)}
    whole = {
        letter
        for letter in found
        if not any(texts[letter] in texts[o] and texts[letter] != texts[o] for o in found)
    }
    return _only(exact) or _only(whole)


def _occurs(option: str, text: str) -> bool:
    """Whether the option, perhaps as a plural, stands somewhere in the text and is not negated."""
    pattern = rf"(?<![a-z0-9])(?<!\d[.,]){re.escape(option)}(?:e?s)?(?![a-z0-9]|[.,]\d)"
    lowered = text.lower()
    return any(
        not _NEGATION.search(_before(lowered, m.start())) for m in re.finditer(pattern, lowered)
    )
