"""From a sample to the chat messages that a model is asked with.

A prompt profile maps each task to a template. Profiles are the files of `conf/prompt/`; a model's
configuration names its own. In a template

- `{question}`, `{hint}` stand for the sample's own texts, `{choices}` for its options as lines
  `A. text`, `{bracketed_choices}` for the same as `(A) text`;
- a part in double square brackets is left out where one of these that it holds is empty:
  `[[Hint: {hint}\n]]`;
- `{images}` marks where the images or the video go; without it they come first.

A profile may have more than one template for a task: `<task>_on_<benchmark>` for benchmarks whose
name begins so, and `<task>_in_chinese` for samples with Chinese characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..metrics.options import options_by_letter
from .sample import Sample

QUESTION = "{question}"
IMAGES = "{images}"
CHOICES = ("{choices}", "{bracketed_choices}")
CHOICE_TASKS = ("multiple_choice", "video_multiple_choice")

ON_BENCHMARK = "_on_"
IN_CHINESE = "_in_chinese"

_PLACEHOLDER = re.compile(r"\{(question|hint|choices|bracketed_choices)\}")
_OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
_CHINESE = re.compile("[\u4e00-\u9fff]")


def check_prompts(prompts: Mapping[str, str], tasks: Iterable[str], model: str) -> None:
    """Fails unless the profile of `model` can ask every task; call it before weights are loaded.

    Raises:
        ValueError: a task without a template, or a template that lacks the question or the options.
    """
    for task in sorted(set(tasks)):
        if task not in prompts:
            raise ValueError(
                f"model {model!r} has no prompt for the task {task!r}: it has prompts for "
                f"{sorted(prompts)}; add one with +model.prompts.{task}='... {QUESTION} ...'"
            )
        if QUESTION not in prompts[task]:
            raise ValueError(
                f"model.prompts.{task} of model {model!r} is {prompts[task]!r}: "
                f"it must contain {QUESTION}, where the sample's question goes"
            )
        if task in CHOICE_TASKS and not any(choices in prompts[task] for choices in CHOICES):
            raise ValueError(
                f"model.prompts.{task} of model {model!r} is {prompts[task]!r}: "
                f"it must contain one of {list(CHOICES)}, where the options go"
            )


def for_benchmark(prompts: Mapping[str, str], benchmark: str) -> dict[str, str]:
    """The templates that one benchmark is asked with: its own where the profile has some.

    Args:
        benchmark: name of the data; of several templates the one with the longest name counts.
    """
    chosen = dict(prompts)
    for key in sorted(prompts, key=len):
        task, separator, name = key.partition(ON_BENCHMARK)
        if separator and benchmark.startswith(name):
            chosen[task] = prompts[key]
    return chosen


def to_messages(sample: Sample, prompts: Mapping[str, str]) -> list[dict[str, Any]]:
    """One user turn, the images first unless the template puts them elsewhere.

    It is what `processor.apply_chat_template` takes.
    """
    before, marker, after = _template(sample, prompts).partition(IMAGES)
    if not marker:
        before, after = "", before
    images = [{"type": "image"} for _ in sample.images]
    content = [*_text(before, sample), *images, *_text(after, sample)]
    return [{"role": "user", "content": content}]


def _template(sample: Sample, prompts: Mapping[str, str]) -> str:
    chinese = prompts.get(f"{sample.task}{IN_CHINESE}")
    texts = (sample.question, sample.hint, *sample.choices)
    return chinese if chinese and any(map(_CHINESE.search, texts)) else prompts[sample.task]


def _text(template: str, sample: Sample) -> list[dict[str, str]]:
    text = fill(template, sample)
    return [{"type": "text", "text": text}] if text else []


def fill(template: str, sample: Sample) -> str:
    """The template with the sample's texts, in one pass: braces within these texts are kept."""
    values = {
        "question": sample.question,
        "hint": sample.hint,
        "choices": _lines(sample.choices, "{}. {}"),
        "bracketed_choices": _lines(sample.choices, "({}) {}"),
    }

    def keep_or_drop(part: re.Match[str]) -> str:
        names = _PLACEHOLDER.findall(part[1])
        if not names:
            return part[0]
        return part[1] if all(values[name] for name in names) else ""

    return _PLACEHOLDER.sub(lambda match: values[match[1]], _OPTIONAL.sub(keep_or_drop, template))


def _lines(choices: Sequence[str], line: str) -> str:
    return "\n".join(line.format(*option) for option in options_by_letter(choices).items())
