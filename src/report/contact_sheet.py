"""Samples side by side: what a model is shown, asked, and should answer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL.Image import Image

from .fonts import Lettering, lettering_for

COLUMNS = 4
WIDTH, IMAGE_HEIGHT, LINE_HEIGHT = 4.0, 2.6, 0.12
"""Of a card, of its image and of a line of its text, in inches."""
CHARACTERS, LINES = 52, 12
"""In a line of text; lines of a prompt."""
LONGEST_SIDE = 480
"""Pixels of an image on a card."""
BOX_COLOUR = "#009e60"


@dataclass(frozen=True)
class Card:
    """One sample.

    Attributes:
        image: None for a sample without one.
        note: beside the title, such as "64 frames".
        boxes: true boxes (x1, y1, x2, y2) in pixels of the image.
    """

    title: str
    image: Image | None
    note: str
    prompt: str
    target: str
    boxes: Sequence[Sequence[float]] = ()


def draw_contact_sheet(cards: Sequence[Card], path: Path) -> frozenset[str]:
    """Draws at least one card into a PNG file.

    Returns:
        The characters that no installed font has; a note stands in their places.
    """
    words = "".join(part for card in cards for part in (card.title, card.prompt, card.target))
    lettering = lettering_for(f"→ · {words}")
    texts = [_text(card, lettering) for card in cards]
    columns = min(COLUMNS, len(cards))
    rows = math.ceil(len(cards) / columns)
    text_height = LINE_HEIGHT * (2 + max(text.count("\n") + 1 for text in texts))
    figure = Figure(figsize=(WIDTH * columns, (IMAGE_HEIGHT + text_height) * rows + 0.25))
    edges = {"left": 0.02, "right": 0.98, "top": 1 - 0.25 / figure.get_figheight(), "bottom": 0}
    heights = [IMAGE_HEIGHT, text_height] * rows
    grid = figure.add_gridspec(
        2 * rows, columns, height_ratios=heights, wspace=0.06, hspace=0.05, **edges
    )
    for i, (card, text) in enumerate(zip(cards, texts, strict=True)):
        row, column = divmod(i, columns)
        _draw_image(figure.add_subplot(grid[2 * row, column]), card, lettering)
        _write_text(figure.add_subplot(grid[2 * row + 1, column]), text, lettering)
    figure.savefig(path, format="png", dpi=100)
    return lettering.missing


def _draw_image(axes: Axes, card: Card, lettering: Lettering) -> None:
    axes.set_axis_off()
    axes.set_anchor("NW")
    title = lettering.legible(f"{card.title} · {card.note}")
    axes.set_title(title, fontsize=7, loc="left", parse_math=False, family=list(lettering.families))
    if card.image is None:
        return
    image = card.image.copy()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    scale = image.width / card.image.width
    axes.imshow(image)
    for x1, y1, x2, y2 in card.boxes:
        corner, sides = (x1 * scale, y1 * scale), ((x2 - x1) * scale, (y2 - y1) * scale)
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=BOX_COLOUR, linewidth=2))


def _write_text(axes: Axes, text: str, lettering: Lettering) -> None:
    axes.set_axis_off()
    axes.text(
        0, 1, text, fontsize=7, va="top", family=list(lettering.families), parse_math=False,
        transform=axes.transAxes,
    )  # fmt: skip


def _text(card: Card, lettering: Lettering) -> str:
    """Prompt and target in lines that fit a card."""
    lines = lettering.legible(card.prompt).split("\n")
    prompt = [wrapped for line in lines for wrapped in _wrap(line)]
    if len(prompt) > LINES:
        prompt = [*prompt[: LINES - 1], "..."]
    return "\n".join([*prompt, *_wrap(f"→ {lettering.legible(card.target)}")[:2]])


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, CHARACTERS) or [""]
