"""Pictures of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

VALIDATED = {
    "val/grounding": "grounding, IoU ≥ 0.5",
    "val/vqa": "VQA, exact match",
    "val/scenes_read": "reading, whole page",
    "val/scenes_lookup": "looking up, exact match",
}


def plot(metrics: Path, picture: Path) -> None:
    """Draws validation accuracy (percent) and training loss over the steps.

    Args:
        metrics: CSV file of Lightning's `CSVLogger`.
        picture: file to write; its suffix decides the format.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    accuracy = figure.subplots()
    for column, label in VALIDATED.items():
        steps, values = _column(metrics, column)
        if steps:
            accuracy.plot(steps, [100 * value for value in values], marker=".", label=label)
    accuracy.set(xlabel="step", ylabel="validation accuracy (%)", ylim=(0, 103))
    accuracy.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=len(VALIDATED), fontsize=8)
    loss = accuracy.twinx()
    loss.plot(*_column(metrics, "train/loss"), color="grey", alpha=0.5, linewidth=0.8)
    loss.set(ylabel="training loss of answers (grey)")
    figure.savefig(picture, dpi=120)


def _column(metrics: Path, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a column, without rows that leave it empty; none of a missing one."""
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [int(row["step"]) for row in rows], [float(row[name]) for row in rows]
