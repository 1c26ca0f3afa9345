"""Where samples come from: each source loads one benchmark as a canonical dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from datasets import Dataset

from ..checks import check_at_least, check_choice
from .frames import FrameSampler
from .scenes import load_scenes
from .scenes.dataset import CONTENT_OF
from .scenes.pages import Layout
from .scenes.scene import SPLITS, Split


class Source(Protocol):
    """One benchmark, configured by `conf/data/<name>.yaml`."""

    @property
    def name(self) -> str:
        """What runs, tables and files call the benchmark."""

    def load(self, cache_dir: Path) -> Dataset:
        """All samples in the columns of `ivcprune.data.sample.FEATURES`, in a fixed order.

        What is generated or converted is kept under `cache_dir`. Several processes may load at
        once. Images are not decoded here: a corrupt one must cost its own sample only.
        """

    @property
    def frames(self) -> FrameSampler | None:
        """Which frames of a video are shown; None for a benchmark of images."""


@dataclass(frozen=True)
class ScenesSource:
    """The built-in benchmark of coloured shapes; see `ivcprune.data.scenes`.

    Attributes:
        split: "train", "validation" or "test"; no scene is in two of them.
        size: number of samples to generate.
        seed: another seed gives other scenes of the same split.
    """

    name: str = "scenes"
    split: Split = "test"
    size: int = 1200
    seed: int = 0
    frames: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"data.split is {self.split!r}: choose one of {list(SPLITS)}")
        check_at_least("data.size", self.size, 1)
        check_at_least("data.seed", self.seed, 0)

    def files(self) -> list[Path]:
        """None: samples follow from the settings."""
        return []

    def load(self, cache_dir: Path) -> Dataset:
        return load_scenes(self.split, self.size, self.seed, cache_dir)


@dataclass(frozen=True)
class PagesSource(ScenesSource):
    """Built-in pages with strings of capitals and digits.

    Attributes:
        layout: "read", where all strings are asked for, or "lookup", where one of them is.
    """

    name: str = "scenes_read"
    layout: Layout = "read"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.layout", self.layout, CONTENT_OF)

    def load(self, cache_dir: Path) -> Dataset:
        content = CONTENT_OF[self.layout]
        return load_scenes(self.split, self.size, self.seed, cache_dir, content)
