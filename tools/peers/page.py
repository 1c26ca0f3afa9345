"""The page of the results."""

from __future__ import annotations

from typing import Any

HEAD = """# Ours beside its peers

Time and memory of this project's `prune`, of the published IVC-Prune code and of kvpress, on the
same random weights (Qwen2.5-VL's architecture, 14 layers of 768, 12 / 2 heads, a vocabulary of
2,048) and the same inputs. Each side is a process of its own with its own versions; the runs take
turns, every second round backwards, and each ratio is of two runs of one round: ours / theirs,
medians (quartiles), below 1 where ours needs less. By CPU time unless it says wall: other work on a
machine disturbs that less.

Both sides are measured without pruning, too (`none`). **What those rows show is the transformers
version's and not ours.** "Net" is what pruning leaves of its own side's unpruned time, ours /
theirs.

The published code prunes on FlashAttention only. On a CPU its calls are answered by PyTorch's
`scaled_dot_product_attention`, in the decoder and in the vision tower (a stand-in package; its
files are unchanged). In the rows `sdpa tower` the vision tower takes transformers 4.51.3's own SDPA
path instead, which makes masks of patches x patches.
"""
TAIL = """## How to repeat it

```bash
git clone {repository} .venvs/published
git -C .venvs/published checkout {commit}
make peers PUBLISHED=.venvs/published
```

The readings took {minutes} minutes of one core; a run goes on where it was stopped. "Extra peak" is
resident memory above what there was before the run, read in a pass of its own in which the
allocator gives freed memory back at once (on a GPU, allocated memory). `peers.json` has every
reading.
"""
COMPARED = (
    *("theirs", "ours", "prefill", "per token", "total", "total, wall", "samples a second"),
    *("net, total", "extra peak", "kept by both", "equal answers"),
)
OF_RUNS = (
    "run",
    "prefill, ms",
    "per token, ms",
    "total, ms",
    "samples a second",
    "extra peak, MiB",
)


def page(record: dict[str, Any]) -> str:
    """The record of `python -m tools.peers` as Markdown."""
    facts = record["facts"]
    versions = "; ".join(
        f"{name}: transformers {found['transformers']}, torch {found['torch']}"
        for name, found in facts["versions"].items()
    )
    lines = [
        HEAD,
        f"{facts['device']}, {facts['cpu_threads']} thread a process; {versions}.",
        f"Tokens are chosen at layer {facts['layer']} of 14; half of the visual ones stay.",
        "",
    ]
    for side, reason in record["left_out"].items():
        lines += [f"Left out here: {side}: {reason}", ""]
    for name, case in record["cases"].items():
        lines += _case(name, case, facts)
    repository, commit = facts["published"].split()
    seconds = sum(_seconds(case) for case in record["cases"].values())
    lines.append(TAIL.format(repository=repository, commit=commit, minutes=round(seconds / 60)))
    return "\n".join(lines)


def _case(name: str, case: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    visual, new = case["visual_tokens"], facts["new_tokens"]
    title = f"## {name}: {visual:,} visual tokens, {facts['text_tokens']} of text, {new} new ones"
    lines = [title, "", f"{case['rounds']} rounds.", "", *_header(COMPARED, 2)]
    for theirs, one in case["ours_over_theirs"].items():
        seconds, agreed = one["seconds"], one["agreement"]
        parts = [_spread(seconds[part]["cpu"]) for part in ("prefill", "decode", "total")]
        net = _spread(one["net_of_bare"]["total"]) if "net_of_bare" in one else ""
        kept = f"{agreed['kept_by_both']:,} of {agreed['kept']:,}" if "kept" in agreed else ""
        rate = 1 / seconds["total"]["cpu"]["median"]
        cells = [theirs, one["ours"], *parts, _spread(seconds["total"]["wall"]), f"{rate:.2f}", net]
        cells += [f"{one['peak']:.2f}", kept, f"{agreed['answers_equal']} of {agreed['samples']}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_header(OF_RUNS, 1)]
    for run, found in case["runs"].items():
        cells = [f"{found[key]:,.1f}" for key in ("prefill_ms", "token_ms", "total_ms")]
        cells += [f"{found['samples_per_cpu_second']:.3f}", f"{case['peak_mib'][run]:,.0f}"]
        lines.append(f"| {run} | {' | '.join(cells)} |")
    return [*lines, ""]


def _header(names: tuple[str, ...], words: int) -> list[str]:
    """Two lines of a table whose first columns, so many, hold words and the others numbers."""
    rule = "---|" * words + "--:|" * (len(names) - words)
    return [f"| {' | '.join(names)} |", f"|{rule}"]


def _seconds(case: dict[str, Any]) -> float:
    return sum(one["total"][1] for readings in case["readings"] for one in readings.values())


def _spread(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
