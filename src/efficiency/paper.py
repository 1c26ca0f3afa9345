"""Tab. 3 of the IVC-Prune paper, for comparison beside what is measured."""

from __future__ import annotations

from functools import cache

from ..report.paper.published import load_table
from ..runs.read import VANILLA

SETTING = "Qwen2.5-VL-7B, RefCOCO testA, 8 x A100 40 GB"
"""What Tab. 3 was measured on; batch size, attention and software are not stated."""

MODEL = "qwen2_5_vl_7b"


@cache
def paper_cells() -> dict[str, list[str]]:
    """By policy, the cells of Tab. 3 as `paper_columns` of `tables.py` names them.

    Ratios follow from the printed times: that of IVC-Prune's total is 1.26, the paper prints 1.27.
    """
    table = load_table("tab3")
    rows = {row.policy: row for row in table.rows if row.model == MODEL}
    before = rows[VANILLA].values
    cells = {}
    for policy, row in rows.items():
        figures = {key: value for key, value in row.values.items() if value is not None}
        ratio = {key: (before[key] or 0.0) / value for key, value in figures.items()}
        minutes, seconds = divmod(round(figures["total"]), 60)
        cells[policy] = [
            f"{row.tokens:g} %",
            f"{figures['kv_cache']} ({ratio['kv_cache']:.1f}x)",
            f"{figures['prefill']:g} ({ratio['prefill']:.2f}x)",
            f"{figures['decode']} ({ratio['decode']:.2f}x)",
            f"{minutes}'{seconds:02d} ({ratio['total']:.2f}x)",
        ]
    return cells
