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

COLUMNS = 4
CELL = (4.0, 4.4)
"""Width and height of a card in inches."""
WIDTH, LINES = 52, 12
"""Characters in a line of text and lines in a card."""
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


def draw_contact_sheet(cards: Sequence[Card], path: Path) -> None:
    """Draws at least one card into a PNG file."""
    columns = min(COLUMNS, len(cards))
    rows = math.ceil(len(cards) / columns)
    figure = Figure(figsize=(CELL[0] * columns, CELL[1] * rows))
    edges = {"left": 0.02, "right": 0.98, "top": 1 - 0.25 / figure.get_figheight(), "bottom": 0}
    grid = figure.add_gridspec(
        2 * rows, columns, height_ratios=[3, 2] * rows, wspace=0.06, hspace=0.1, **edges
    )
    for i, card in enumerate(cards):
        row, column = divmod(i, columns)
        _draw_image(figure.add_subplot(grid[2 * row, column]), card)
        _write_text(figure.add_subplot(grid[2 * row + 1, column]), card)
    figure.savefig(path, format="png", dpi=100)


def _draw_image(axes: Axes, card: Card) -> None:
    axes.set_axis_off()
    axes.set_anchor("NW")
    axes.set_title(f"{card.title} · {card.note}", fontsize=7, loc="left", parse_math=False)
    if card.image is None:
        return
    image = card.image.copy()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    scale = image.width / card.image.width
    axes.imshow(image)
    for x1, y1, x2, y2 in card.boxes:
        corner, sides = (x1 * scale, y1 * scale), ((x2 - x1) * scale, (y2 - y1) * scale)
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=BOX_COLOUR, linewidth=2))


def _write_text(axes: Axes, card: Card) -> None:
    axes.set_axis_off()
    prompt = [wrapped for line in card.prompt.split("\n") for wrapped in _wrap(line)]
    if len(prompt) > LINES:
        prompt = [*prompt[: LINES - 1], "..."]
    text = "\n".join([*prompt, *_wrap(f"→ {card.target}")[:2]])
    axes.text(
        0, 1, text, fontsize=7, va="top", parse_math=False, transform=axes.transAxes
    )  # fmt: skip


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH) or [""]
