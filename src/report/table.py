"""The comparison as a table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from . import formats
from .comparison import Cell, Comparison, Entry

RANK_STYLES = {None: "", 1: "bold", 2: "underline"}


def render(comparison: Comparison) -> Group:
    """A rich table with title and legend; two tasks and no long names fit into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("policy", overflow="fold")
    for name in ("tokens\nKV/sample", *comparison.tasks, "rel.\navg. %", "Δ to\nvanilla", "n"):
        table.add_column(name, justify="right")
    for entry in comparison.entries:
        table.add_row(*_cells(entry, comparison.tasks), end_section=entry.run.is_vanilla)
    return Group(Text(_title(comparison), style="bold"), "", table, "", _legend(comparison))


def _title(comparison: Comparison) -> str:
    setting = f" ({comparison.setting})" if comparison.setting else ""
    return f"{comparison.model} on {comparison.data}{setting}"


def _cells(entry: Entry, tasks: tuple[str, ...]) -> list[Text]:
    run = entry.run
    return [
        Text(entry.label),
        _lines(formats.share(run.average_tokens), formats.size(run.kv_bytes)),
        *(_score(entry.cells.get(task)) for task in tasks),
        Text(formats.number(entry.average), style=RANK_STYLES[entry.average_rank]),
        _difference(entry),
        Text(str(run.n)),
    ]


def _score(cell: Cell | None) -> Text:
    """Score and mark, interval, and the score relative to vanilla: a line each."""
    if cell is None:
        return Text(formats.MISSING)
    value = Text.assemble(
        (formats.number(cell.score.value), RANK_STYLES[cell.rank]), formats.mark(cell.difference)
    )
    relative = [formats.percent(cell.relative)] if cell.relative is not None else []
    return _lines(value, formats.interval(cell.score), *relative)


def _difference(entry: Entry) -> Text:
    if entry.difference is None:
        return Text(formats.MISSING)
    mean = formats.signed(entry.difference.value) + formats.mark(entry.difference)
    return _lines(mean, formats.bounds(entry.difference))


def _lines(first: str | Text, *others: str) -> Text:
    return Text.assemble(first, *((f"\n{other}", "dim") for other in others))


def notes(comparison: Comparison) -> list[str]:
    """Units other than percent, unread replies, readings that differ, what judges settled."""
    units = {name: unit for entry in comparison.entries for name, unit in entry.run.units.items()}
    said = [words for entry in comparison.entries for words in _of_replies(entry)]
    return [
        *(f"{name}: in {units[name]}" for name in comparison.tasks if name in units),
        *filter(None, said),
    ]


def _of_replies(entry: Entry) -> list[str]:
    run = entry.run
    published = run.published.scores if run.published else {}
    differing = formats.differing_readings(
        {name: score.value for name, score in run.shown.items()},
        {name: score.value for name, score in published.items()},
    )
    return [
        formats.unread(entry.label, run.unread, run.n - run.errors),
        *(f"{entry.label}, {words}" for words in differing),
        formats.judged(entry.label, run.judge),
    ]


def _legend(comparison: Comparison) -> Text:
    lines = ["tokens: measured share of the visual tokens in the KV cache"]
    if comparison.vanilla:
        lines.append("tasks: score in %, 95 % interval, score relative to vanilla (none)")
        lines.append("Δ: mean paired difference in points, 95 % interval; ▲ ▼ beyond it")
    else:
        lines.append("tasks: score in %, 95 % interval; run policy=none to compare with vanilla")
    lines.append("bold: best pruned policy; underlined: second best")
    lines += notes(comparison)
    lines += [
        f"{entry.label}: {entry.run.errors} of {entry.run.n} samples failed"
        for entry in comparison.entries
        if entry.run.errors
    ]
    return Text("\n".join(lines), style="dim")
