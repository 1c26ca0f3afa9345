"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

MIN_WIDTH = 100
"""Columns where the output is no terminal, and so has no width of its own."""


def table_console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    return console
