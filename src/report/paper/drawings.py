"""Figures of the paper that follow from positions alone: token layouts, and V(m) and U(m)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from rich.console import Console
from torch import Tensor

from ...models.blocks import Block, visual_tokens
from ...models.deepseek_vl2.layout import image_blocks
from ...models.deepseek_vl2.tiling import TileGeometry
from ...models.internvl.pictures import Picture as Tiles
from ...models.internvl.pictures import picture_blocks
from ...selectors import IVCSelector, Per, Selector, ThumbnailSelector, Union, Without, decision
from ...selectors.coordinates import coordinate_scores
from ...tokens.visual import VisualTokens
from ..score_maps import add_scale, on_grid
from .page import Picture, render_page
from .published import read_content

SIZE = (640, 480)
"""Width and height of the picture in pixels."""
SIDE = 16
"""Tokens along each side of an InternVL tile."""
RED = "#d32f2f"
WHITE_AND_RED = ListedColormap(["#ffffff", RED])
WIDTH = 4.6
"""Of a figure, in inches: at least what its legend takes."""


@dataclass(frozen=True)
class Layout:
    """How a model sees a picture.

    Attributes:
        cut: "image", "tiles" or "lines": a name in `CUTS`.
        grid: rows and columns, of tokens of an image, else of tiles.
        axes: of the rotary positions.
        before: text tokens before the picture.
        theta, head_dim: of the rotary frequencies.
    """

    label: str
    cut: str
    grid: tuple[int, int]
    axes: int = 1
    before: int = 0
    theta: float = 1e4
    head_dim: int = 128

    def tokens(self) -> VisualTokens:
        """The visual tokens, of one sample."""
        blocks = CUTS[self.cut](self.before, self.grid)
        length = max(block.start + len(block.cell) for block in blocks)
        positions = torch.arange(length)[None]
        if self.axes == 3:
            positions = self._on_three_axes(blocks[0], length)
        inv_freq = self.theta ** -(torch.arange(0, self.head_dim, 2) / self.head_dim)
        return visual_tokens(blocks, positions[:, None], inv_freq, [0])

    def _on_three_axes(self, block: Block, length: int) -> Tensor:
        """M-RoPE ids (t, h, w) of the text and the one picture after it, long `[3, length]`."""
        positions = torch.arange(length).repeat(3, 1)
        places = torch.stack([torch.zeros(len(block.cell)), *block.cell.T]).long()
        positions[:, block.start : block.start + len(block.cell)] = self.before + places
        return positions

    @property
    def coordinates(self) -> Selector:
        """10 % of V(m) and of U(m), within what the paper ranks by itself (A.2)."""
        each = IVCSelector(keep=0.1)
        if self.cut == "lines":
            tiles = Without(selector=ThumbnailSelector(), base=Per("line", each))
            return Union({"thumbnail": Per("thumbnail", each), "tiles": tiles})
        return Per("row", each)


def _image(start: int, grid: tuple[int, int]) -> list[Block]:
    return [Block.full(0, 0, "image", grid, start)]


def _tiles(start: int, grid: tuple[int, int]) -> list[Block]:
    return picture_blocks(0, 0, start, grid[0] * grid[1] + 1, SIDE, Tiles(grid))


def _lines(start: int, grid: tuple[int, int]) -> list[Block]:
    return image_blocks(0, 0, start, (grid[1], grid[0]), SIZE, TileGeometry())


CUTS: Mapping[str, Callable[[int, tuple[int, int]], list[Block]]] = {
    "image": _image,
    "tiles": _tiles,
    "lines": _lines,
}


def write_drawings(names: Sequence[str], folder: Path, console: Console) -> None:
    """Draws `tables/<name>.yaml` for each model as PNG files and on one page `paper.html`.

    Args:
        folder: is made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name in names:
        content = read_content(f"{name}.yaml")
        for model, settings in content["layouts"].items():
            image = draw(_layout(settings), scores=content["scores"])
            path = folder / f"{name}-{model}.png"
            path.write_bytes(image)
            uri = "data:image/png;base64," + base64.b64encode(image).decode()
            pictures.append(Picture(f"{content['title']}: {settings['label']}", uri))
            console.print(f"drawn: {path.resolve()}", highlight=False, soft_wrap=True)
    page = folder / "paper.html"
    page.write_text(render_page(folder.name, [], pictures), "utf-8")
    console.print(f"report: {page.resolve()}", highlight=False, soft_wrap=True)


def _layout(settings: Mapping[str, Any]) -> Layout:
    return Layout(**{**settings, "grid": tuple(settings["grid"])})


def draw(layout: Layout, scores: bool) -> bytes:
    """A PNG with one panel for each image, tile, thumbnail or canvas.

    Args:
        scores: draw V(m) and U(m), with their scales and with the coordinates as black squares;
            else the tokens alone.
    """
    buffer = io.BytesIO()
    figure_of(layout, scores).savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def figure_of(layout: Layout, scores: bool) -> Figure:
    """What `draw` draws."""
    tokens = layout.tokens()
    shown = [i for i, row in enumerate(tokens.rows) if row.grid != (1, 1)]
    lines: list[tuple[str, Tensor | None]] = [("tokens", None)]
    if scores:
        real, imaginary = coordinate_scores(tokens.positions, tokens.inv_freq)
        lines = [("V", real), ("U", imaginary)]
    chosen = decision(layout.coordinates, tokens).keep
    size = (max(2.4 * len(shown) + 1.0, WIDTH), 2.6 * len(lines) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(lines), len(shown), squeeze=False)
    for (name, values), line in zip(lines, panels, strict=True):
        for row, axes in zip(shown, line, strict=True):
            kind = tokens.rows[row].kind
            if values is None:
                _draw_tokens(axes, tokens, row)
                axes.set_title(kind, fontsize=8)
            else:
                drawn = _draw_scores(axes, tokens, row, values, chosen)
                add_scale(figure, axes, drawn, name)
                axes.set_title(f"{name}(m), {kind}", fontsize=8)
            axes.set_xticks([])
            axes.set_yticks([])
    handles = _keys(scores, special=bool(tokens.special.any()))
    figure.suptitle(layout.label, fontsize=10)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _keys(scores: bool, special: bool) -> list[Line2D]:
    """What the squares stand for."""
    keys = [("black", "implicit coordinates")] if scores else [("white", "visual tokens")]
    if special:
        keys.append((RED, "tokens without a place in the picture"))
    return [
        Line2D([], [], linestyle="", marker="s", ms=6, mfc=colour, mec="#8a8a8a", label=label)
        for colour, label in keys
    ]


def _draw_tokens(axes: Axes, tokens: VisualTokens, row: int) -> None:
    """White and red squares with grey edges."""
    special = on_grid(tokens, row, tokens.special.float())
    axes.pcolormesh(
        special, cmap=WHITE_AND_RED, vmin=0, vmax=1, edgecolors="#8a8a8a", linewidth=0.3
    )
    axes.invert_yaxis()
    axes.set_aspect("equal")


def _draw_scores(
    axes: Axes, tokens: VisualTokens, row: int, values: Tensor, chosen: Tensor
) -> AxesImage:
    drawn = axes.imshow(on_grid(tokens, row, values), cmap="viridis")
    for marked, colour in ((chosen & ~tokens.special, "black"), (tokens.special, RED)):
        y, x = np.nonzero(on_grid(tokens, row, marked.float()) == 1)
        axes.plot(x, y, "s", ms=2.5, color=colour)
    return drawn
