"""Scenes in the size in which a model sees them, for which it writes boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..data.scenes.questions import Question
from ..data.scenes.scene import BIN, Scene


def framed(scene: Scene, size: tuple[int, int]) -> Scene:
    """The scene as a picture of another size shows it, edges rounded to whole bins.

    Args:
        size: width and height in pixels.
    """
    if size == (scene.width, scene.height):
        return scene
    scale = np.array([size[0] / scene.width, size[1] / scene.height] * 2)
    things = []
    for thing in scene.things:
        x1, y1, x2, y2 = (np.rint(np.array(thing.box) * scale / BIN).astype(int) * BIN).tolist()
        things.append(replace(thing, box=(x1, y1, x2, y2)))
    return Scene(*size, tuple(things))


def answer_to(question: Question, scene: Scene) -> str:
    """The answer, where it is a box for the scene as the model sees it."""
    if question.task != "grounding":
        return question.answer
    return " ".join(map(str, scene.things[question.targets[0]].box))
