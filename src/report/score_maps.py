"""Maps of V(m) and U(m) over the token grid of a picture, as in the paper's Fig. 4."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor

from ..tokens.visual import VisualTokens

SUMMANDS = {"V": "cos", "U": "sin"}
"""What a score sums over the rotary frequencies (Eq. 5 and 7)."""


def on_grid(tokens: VisualTokens, row: int, values: Tensor) -> np.ndarray[Any, Any]:
    """Values of the tokens of a row, float `[h, w]`; NaN where the grid has no token.

    Args:
        values: `[R, N]`, of any type.
    """
    count = tokens.count[row]
    cells = tokens.cell[row, :count].cpu()
    table = np.full(tokens.rows[row].grid, np.nan)
    table[cells[:, 0], cells[:, 1]] = values[row, :count].float().cpu().numpy()
    return table


def add_scale(figure: Figure, axes: Axes, drawn: ScalarMappable, score: str) -> None:
    """A colour bar that says what the score is; a sum of cosines or sines has no unit.

    Args:
        score: "V" or "U".
    """
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(f"Σ {SUMMANDS[score]}(mθ), no unit", fontsize=8)
    bar.ax.tick_params(labelsize=8)
