"""From a sample to the chat messages that a model is asked with.

A prompt profile maps each task to a template in which `{question}` stands for the sample's
question. Profiles are the files of `conf/prompt/`; a model's configuration names its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .sample import Sample

QUESTION = "{question}"


def check_prompts(prompts: Mapping[str, str], tasks: Iterable[str], model: str) -> None:
    """Fails unless the profile of `model` can ask every task; call it before weights are loaded.

    Raises:
        ValueError: a task without a template, or a template without `{question}`.
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


def to_messages(sample: Sample, prompts: Mapping[str, str]) -> list[dict[str, Any]]:
    """One user turn, the images first, as `processor.apply_chat_template` takes it."""
    # str.format would trip over the braces of a JSON example in a template.
    text = prompts[sample.task].replace(QUESTION, sample.question)
    images = [{"type": "image"} for _ in sample.images]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]
