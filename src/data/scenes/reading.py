"""Questions about the strings of a page."""

from __future__ import annotations

import numpy as np

from .pages import Page
from .questions import Question


def read(rng: np.random.Generator, page: Page) -> Question:
    """All strings of the page in reading order."""
    answer = " ".join(writing.text for writing in page.writings)
    spelled = tuple(range(len(page.writings)))
    return Question("ocr_contains", page.density, "read the text", answer, (), spelled=spelled)


def look_up(rng: np.random.Generator, page: Page) -> Question:
    """The string beside one of the things.

    Raises:
        ValueError: the page has no labels.
    """
    if not page.labels:
        raise ValueError("nothing can be looked up on a page without labels: use `read`")
    index = int(rng.integers(len(page.labels)))
    thing, label = page.scene.things[index], page.labels[index]
    article = f"the {thing.colour} {thing.shape}"
    text = f"what is written beside {article}?"
    return Question(
        "vqa", page.density, text, page.writings[label].text, (index,), spelled=(label,)
    )
