"""A picture of one's own: what was answered, what was kept, and where the coordinates lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from PIL.Image import Image as PILImage

from ..models.areas import WHOLE, Area
from ..pruning.statistics import PrefillStatistics
from ..selectors import IVCSelector
from ..selectors.coordinates import coordinate_scores
from . import formats
from .fonts import BASE, lettering_for
from .overlay import DROPPED_GREY, PREDICTED_COLOUR, dim_dropped
from .score_maps import add_scale, on_grid

BOX = "#{:02x}{:02x}{:02x}".format(*PREDICTED_COLOUR)
GREY = "#" + f"{DROPPED_GREY:02x}" * 3
COORDINATE = "#d55e00"
LONGEST_SIDE = 640
"""Pixels of the picture as it is drawn."""
REPLY, CHARACTERS = 110, 62
"""Characters of a reply above its picture, and of a line there."""


@dataclass(frozen=True)
class Answer:
    """What the model said under a policy.

    Attributes:
        box: that its reply names, (x1, y1, x2, y2) in pixels of the picture; None for none.
    """

    policy: str
    reply: str
    stats: PrefillStatistics
    box: Sequence[float] | None = None

    @property
    def kept(self) -> str:
        """How many tokens are left, e.g. "27 of 54 tokens; 50.0 % on average over layers"."""
        average = self.stats.average_tokens_per_sequence[0]
        left = len(self.stats.kept[0]) + self.stats.n_added[0]
        stages = {name: counts[0] for name, counts in self.stats.kept_by_stage.items()}
        told = formats.kept_of(left, self.stats.n_visual[0], stages, None)
        return f"{told}; {formats.over_layers(average)}"


def draw_answers(
    image: PILImage,
    whole: Answer,
    pruned: Answer,
    title: str,
    area: Area = WHOLE,
) -> Figure:
    """The answer with all tokens; what the policy kept, with its answer; V(m) and U(m).

    The maps are those of the paper's Fig. 4: the scores that the implicit coordinates are ranked
    by, with the tokens that rank first. A picture that is cut into tiles is shown as its thumbnail.

    Args:
        title: such as the question.
        area: what the model sees of the picture.

    Raises:
        ValueError: the prompt held no visual tokens.
    """
    before = pruned.stats.before
    if before is None:
        raise ValueError("the prompt held no visual tokens, so there is nothing to draw")
    row = next((i for i, r in enumerate(before.rows) if r.kind != "tile"), 0)
    lettering = lettering_for(f"{title}{whole.reply}{pruned.reply}…“”")
    kept = pruned.stats.kept_maps()[row].keep.numpy()
    shown = image.convert("RGB")
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    figure = Figure(figsize=(9.6, _height(shown)), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    scale = shown.width / image.width
    for axes, picture, answer, note in (
        (panels[0], shown, whole, "all tokens"),
        (panels[1], dim_dropped(shown, kept, area), pruned, pruned.kept),
    ):
        axes.imshow(np.asarray(picture))
        _draw_box(axes, answer.box, scale)
        reply = lettering.legible(_shortened(answer.reply))
        words = [*wrap(f"{answer.policy}: “{reply}”", CHARACTERS), *wrap(note, CHARACTERS)]
        _without_ticks(axes, "\n".join(words), lettering.families)
    left, top, right, bottom = area
    seen = (shown.height * (bottom - top)) / (shown.width * (right - left))
    grid = before.rows[row].grid
    chosen = IVCSelector()
    marked = on_grid(before, row, chosen.select(before).float())
    for axes, values, name in zip(
        panels[2:], coordinate_scores(before.positions, before.inv_freq), "VU", strict=True
    ):
        drawn = axes.imshow(
            on_grid(before, row, values), cmap="viridis", aspect=seen * grid[1] / grid[0]
        )
        lines, columns = np.nonzero(marked == 1)
        axes.plot(columns, lines, "s", ms=4, mfc="none", mec=COORDINATE, mew=1.2)
        _without_ticks(axes, f"{name}(m) of each token")
        add_scale(figure, axes, drawn, name)
    heading = "\n".join(wrap(lettering.legible(title), 2 * CHARACTERS))
    figure.suptitle(heading, fontsize=11, family=list(lettering.families))
    handles = [_dropped_key(), _coordinate_key(chosen)]
    if whole.box or pruned.box:
        handles.insert(0, Patch(fill=False, edgecolor=BOX, linewidth=2, label="predicted box"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _height(shown: PILImage) -> float:
    """Of the figure in inches: two rows of pictures and their words."""
    return min(2 * (4.3 * shown.height / shown.width + 0.45) + 0.7, 12.0)


def _draw_box(axes: Axes, box: Sequence[float] | None, scale: float) -> None:
    """A red frame with a white casing, so that it shows on any background."""
    if box is None:
        return
    x1, y1, x2, y2 = (place * scale for place in box)
    for colour, width in (("white", 4.0), (BOX, 2.0)):
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width)
        )


def _dropped_key() -> Patch:
    return Patch(facecolor=GREY, edgecolor="#8c8c8c", label="dropped tokens")


def _coordinate_key(selector: IVCSelector) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="s", mfc="none", mec=COORDINATE, mew=1.2,
        label=f"implicit coordinates: {100 * selector.keep:g} % by V(m), as many by U(m)",
    )  # fmt: skip


def _shortened(reply: str) -> str:
    words = " ".join(reply.split())
    return words if len(words) <= REPLY else f"{words[: REPLY - 1]}…"


def _without_ticks(axes: Axes, title: str, families: Sequence[str] = (BASE,)) -> None:
    axes.set_title(title, fontsize=9, parse_math=False, family=list(families))
    axes.set_xticks([])
    axes.set_yticks([])
