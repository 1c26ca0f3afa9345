"""`python -m ivcprune.testing.golden FOLDER`: the selections of the published code, case by case.

A folder holds `index.json` and npz files of arrays. Under `families` it lists IVC-Prune's cases, in
`<family>.npz`: `<id>/values`, `<id>/keep_img`, and position ids where they are not 0, 1, 2, ...
Under `methods` it lists those of the baselines, see `golden_baselines`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..api import load_policy
from ..models.blocks import Block, visual_tokens
from ..models.deepseek_vl2 import layout, tiling
from ..models.internvl.pictures import Picture, picture_blocks
from ..pruning.sequence.slots import TextTokens
from ..selectors import signals_of
from ..selectors.base import mask_of
from ..tokens.visual import VisualTokens
from . import golden_baselines
from .golden_methods import METHODS
from .signals import RecordedSignals

Arrays = Mapping[str, Any]
Check = Callable[[Path, str], tuple[int, int, list[str]]]
"""Checks the cases of one name: exact ones, all, and those that are wrong."""


def qwen2_5_vl_blocks(case: Mapping[str, Any]) -> list[Block]:
    """An image, or the frames of a video."""
    kind = "image" if case["frames"] == 1 else "frame"
    grid = (case["grid_h"], case["grid_w"])
    return [
        Block.full(0, 0, kind, grid, case["img_start"] + frame * grid[0] * grid[1])
        for frame in range(case["frames"])
    ]


def llava_blocks(case: Mapping[str, Any]) -> list[Block]:
    """One image; with one rotary axis its grid plays no part."""
    return [Block.full(0, 0, "image", (1, case["img_len"]), case["img_start"])]


def internvl_blocks(case: Mapping[str, Any]) -> list[Block]:
    """The tiles of one image and its thumbnail, 16 x 16 tokens each."""
    columns, rows = case["aspect_wh"]
    picture = Picture((rows, columns))
    return picture_blocks(0, 0, case["img_start"], case["n_blocks"], 16, picture)


def deepseek_vl2_blocks(case: Mapping[str, Any]) -> list[Block]:
    """Thumbnail, separator and tiles of one image, at the published sizes."""
    start, grid, size = case["img_start"], tuple(case["tiles_wh"]), tuple(case["image_wh"])
    return layout.image_blocks(0, 0, start, grid, size, tiling.TileGeometry())


@dataclass(frozen=True)
class GoldenFamily:
    """How the cases of one family become visual tokens.

    Attributes:
        family: name of our model family.
        blocks: visual blocks of a case.
        text_skip: tokens after the image that are no text query.
    """

    family: str
    blocks: Callable[[Mapping[str, Any]], list[Block]]
    text_skip: int = 2

    def select(self, case: Mapping[str, Any], arrays: Arrays) -> list[int]:
        """Kept visual tokens, relative to the first one."""
        selector = load_policy("ivc_prune", family=self.family).stages["select"].selector
        tokens = self._tokens(case, arrays).with_signals(
            self._signals(case, arrays), signals_of(selector)
        )
        keep = (mask_of(selector, tokens) | tokens.special) & tokens.valid
        index: list[int] = (tokens.index[keep] - case["img_start"]).sort().values.tolist()
        return index

    def _tokens(self, case: Mapping[str, Any], arrays: Arrays) -> VisualTokens:
        positions = arrays.get(f"{case['id']}/position_ids")
        if positions is None:
            positions = np.arange(case["S"])[None]
        exponents = torch.arange(0, case["rope_dim"], 2) / case["rope_dim"]
        return visual_tokens(
            self.blocks(case),
            torch.from_numpy(positions.astype(np.int64))[:, None],
            case["rope_theta"] ** -exponents,
            seeds=(),
        )

    def _signals(self, case: Mapping[str, Any], arrays: Arrays) -> RecordedSignals:
        index = torch.arange(case["S"])[None]
        end = case["img_start"] + case["img_len"]
        text = (index < case["img_start"]) | (index >= end)
        values = torch.from_numpy(arrays[f"{case['id']}/values"].astype(np.float32))[None]
        return RecordedSignals(
            values=values,
            text=TextTokens.behind(text, [end - 1], self.text_skip),
            valid=torch.ones_like(text),
        )


FAMILIES = {
    "deepseekvl2": GoldenFamily("deepseek_vl2", deepseek_vl2_blocks, text_skip=1),
    "internvl25": GoldenFamily("internvl", internvl_blocks),
    "llava15": GoldenFamily("llava", llava_blocks),
    "qwen25vl": GoldenFamily("qwen2_5_vl", qwen2_5_vl_blocks),
}
"""By the name that the folder gives them."""


def check(folder: Path, name: str) -> tuple[int, int, list[str]]:
    """Exact cases, all cases, and the ids of mismatches that no exact tie explains."""
    cases = json.loads((folder / "index.json").read_text())["families"][name]
    exact, wrong = 0, []
    with np.load(folder / f"{name}.npz") as arrays:
        for case in cases:
            kept = FAMILIES[name].select(case, arrays)
            if kept == sorted(arrays[f"{case['id']}/keep_img"].tolist()):
                exact += 1
            elif not case.get("ivc_tie"):
                wrong.append(case["id"])
    return exact, len(cases), wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ivcprune.testing.golden", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with index.json and <family>.npz")
    folder = parser.parse_args(arguments).folder
    if not (folder / "index.json").is_file():
        print(f"{folder} holds no index.json: give a folder of golden cases", file=sys.stderr)
        return 1
    index = json.loads((folder / "index.json").read_text())
    known: list[tuple[str, Collection[str], Check]] = [
        ("families", FAMILIES, check),
        ("methods", METHODS, golden_baselines.check),
    ]
    if not any(kind in index for kind, *_ in known):
        print(f"{folder}/index.json lists neither families nor methods", file=sys.stderr)
        return 1
    failed = False
    for kind, names, check_one in known:
        for name in index.get(kind, ()):
            if name not in names:
                print(f"{name} skipped: not among the {kind} {', '.join(names)}")
                continue
            exact, total, wrong = check_one(folder, name)
            print(f"{name} {exact}/{total}" + (f"  mismatch: {', '.join(wrong)}" if wrong else ""))
            failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
