"""What is drawn and asked in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.scenes.dataset import CONTENTS, Content
from ..data.scenes.pages import Page, sample_page
from ..data.scenes.questions import Question, ask, ground
from ..data.scenes.reading import look_up, read
from ..data.scenes.scene import BENCHMARK_LEVEL, Level, pick, sample_scene

CURRICULUM = (
    (0.10, Level(tokens=(6, 8), things=(1, 3))),
    (0.25, Level(tokens=(6, 10), things=(2, 5))),
    (1.00, BENCHMARK_LEVEL),
)
"""Share of training up to which each level lasts."""


Asking = Callable[[np.random.Generator, Page], Question]


@dataclass(frozen=True)
class Lesson:
    """What is drawn, and what is asked about each image."""

    page: Callable[[np.random.Generator, Level], Page]
    questions: Sequence[Asking]


@dataclass(frozen=True)
class Lessons:
    """What is drawn and asked in training.

    Attributes:
        lessons: each image is of one of them, all equally often.
        level: how hard the scenes are, at a share of training in [0, 1].
        contents: what is validated, as `load_scenes` calls it.
    """

    lessons: Sequence[Lesson]
    level: Callable[[float], Level]
    contents: Sequence[Content] = ("scenes",)

    def drawn(self, rng: np.random.Generator) -> Lesson:
        """The lesson of an image; `rng` is asked only where there is a choice."""
        return self.lessons[0] if len(self.lessons) == 1 else pick(rng, self.lessons)


def level_at(progress: float) -> Level:
    """The curriculum's level at a share of training in [0, 1]."""
    return next((level for end, level in CURRICULUM if progress < end), BENCHMARK_LEVEL)


def benchmark_level(progress: float) -> Level:
    """The level of the benchmark all the time."""
    return BENCHMARK_LEVEL


def _scene(rng: np.random.Generator, level: Level) -> Page:
    return Page(sample_scene(rng, "train", level), (), "")


def _page_to_read(rng: np.random.Generator, level: Level) -> Page:
    return sample_page(rng, "train", "read")


def _page_of_labels(rng: np.random.Generator, level: Level) -> Page:
    return sample_page(rng, "train", "lookup")


def _ground(rng: np.random.Generator, page: Page) -> Question:
    return ground(rng, page.scene)


def _ask(rng: np.random.Generator, page: Page) -> Question:
    return ask(rng, page.scene)


_SCENES = Lesson(_scene, (*[_ground] * 4, *[_ask] * 4))
_READING = Lesson(_page_to_read, (read,))
_LOOKING_UP = Lesson(_page_of_labels, (look_up,) * 4)

FROM_SCRATCH = Lessons((_SCENES,), level_at)
AS_IN_THE_BENCHMARK = Lessons((Lesson(_scene, (_ground, _ask)),), benchmark_level)
WITH_TEXT = Lessons((_SCENES, _SCENES, _READING, _LOOKING_UP), level_at, CONTENTS)
LESSONS: Mapping[str, Lessons] = {"scenes": FROM_SCRATCH, "text": WITH_TEXT}
"""What `job.lessons` may name: scenes alone, or half of the images pages with text."""
