"""`job=check_data`: is a benchmark what its configuration says, and what does it look like?"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import datasets
from omegaconf import DictConfig
from rich.table import Table

from ..checks import check_at_least
from ..configuration.build import build_model_spec, build_source
from ..data.batch import Failure, Row
from ..data.batch import decode as decode_row
from ..data.datamodule import check_canonical, choose_subset
from ..data.prompts import for_benchmark, to_messages
from ..data.sample import Sample
from ..data.sources import Source
from ..evaluation.module import target_of
from ..report.console import table_console
from ..report.contact_sheet import Card, draw_contact_sheet

log = logging.getLogger(__name__)


def run(cfg: DictConfig, samples: int, decode: int | None, output_dir: str) -> Path:
    """Loads a benchmark, prints what it holds and draws some of its samples.

    Args:
        cfg: the root configuration, see `conf/config.yaml`.
        samples: how many samples are drawn.
        decode: of how many samples the images are decoded; None = of all.
        output_dir: folder of the picture.

    Returns:
        the picture's path.

    Raises:
        ValueError, FileNotFoundError: the benchmark cannot be had, or is not what is expected.
    """
    check_at_least("job.samples", samples, 1)
    if decode is not None:
        check_at_least("job.decode", decode, 1)
    datasets.disable_progress_bars()
    source, spec = build_source(cfg), build_model_spec(cfg)
    rows = source.load(Path(cfg.paths.cache_dir).expanduser())
    check_canonical(rows, source.name)
    chosen = rows.select(choose_subset(rows["id"], cfg.data.limit, cfg.data.subset_seed))
    tried = chosen.select(range(min(len(chosen), decode or len(chosen))))
    cards, failures = _try(tried, source, for_benchmark(spec.prompts, source.name), samples)
    expected = getattr(source, "expected_samples", None)
    table_console().print(_table(source.name, rows, expected, len(tried), len(failures)))
    for failure in failures:
        log.warning("%s cannot be decoded: %s", failure.sample_id, failure.message)
    path = Path(output_dir).expanduser() / f"{source.name}.png"
    if cards:
        path.parent.mkdir(parents=True, exist_ok=True)
        missing = draw_contact_sheet(cards, path)
        log.info("samples: %s", path)
        if missing:
            log.warning(_without_font(missing))
    return path


def _without_font(missing: frozenset[str]) -> str:
    shown = "".join(sorted(missing)[:20]) + "..." * (len(missing) > 20)
    return (
        f"no installed font has {len(missing)} of the characters ({shown}): the picture says where "
        "they stand, and models get them as they are; a font such as Noto Sans CJK SC shows Chinese"
    )


def _try(
    rows: datasets.Dataset, source: Source, prompts: Mapping[str, str], wanted: int
) -> tuple[list[Card], list[Failure]]:
    """Decodes every row; cards of the first `wanted` that can be."""
    cards: list[Card] = []
    failures: list[Failure] = []
    for row in _undecoded(rows):
        try:
            sample = decode_row(row, source.frames)
        # As in a run: whatever is wrong with one sample, the others are looked at.
        except Exception as error:
            failures.append(Failure(row["id"], row["task"], f"{type(error).__name__}: {error}"))
            continue
        if len(cards) < wanted:
            cards.append(_card(sample, prompts))
    return cards, failures


def _undecoded(rows: datasets.Dataset) -> Iterable[Row]:
    arrow = rows.with_format("arrow")
    for index in range(len(rows)):
        yield from arrow[index : index + 1].to_pylist()


def _card(sample: Sample, prompts: Mapping[str, str]) -> Card:
    """What is drawn of a sample; without a prompt for its task, the question and the options."""
    if sample.task in prompts:
        (turn,) = to_messages(sample, prompts)
        prompt = "".join(part["text"] for part in turn["content"] if part["type"] == "text")
    else:
        prompt = "\n".join([sample.question, *sample.choices])
    return Card(
        title=f"{sample.id} · {sample.task}",
        image=sample.images[len(sample.images) // 2] if sample.images else None,
        note=f"{'frames' if sample.video else 'images'}: {len(sample.images)}",
        prompt=prompt,
        target=target_of(sample),
        boxes=sample.boxes,
    )


def _table(
    name: str, rows: datasets.Dataset, expected: int | None, tried: int, failed: int
) -> Table:
    table = Table(title=name, title_justify="left", box=None, show_header=False)
    table.add_row("samples", f"{len(rows)}, expected {'unknown' if expected is None else expected}")
    for column in ("task", "category"):
        for value, count in sorted(Counter(rows[column]).items()):
            table.add_row(column, f"{value or '-'}: {count}")
    table.add_row("groups", str(len(set(rows["group_id"]))))
    table.add_row("decoded", f"{tried - failed} of {tried} tried")
    return table
