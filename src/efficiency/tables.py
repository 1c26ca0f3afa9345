"""Tables of a cell, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from ..report.formats import DASH, MISSING
from .paper import SETTING, paper_cells
from .result import Cell, Spread


@dataclass(frozen=True)
class Grid:
    """A table of text: its first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> Table:
        table = Table(
            title=self.title,
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        lines = [self.header, ["---", *["--:"] * (len(self.header) - 1)], *self.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"### {self.title}\n\n{body}\n"


def tables_of(cell: Cell) -> list[Grid]:
    """The columns of the paper's Tab. 3 beside its own, the way to the limit, and the cost."""
    return [paper_columns(cell), limit_columns(cell), cost_columns(cell)]


def paper_columns(cell: Cell) -> Grid:
    """Tab. 3 as measured here; the row below has the paper's own, where it has that policy."""
    rows = []
    for name, result in cell.policies.items():
        rows.append(
            [
                f"`{name}`",
                f"{100 * result.count.average_tokens:.1f} %",
                f"{cell.kv_bytes(name) / 1e6:.1f} ({cell.kv_saving(name):.2f}x)",
                *(
                    _time(result.spread(field), cell.speed_up(name, field))
                    for field in ("prefill_ms", "decode_ms", "total_ms")
                ),
            ]
        )
        if (printed := paper_cells().get(name)) is not None:
            rows.append(["  paper", *printed])
    header = ["policy", "tokens", "KV MB", "prefill ms", "decode ms/token", "total ms"]
    return Grid(f"{_name(cell)} (paper: {SETTING})", header, rows)


def limit_columns(cell: Cell) -> Grid:
    """The prefill of the language model against its limit; medians with quartiles."""
    rows = [
        [
            f"`{name}`",
            _number(result.spread("language_ms")),
            _ratio(cell.speed_up(name, "language_ms")),
            f"{cell.limit(name):.3f}",
            _ratio(cell.share_of_limit(name)),
            f"{cell.causal_limit(name):.3f}",
            f"{cell.share_of_limit(name, causal=True).median:.3f}",
            _number(result.spread("bare_ms")),
            _ratio(cell.share_of_bare(name)),
        ]
        for name, result in cell.policies.items()
    ]
    header = [
        *("policy", "language ms", "speed-up", "limit", "reached", "causal limit", "reached"),
        *("bare ms", "of bare"),
    ]
    return Grid(f"{_name(cell)}: against the limit by FLOPs", header, rows)


def cost_columns(cell: Cell) -> Grid:
    """What pruning itself takes, beside the vision tower, FLOPs and peak memory."""
    rows = [
        [
            f"`{name}`",
            _number(result.spread("vision_ms")),
            _number(result.spread("pruning_ms")),
            _percent(cell.overhead(name)),
            f"{result.count.pruning.total / 1e9:.3f}",
            f"{result.count.language.total / 1e9:.1f}",
            _gib(result.spread("peak_bytes")),
        ]
        for name, result in cell.policies.items()
    ]
    header = [
        "policy",
        "vision ms",
        "pruning ms",
        "of vanilla prefill",
        "pruning GFLOPs",
        "language GFLOPs",
        "peak GiB",
    ]
    return Grid(f"{_name(cell)}: cost of pruning", header, rows)


def _name(cell: Cell) -> str:
    return (
        f"{cell.visual_tokens} visual + {cell.text_tokens} text tokens, batch {cell.batch}, "
        f"{cell.new_tokens} new"
    )


def _time(spread: Spread | None, speed_up: Spread | None) -> str:
    if spread is None or speed_up is None:
        return MISSING
    return f"{_digits(spread.median)} ({speed_up.median:.2f}x)"


def _number(spread: Spread | None) -> str:
    return MISSING if spread is None else _digits(spread.median)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _ratio(spread: Spread | None) -> str:
    """Median and quartiles."""
    if spread is None:
        return MISSING
    return f"{spread.median:.3f} ({spread.low:.3f}{DASH}{spread.high:.3f})"


def _gib(spread: Spread | None) -> str:
    return MISSING if spread is None else f"{spread.median / 2**30:.2f}"


def _percent(spread: Spread) -> str:
    return f"{100 * spread.median:.2f} %"
