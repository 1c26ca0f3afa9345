"""What of a model's reply is its answer: all that a person passes over before reading it.

Nothing here knows a benchmark. The published evaluations do none of this; see `scoring`.
"""

from __future__ import annotations

import re

_THOUGHT = r"(?:think|thinking|thought|reasoning)"
_OPENED = rf"(?:<{_THOUGHT}>|◁{_THOUGHT}▷)"
_CLOSED = rf"(?:</{_THOUGHT}>|◁/{_THOUGHT}▷)"
_THINKING = re.compile(rf"{_OPENED}(?:(?!{_OPENED}).)*?{_CLOSED}", re.DOTALL | re.IGNORECASE)
_THINKING_OPENED = re.compile(_OPENED, re.IGNORECASE)
_THINKING_CLOSED = re.compile(_CLOSED, re.IGNORECASE)

_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_ANSWER_TAGS = re.compile(r"</?answer>", re.IGNORECASE)
_BOX_TAG = re.compile(r"<\|begin_of_box\|>(.*?)(?:<\|end_of_box\|>|$)", re.DOTALL)
_JSON_ANSWER = re.compile(
    r"[{,]\s*[\"'](?:final_)?answer[\"']\s*:\s*[\"']?([^\"'{}\[\],]*)[\"']?\s*[},]", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_STYLED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit)\s*\{([^{}]*)\}")

_PREFACE = re.compile(
    r"(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:(?:best|correct|final|right)\s+)?"
    r"answer\s*(?:is\b|:)\s*:?\s*|(?:正确|最终)?答案\s*(?:是|为|:)\s*:?\s*",
    re.IGNORECASE,
)
_WRAPPERS = (
    *zip("\"'*_$([{<", "\"'*_$)]}>", strict=True),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
)
"""Marks around an answer: quotes, emphasis, brackets, LaTeX's mathematics."""
_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)")

_FOLDED = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | {
    ord(mark): plain
    for plain, marks in {
        " ": "\u3000\u00a0",
        ".": "。",
        ",": "、",
        '"': "“”„«»「」『』《》",
        "'": "\u2018\u2019`\u00b4",
        "...": "…",
        "-": "\u2013\u2014\u2212",
        "[": "【",
        "]": "】",
        "": "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff",
    }.items()
    for mark in marks
}


def final_part(reply: str) -> str:
    """The reply without what was thought before answering; "" where the thinking never ends.

    Thinking stands between tags (`<think>`, `</think>` and the like). A template may have opened
    them in the prompt already, so a closing tag alone ends it too.
    """
    text = _THINKING.sub("", reply)
    text = _THINKING_CLOSED.split(text)[-1]
    return _THINKING_OPENED.split(text, maxsplit=1)[0].strip()


def is_still_thinking(reply: str) -> bool:
    """Whether the reply holds the beginning of a thought, and nothing beside it."""
    return bool(_THINKING_OPENED.search(reply)) and not final_part(reply)


def answer_part(reply: str) -> str:
    """The final part, or what it marks as its answer; the last one where it marks several.

    Marks are `<answer>B</answer>`, `\\boxed{B}`, `<|begin_of_box|>B<|end_of_box|>` and the key
    "answer" of a JSON object.
    """
    text = final_part(reply)
    for pattern in (_ANSWER_TAG, _BOX_TAG, _BOXED, _JSON_ANSWER):
        marked = [content.strip() for content in pattern.findall(text) if content.strip()]
        text = marked[-1] if marked else text
    return _ANSWER_TAGS.sub("", _STYLED.sub(r"\1", text)).strip()


def fold(text: str) -> str:
    """Fullwidth characters, typographic quotes and Chinese marks as ASCII; no invisible ones."""
    return text.translate(_FOLDED)


def short_answer(reply: str) -> str:
    """The answer part without a preface ("The answer is"), emphasis, quotes and a final stop.

    `"The answer is **red**."`, `"“red”"` and `"<answer>red</answer>"` all give `"red"`.
    """
    text = " ".join(fold(answer_part(reply)).replace("**", "").split())
    text = _PREFACE.sub("", text, count=1) if _PREFACE.match(text) else text
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(".!,;:").rstrip()
        for left, right in _WRAPPERS:
            around = len(left) + len(right)
            if len(text) > around and text.startswith(left) and text.endswith(right):
                text = text[len(left) : -len(right)]
    return text


def same_words(text: str) -> str:
    """What two short answers share that a person takes for the same; "" where nothing is said.

    Lower case, without the marks of `short_answer` and a leading article.
    """
    plain = short_answer(text).lower()
    return _ARTICLE.sub("", plain, count=1) if _ARTICLE.match(plain) else plain
