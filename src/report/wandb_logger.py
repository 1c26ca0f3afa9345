"""Weights & Biases: one W&B run per run directory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import wandb
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from ..runs.read import Row, Run, load_run, load_runs
from .overlay import draw_overlay
from .run_summary import summary

logger = logging.getLogger(__name__)

MODES = ("auto", "online", "offline")
COLUMNS = (
    "sample_id",
    "task",
    "question",
    "prediction",
    "parsed",
    "target",
    "score",
    "n_visual",
    "n_kept",
)
STAGING = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")


@dataclass(frozen=True)
class WandbLogger:
    """Sends configuration, figures and a table of samples; everything it stages is in the run
    directory, so that an offline run can be sent later with `wandb sync`.

    Attributes:
        project: W&B project.
        entity: user or team; None = the default of the account.
        mode: "online", "offline", or "auto" = online where an API key is configured.
        max_samples: rows of the sample table; those with an overlay come first.
        timeout: seconds to wait for W&B; then the run is kept offline.
    """

    project: str = "ivcprune"
    entity: str | None = None
    mode: str = "auto"
    max_samples: int = 100
    timeout: float = 60

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"logger.mode is {self.mode!r}: choose one of {', '.join(MODES)}")
        if not self.project:
            raise ValueError("logger.project is empty: name a W&B project")
        if self.max_samples < 0:
            raise ValueError(f"logger.max_samples is {self.max_samples}: 0 rows or more")
        if self.timeout <= 0:
            raise ValueError(f"logger.timeout is {self.timeout}: more than 0 seconds")

    def check(self) -> None:
        if self.mode == "online" and not has_credentials():
            raise ValueError(
                "logger.mode is 'online' but no W&B API key is configured: run `wandb login`, "
                "set WANDB_API_KEY, or use logger.mode=offline"
            )

    def log(self, run_dir: Path, cfg: DictConfig) -> None:
        result = load_run(run_dir)
        figures = summary(result, load_runs(run_dir.parent))
        with _staged_in(run_dir / "wandb"):
            run = self._start(result, run_dir, cfg)
            try:
                run.log({"samples": _sample_table(result, self.max_samples)})
                run.summary.update(figures)
            finally:
                # Without it the next run of a sweep would be logged into this one.
                run.finish()
            offline = f"kept offline; send it with `wandb sync {run.sync_dir}`"
            logger.info("W&B: %s", offline if run.offline else run.url)

    def _start(self, result: Run, run_dir: Path, cfg: DictConfig) -> wandb.Run:
        """The W&B run; an offline one where W&B cannot be reached or refuses."""
        mode = self._resolved_mode()
        if mode == "online":
            try:
                return self._init(result, run_dir, cfg, mode)
            except wandb.Error as error:
                logger.warning("W&B cannot be used now: %s", " ".join(str(error).split()))
                wandb.teardown()  # its background process would call the run's id taken
        return self._init(result, run_dir, cfg, "offline")

    def _init(
        self, result: Run, run_dir: Path, cfg: DictConfig, mode: Literal["online", "offline"]
    ) -> wandb.Run:
        return wandb.init(
            project=self.project,
            entity=self.entity,
            id=result.key,
            resume="allow",
            name=_name(result),
            group=cfg.experiment_name,
            job_type="predict",
            tags=[cfg.model.family],
            config=cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)),
            mode=mode,
            dir=run_dir,
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                init_timeout=self.timeout,
            ),
        )

    def _resolved_mode(self) -> Literal["online", "offline"]:
        if self.mode == "auto":
            return "online" if has_credentials() else "offline"
        return cast(Literal["online", "offline"], self.mode)


def _name(run: Run) -> str:
    """Policy, data and measured share of tokens, e.g. "ivc_prune/scenes/0.50"."""
    share = "none" if run.average_tokens is None else f"{run.average_tokens:.2f}"
    return f"{run.policy}/{run.data}/{share}"


def has_credentials() -> bool:
    """Whether W&B would find an API key or an identity token without asking."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc(path).authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False


def _sample_table(run: Run, limit: int) -> wandb.Table:
    maps = run.token_maps()
    rows = sorted(run.samples(), key=lambda row: row["sample_id"] not in maps)[:limit]
    table = wandb.Table(columns=[*COLUMNS, "tokens"])
    for row in rows:
        overlay = _overlay(run.folder, maps.get(row["sample_id"]))
        table.add_data(*(row[column] for column in COLUMNS), overlay)
    return table


def _overlay(folder: Path, tokens: Row | None) -> wandb.Image | None:
    if tokens is None:
        return None
    with Image.open(folder / tokens["image_file"]) as image:
        return wandb.Image(draw_overlay(image, tokens), file_type="jpg")


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """W&B stages files in the home directory unless these variables say otherwise, and has no
    setting for it. Variables of the user are left alone; all is as before afterwards."""
    added = [name for name in STAGING if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(folder)))
    try:
        yield
    finally:
        # Its background process would keep these folders for the next run of a sweep.
        wandb.teardown()
        for name in added:
            del os.environ[name]
