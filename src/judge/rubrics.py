"""What the judge is asked about a case, and how its words become a verdict.

The protocols are those of the published evaluation; the wording is our own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..metrics.letters import parse_letter
from ..metrics.options import NO_OPTION, options_by_letter
from .base import Case, Verdict

_CHINESE = re.compile("[\u4e00-\u9fff]")

_LETTER = """\
You match a reply to the options of a multiple-choice question. Say which option means the same as \
the reply, with its single upper-case letter. If no option does, say Z. Do not solve the question.

Example 1
Question: What animal is it?
Options:
A. teddy bear
B. rabbit
C. cat
Reply: a cute toy bear
Your output: A

Example 2
Question: What animal is it?
Options:
A. teddy bear
B. rabbit
C. cat
Reply: a spider
Your output: Z

Question: {question}
There are several options:
{options}
Reply: {reply}
Your output: """

_LETTER_CHINESE = """\
请把回答与单选题的选项对应起来。哪个选项与回答意思相同,就输出该选项的一个大写字母。\
如果没有这样的选项,请输出 Z。不要自己解题。

例 1
问题:图中是什么动物?
选项:
A. 泰迪熊
B. 兔子
C. 猫
回答:一只可爱的玩具熊
输出:A

例 2
问题:图中是什么动物?
选项:
A. 泰迪熊
B. 兔子
C. 猫
回答:一只蜘蛛
输出:Z

问题:{question}
选项:
{options}
回答:{reply}
输出:"""

_YES_NO = """\
Does the reply to a yes/no question mean yes or no? Say Yes, No, or Unknown where it means neither.

Example 1
Question: Is the word in this image "Hello"?
Reply: The word in this image is "Hello".
Your output: Yes

Example 2
Question: Is the word in this image "Hello"?
Reply: The word in this image is not "Hello".
Your output: No

Question: {question}
Reply: {reply}
Your output: """

_SUB_SCENE = """\
You mark a reply to a question about a scene of a video. Give two marks from 1 to 5:
- accuracy: how well the reply agrees with each scoring point, averaged over the points;
- relevance: how well the reply keeps to what was asked.

Question: {question}
Scoring points:
{points}
Reply: {reply}

Output only a JSON object such as {{"accuracy": 3, "relevance": 4}}."""

_SUMMARY = """\
You mark the summary of a video against a reference. Give two marks from 1 to 5:
- completeness: how much of the reference the summary covers;
- reliability: how free it is of what contradicts the reference or is made up.

Question: {question}
Reference: {reference}
Summary: {reply}

Output only a JSON object such as {{"completeness": 3, "reliability": 4}}."""


@dataclass(frozen=True)
class Rubric:
    """How one kind of case is put to the judge.

    Attributes:
        prompt: the message.
        read: its words as a verdict; None where they make none, so that it is asked again.
        tries: how often it is asked; the temperature rises by 0.5 each time.
        otherwise: the verdict after the last try; None = the case stays open.
    """

    prompt: str
    read: Callable[[str], Verdict | None]
    tries: int
    otherwise: Verdict | None


def rubric_of(case: Case) -> Rubric:
    """How `case` is put to the judge.

    Raises:
        ValueError: no judge is foreseen for its task.
    """
    if case.task not in RUBRICS:
        raise ValueError(f"no rubric for the task {case.task!r}: known are {sorted(RUBRICS)}")
    return RUBRICS[case.task](case)


def _letter(case: Case) -> Rubric:
    template = _LETTER_CHINESE if _CHINESE.search(case.question) else _LETTER
    options = options_by_letter(case.choices).items()
    prompt = template.format(
        question=case.question,
        options="\n".join(f"{letter}. {text}" for letter, text in options),
        reply=case.reply,
    )

    def read(words: str) -> Verdict | None:
        letter = parse_letter(words, case.choices)
        return None if letter is None else Verdict(letter, float(letter in case.answers))

    # The published evaluation draws a random option in the end.
    return Rubric(prompt, read, tries=3, otherwise=Verdict(NO_OPTION, 0.0))


def _yes_no(case: Case) -> Rubric:
    answers = {answer.strip().lower() for answer in case.answers}

    def read(words: str) -> Verdict | None:
        said = set(re.findall(r"\b(yes|no|unknown)\b", words.lower()))
        if len(said) != 1:
            return None
        (word,) = said
        return Verdict(word, float(word in answers))

    prompt = _YES_NO.format(question=case.question, reply=case.reply)
    return Rubric(prompt, read, tries=5, otherwise=Verdict("unknown", 0.0))


def _open_answer(case: Case) -> Rubric:
    points = case.metadata.get("scoring_points")
    if points:
        lines = points if isinstance(points, list) else [points]
        names = ("accuracy", "relevance")
        prompt = _SUB_SCENE.format(
            question=case.question,
            points="\n".join(f"- {_as_text(point)}" for point in lines),
            reply=case.reply,
        )
    else:
        names = ("completeness", "reliability")
        reference = " ".join(case.answers)
        prompt = _SUMMARY.format(question=case.question, reference=reference, reply=case.reply)

    def read(words: str) -> Verdict | None:
        marks = [_mark(words, name) for name in names]
        if None in marks:
            return None
        total = int(sum(mark for mark in marks if mark is not None))  # as published: truncated
        parsed = json.dumps(dict(zip(names, marks, strict=True)))
        return Verdict(parsed, total / 10)

    return Rubric(prompt, read, tries=3, otherwise=None)


def _mark(words: str, name: str) -> float | None:
    """The mark from 1 to 5 that stands behind its name."""
    match = re.search(
        rf"{name}[\"'*]*\s*[:=]\s*[\"'*]*([1-5](?:\.[0-9]+)?)(?![0-9])", words.lower()
    )
    mark = float(match[1]) if match else None
    return mark if mark is not None and mark <= 5 else None


def _as_text(point: object) -> str:
    return point if isinstance(point, str) else json.dumps(point, ensure_ascii=False)


RUBRICS: dict[str, Callable[[Case], Rubric]] = {
    "multiple_choice": _letter,
    "open_answer": _open_answer,
    "video_multiple_choice": _letter,
    "yes_no": _yes_no,
}
"""By task; other tasks are scored by exact rules alone."""
