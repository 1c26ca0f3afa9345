"""`ivcprune job=report`: one table over the runs of an experiment, and a page to show."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from ..configuration.build import build_model_spec
from ..configuration.data_groups import data_pools
from ..report.comparison import compare
from ..report.html import render_page
from ..report.leave_out import leave_out, read_samples
from ..report.paper.job import report_tables
from ..report.pooling import pooled_runs
from ..report.table import render
from ..runs.read import VANILLA, load_layer_runs, load_runs, unfinished_runs

MIN_WIDTH = 120
"""Columns that the table is given where the output is no terminal."""


def run(
    cfg: DictConfig, gallery: int = 6, without: str | None = None, efficiency: str | None = None
) -> None:
    """Prints the comparison of all finished runs and writes `report.html` beside them.

    Of an experiment of the paper, its tables are printed in the place of the comparisons; of a
    figure that needs no run, it is drawn.

    Args:
        cfg: the root configuration; `paths.output_dir` and `experiment_name` say which runs.
        gallery: how many samples are shown in pictures.
        without: a `layer_choice.json`, whose samples are left out of every figure.
        efficiency: an `efficiency.json`, whose times join the paper's Tab. 3 and the leaderboard.

    Raises:
        FileNotFoundError: the experiment has no finished run.
        ValueError: `gallery` is negative, or a run directory is damaged.
    """
    if gallery < 0:
        raise ValueError(f"job.gallery is {gallery}: ask for 0 samples or more")
    experiment = Path(cfg.paths.output_dir).expanduser() / cfg.experiment_name
    if drawings := cfg.get("drawings"):
        from ..report.paper.drawings import write_drawings  # needs PyTorch, the tables do not

        write_drawings(drawings, experiment, Console())
        return
    runs = load_runs(experiment)
    if without is not None:
        samples = read_samples(without)
        runs = [rest for run in runs if (rest := leave_out(run, samples)).n]
    unfinished = unfinished_runs(experiment)
    tables = cfg.get("paper") or []
    layer_runs = load_layer_runs(experiment) if tables else []
    if not runs and not layer_runs:
        raise FileNotFoundError(_nothing_found(experiment, cfg.experiment_name, len(unfinished)))
    comparisons = compare([*runs, *layer_runs, *pooled_runs(runs, data_pools())])
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    for comparison in comparisons if not tables else []:
        console.print(render(comparison))
        console.print()
    written: list[Path] = []
    if tables:
        measured = [run.as_published() for run in runs]
        of_layers = [run.as_published() for run in layer_runs]
        written = report_tables(tables, experiment, measured, of_layers, console, efficiency)
    if cfg.get("leaderboard"):
        from ..report.leaderboard.job import write_leaderboard  # composes policies: PyTorch again

        shares = [float(asked) for asked in cfg.leaderboard.shares]
        methods, spec = _methods(cfg), build_model_spec(cfg)
        written += write_leaderboard(shares, methods, spec, experiment, runs, efficiency)
    if without is not None:
        console.print(
            f"{samples.data} without the samples of {without}, by its tasks' means\n",
            highlight=False,
            soft_wrap=True,
        )
    if unfinished:
        console.print(f"not shown, unfinished: {', '.join(unfinished)}\n", highlight=False)
    page = experiment / "report.html"
    page.write_text(render_page(cfg.experiment_name, comparisons, unfinished, gallery), "utf-8")
    console.print(f"runs:   {experiment.resolve()}", highlight=False, soft_wrap=True)
    for path in (*written, page):
        console.print(f"report: {path.resolve()}", highlight=False, soft_wrap=True)


def _nothing_found(experiment: Path, name: str, unfinished: int) -> str:
    state = f"only unfinished runs ({unfinished})" if unfinished else "no runs"
    return (
        f"{state} in {experiment}: make them with `ivcprune -m experiment={name}`, "
        "or name another experiment with `experiment_name=...`"
    )


def _methods(cfg: DictConfig) -> list[str]:
    """All policies of the experiment but vanilla, and those that it names as out of reach."""
    names: dict[str, None] = {}
    for sweep in cfg.get("sweeps") or ():
        policies = [sweep.policy] if isinstance(sweep.policy, str) else sweep.policy
        names |= dict.fromkeys(policies)
    names |= dict.fromkeys(cfg.leaderboard.get("unreached") or ())
    return [name for name in names if name != VANILLA]
