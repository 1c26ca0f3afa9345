"""What `job=report` adds for an experiment of the paper: its tables, in every form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ...runs.read import Run
from . import latex, markdown, terminal
from .layout import lay_out
from .measured import LAYER, Measurements
from .page import Section, render_page
from .plots import BREAKDOWN, LAYERS, TRADE_OFF, draw_breakdown, draw_layer_sweeps, draw_trade_offs
from .published import PublishedTable, load_table
from .samples import draw_samples
from .timings import find_timings
from .transposed import transpose


def report_tables(
    names: Sequence[str],
    experiment: Path,
    runs: Sequence[Run],
    layer_runs: Sequence[Run],
    console: Console,
    efficiency: str | None = None,
) -> list[Path]:
    """Prints the tables and writes `paper.md`, `paper.tex` and `paper.html` beside the runs.

    Args:
        names: of `tables/<name>.yaml`.
        experiment: folder of the runs.
        layer_runs: those of `job=select_layer`; only a table of chosen layers takes them.
        efficiency: file with times for Tab. 3; None = `efficiency.json` in that folder, if any.

    Returns:
        What was written.

    Raises:
        FileNotFoundError, ValueError: there is no table of a name, or no times in the file.
    """
    timings = find_timings(experiment, efficiency)
    measurements = Measurements(runs, timings)
    swept = Measurements([*runs, *layer_runs], timings)
    published = [load_table(name) for name in names]
    sections = [
        _section(table, swept if any(c.figure == LAYER for c in table.columns) else measurements)
        for table in published
    ]
    tables = [section.table for section in sections]
    for table in tables:
        console.print(terminal.render(table))
        console.print()
    pictures = [picture for table in published for picture in draw_samples(table, measurements)]
    contents = {
        "paper.md": "\n".join(map(markdown.render, tables)),
        "paper.tex": "\n".join(map(latex.render, tables)),
        "paper.html": render_page(experiment.name, sections, pictures),
    }
    for name, content in contents.items():
        (experiment / name).write_text(content, "utf-8")
    return [experiment / name for name in contents]


def _section(published: PublishedTable, measurements: Measurements) -> Section:
    table = lay_out(published, measurements)
    if published.methods_as_columns:
        return Section(transpose(table), draw_breakdown(table), BREAKDOWN)
    if sweeps := draw_layer_sweeps(published, measurements):
        return Section(table, sweeps, LAYERS)
    return Section(table, draw_trade_offs(table), TRADE_OFF)
