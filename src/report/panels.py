"""Where runs stand in plots: at their average tokens, and at the setting that they differ in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from ..runs.settings import canonical, choices_of
from .comparison import Entry

APART = 1.0
"""Percentage points by which the runs of a line differ where their tokens tell them apart."""
ALIKE = 3.0
"""Percentage points within which runs of several policies count as of one cost."""
BUDGETS = ("average_tokens", "keep")
"""Ends of the names of settings that are seen in the tokens, and need no plot of their own."""
NO_SCALES = ("seed",)
"""Ends of the names of settings whose numbers are mere names."""


@dataclass(frozen=True)
class Point:
    x: float
    entry: Entry


@dataclass(frozen=True)
class Line:
    """Runs that are joined, ascending in `x`; often one alone."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Panel:
    """What is drawn over one axis.

    Attributes:
        setting: short name of the setting on the axis; None for the average tokens in percent.
    """

    setting: str | None
    lines: tuple[Line, ...]

    @property
    def common_tokens(self) -> float | None:
        """The average tokens in percent of several single runs that were brought to one cost.

        Over the tokens they would lie on each other; None where tokens tell them apart.
        """
        shares = [tokens_of(point.entry) for line in self.lines for point in line.points]
        if self.setting is not None or not 1 < len(shares) == len(self.lines):
            return None
        return fmean(shares) if max(shares) - min(shares) < ALIKE else None


@dataclass(frozen=True)
class Sweep:
    """Runs of one policy, at least two, that differ in one number alone.

    Attributes:
        setting: its dotted name.
        entries: ascending in it.
    """

    setting: str
    entries: tuple[Entry, ...]

    @property
    def is_of_budget(self) -> bool:
        return self.setting.rpartition(".")[2] in BUDGETS

    @property
    def is_told_by_tokens(self) -> bool:
        shares = sorted(tokens_of(entry) for entry in self.entries)
        return all(after - before >= APART for before, after in pairwise(shares))

    @property
    def short(self) -> str:
        return self.entries[0].name.short[self.setting]


def panels_of(entries: Sequence[Entry]) -> list[Panel]:
    """The pruned runs over their average tokens, then over each setting that was swept.

    A sweep of the budget is a line over the tokens. One of another number, such as the layer, is a
    line over that number, beside single runs that have it too and as many tokens; over the tokens
    it is drawn as well where these tell its runs apart, else they would lie on each other.
    """
    pruned = [e for e in entries if not e.run.is_vanilla and e.run.average_tokens is not None]
    sweeps = [sweep for members in _by_policy(pruned) for sweep in _sweeps(members)]
    swept = {entry.run.key for sweep in sweeps for entry in sweep.entries}
    singles = [entry for entry in pruned if entry.run.key not in swept]
    over_tokens = [*_lines_over_tokens(sweeps)]
    over_tokens += [Line(e.label, (Point(tokens_of(e), e),)) for e in singles]
    panels = [Panel(None, _ordered(over_tokens, pruned))] if over_tokens else []
    for name in dict.fromkeys(sweep.setting for sweep in sweeps):
        of_name = [s for s in sweeps if s.setting == name]
        if all(s.is_of_budget and s.is_told_by_tokens for s in of_name):
            continue
        lines = [_line_over_setting(sweep) for sweep in of_name]
        lines += [
            Line(e.label, (Point(x, e),))
            for e in singles
            if (x := _number(e, name)) is not None and _is_as_costly(e, of_name)
        ]
        panels.append(Panel(of_name[0].short, _ordered(lines, pruned)))
    return panels


def tokens_of(entry: Entry) -> float:
    """Measured share of the visual tokens in percent."""
    return 100 * (entry.run.average_tokens or 0.0)


def _is_as_costly(entry: Entry, sweeps: Sequence[Sweep]) -> bool:
    """Whether the run keeps about as many tokens as one of the sweeps' runs."""
    others = [tokens_of(other) for sweep in sweeps for other in sweep.entries]
    return any(abs(tokens_of(entry) - share) < APART for share in others)


def _by_policy(entries: Sequence[Entry]) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.name.policy].append(entry)
    return list(groups.values())


def _sweeps(entries: Sequence[Entry]) -> list[Sweep]:
    """Of the runs of one policy; budgets first."""
    names = dict.fromkeys(name for entry in entries for name in entry.name.settings)
    sweeps = []
    for name in names:
        groups: dict[str, list[tuple[float, Entry]]] = defaultdict(list)
        for entry in entries:
            rest = {n: value for n, value in entry.name.settings.items() if n != name}
            if (x := _number(entry, name)) is not None:
                groups[canonical(rest)].append((x, entry))
        for members in groups.values():
            if len({x for x, _ in members}) > 1:
                members.sort(key=lambda member: member[0])
                sweeps.append(Sweep(name, tuple(entry for _, entry in members)))
    return sorted(sweeps, key=lambda sweep: not sweep.is_of_budget)


def _lines_over_tokens(sweeps: Sequence[Sweep]) -> list[Line]:
    """Each run once, also where it belongs to two sweeps."""
    lines: list[Line] = []
    drawn: set[str] = set()
    for sweep in sweeps:
        keys = {entry.run.key for entry in sweep.entries}
        if sweep.is_told_by_tokens and not keys & drawn:
            drawn |= keys
            points = sorted((Point(tokens_of(e), e) for e in sweep.entries), key=lambda p: p.x)
            name, ends = sweep.entries[0].name, (sweep.entries[0], sweep.entries[-1])
            low, high = (entry.name.settings[sweep.setting] for entry in ends)
            note = "" if sweep.is_of_budget else f"{sweep.short} {low} to {high}"
            lines.append(Line(name.without(sweep.setting, note), tuple(points)))
    return lines


def _line_over_setting(sweep: Sweep) -> Line:
    points = [Point(_number(e, sweep.setting) or 0.0, e) for e in sweep.entries]
    return Line(sweep.entries[0].name.without(sweep.setting), tuple(points))


def _number(entry: Entry, setting: str) -> float | None:
    """The run's value of a setting; None where it has none, or none with a scale."""
    value = choices_of(entry.run).get(setting)
    if setting.rpartition(".")[2] in NO_SCALES or isinstance(value, bool):
        return None
    return float(value) if isinstance(value, int | float) else None


def _ordered(lines: Sequence[Line], entries: Sequence[Entry]) -> tuple[Line, ...]:
    """In the order of the table, by the first of their runs."""
    place = {entry.run.key: i for i, entry in enumerate(entries)}
    return tuple(sorted(lines, key=lambda line: min(place[p.entry.run.key] for p in line.points)))
