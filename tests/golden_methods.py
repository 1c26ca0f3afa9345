"""What the authors' code of newer methods keeps on small inputs, as tokens without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.testing.tokens import TEXT_SKIP
from ivcprune.tokens import VisualTokens

FOLDER = Path(__file__).parent / "data" / "golden_methods"
INDEX = json.loads((FOLDER / "index.json").read_text("utf-8"))
BEFORE = 3


@dataclass(frozen=True, eq=False)
class Case:
    """One input, and what the authors' code made of it.

    Attributes:
        params: settings of that code.
        arrays: by name; `keep` are the numbers of the kept tokens, ascending.
    """

    method: str
    name: str
    params: dict[str, Any]
    arrays: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    @property
    def kept(self) -> list[int]:
        return self["keep"].tolist()

    def tokens(self) -> VisualTokens:
        """Its tokens: one picture, or a video of several frames of the same grid."""
        frames, grid = self.params.get("frames", 1), tuple(self.params["grid"])
        text = self.arrays.get("text", torch.zeros(0, 1))
        after = self.params.get("text", 0) if "sequence" in self.arrays else TEXT_SKIP + len(text)
        tokens = recorded_tokens([RecordedSample((grid,) * frames, BEFORE, after, seed=7)])
        if frames > 1:
            tokens = as_video(tokens)
        if "sequence" in self.arrays:
            tokens = replace(tokens, positions=tokens.index[None])
        return tokens.with_signals(self._signals(tokens, len(text)), tokens.needs)

    def _signals(self, tokens: VisualTokens, n_text: int) -> Any:
        signals: Any = tokens.signals
        given = self.arrays
        if "features" in given:
            signals = replace(signals, tower=given["features"][None])
        if "attention" in given:
            attention = given["attention"].expand(2, 2, -1)
            signals = replace(signals, tower_attention=attention[None])
        if "vision_keys" in given:  # [H, N, D]
            keys = given["vision_keys"].expand(2, 2, -1, -1, -1)
            signals = replace(signals, tower_keys=keys[None])
        if "sequence" in given:  # [S, E], with queries and keys [H, S, D], rotated
            places = torch.arange(len(given["sequence"]))[None, None]
            known = replace(signals.input, embeddings=given["sequence"][None], positions=places)
            rotated = {x: given[x].expand(1, 2, 2, -1, -1, -1) for x in ("queries", "keys")}
            signals = replace(signals, input=known, **rotated)
        if "embeddings" in given:
            length = BEFORE + len(given["embeddings"]) + TEXT_SKIP + n_text
            states = torch.zeros(length, given["embeddings"].shape[1])
            states[BEFORE : BEFORE + len(given["embeddings"])] = given["embeddings"]
            if n_text:
                states[-n_text:] = given["text"]
            states = states[None]
            signals = replace(
                signals, states=states, input=replace(signals.input, embeddings=states)
            )
        return signals


def as_video(tokens: VisualTokens) -> VisualTokens:
    """The same tokens, the images of each sample as frames of one video."""
    rows = tuple(replace(row, image=0, kind="frame") for row in tokens.rows)
    return replace(tokens, rows=rows, blocks=rows, _memo={})


def cases(method: str) -> Iterator[Case]:
    """Every stored case of a method."""
    with np.load(FOLDER / f"{method}.npz") as stored:
        arrays = {key: torch.from_numpy(stored[key]) for key in stored.files}
    for name, params in INDEX[method]["cases"].items():
        own = {k.split("/")[1]: x for k, x in arrays.items() if k.split("/")[0] == name}
        yield Case(method, name, params, own)
