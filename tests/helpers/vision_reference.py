"""What the eager vision tower of a tiny model computes for each picture, with all its weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ivcprune.models.registry import family_of_model
from ivcprune.selectors import Selector
from ivcprune.tokens import FROM_VISION_TOWER, VisualTokens

SIGNALS = [(queries, depth) for queries in ("cls", "mean") for depth in ("early", "late")]

Picture = dict[Any, Tensor]
"""By (queries, depth) what its tokens receive `[T]`; by "features" their features `[T, E]`."""


@dataclass(frozen=True, eq=False)
class Probe(Selector):
    """Keeps everything, and writes down the signals of each row, without padding."""

    found: list[list[Picture]] = field(default_factory=list)

    needs = FROM_VISION_TOWER

    def select(self, tokens: VisualTokens) -> Tensor:
        tables: Picture = {"features": tokens.features()}
        for queries, depth in SIGNALS:
            tables[queries, depth] = tokens.vision_attention(queries, depth=depth)
        self.found.append(
            [
                {name: table[row, :count] for name, table in tables.items()}
                for row, count in enumerate(tokens.count)
            ]
        )
        return tokens.valid


def eager_pictures(model: Any, inputs: Mapping[str, Any]) -> list[Picture]:
    """Every picture that a forward call encodes, in the order of encoding."""
    tower = family_of_model(model).vision_tower(family_of_model(model).core(model))
    with _eager(model), _observed(tower.attention) as weights, torch.no_grad():
        if hasattr(tower.module, "merger"):
            return _packed(model, inputs, tower.module, weights)
        return _batched(model, inputs, weights)


def on_canvas(pictures: Sequence[Picture], grids: Sequence[tuple[int, int]]) -> list[Picture]:
    """DeepSeek-VL2's rows of images: thumbnail, separator, canvas; 0 for newlines and separators.

    Args:
        pictures: thumbnail and tiles of each image.
        grids: rows and columns of each image's tiles.
    """
    left = iter(pictures)
    rows: list[Picture] = []
    for height, width in grids:
        nothing = {name: torch.zeros(1, *x.shape[1:]) for name, x in pictures[0].items()}
        tiles = [[next(left)], [next(left) for _ in range(height * width)]]
        rows += [_canvas(tiles[0], 1), nothing, _canvas(tiles[1], width)]
    return rows


def _canvas(tiles: Sequence[Picture], width: int) -> Picture:
    lines = [tiles[i : i + width] for i in range(0, len(tiles), width)]
    joined: Picture = {}
    for name, signal in tiles[0].items():
        n = round(len(signal) ** 0.5)
        square = (n, n, *signal.shape[1:])
        grid = torch.cat(
            [torch.cat([tile[name].view(square) for tile in line], dim=1) for line in lines]
        )
        newline = torch.zeros(len(grid), 1, *signal.shape[1:])
        joined[name] = torch.cat([grid, newline], dim=1).flatten(0, 1)
    return joined


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    yield
    model.set_attn_implementation(before)


@contextmanager
def _observed(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """The weights `[P, P]` of each picture in these layers, heads averaged."""
    weights: dict[str, list[Tensor]] = {depth: [] for depth in layers}
    source = sys.modules[type(layers["late"]).__module__]
    eager = source.eager_attention_forward

    def observed(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = eager(layer, *args, **kwargs)
        for depth in (depth for depth, each in layers.items() if each is layer):
            weights[depth] += result[1].mean(dim=1).unbind()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "eager_attention_forward", observed)
        yield weights


def _packed(model: Any, inputs: Any, tower: Any, weights: dict[str, list[Tensor]]) -> list[Picture]:
    """Qwen's towers: the order of tokens is read off what the merger does before it is undone."""
    given: list[Tensor] = []
    own: list[Tensor] = []
    ordered: list[Tensor] = []
    hooks = [
        tower.merger.register_forward_hook(
            lambda _, args, out: (given.append(args[0]), own.append(out))[0]
        ),
        tower.register_forward_hook(lambda _, args, out: ordered.append(out.pooler_output)),
    ]
    model(**inputs)
    for hook in hooks:
        hook.remove()
    orders, start = [], 0
    for before, after in zip(own, ordered, strict=True):
        orders.append(start + torch.cdist(after, before).argmin(dim=1))
        start += len(before)
    order = torch.cat(orders)
    assert order.sort().values.tolist() == list(range(start))
    flat: Picture = {"features": torch.cat(given).view(start, 4, -1).mean(dim=1)[order]}
    for queries, depth in SIGNALS:
        patches = torch.cat([picture.mean(dim=0) for picture in weights[depth]])
        flat[queries, depth] = patches.view(start, 4).mean(dim=1)[order]
    sizes = [len(picture) // 4 for picture in weights["late"]]
    split = {name: x.split(sizes) for name, x in flat.items()}
    return [{name: split[name][i] for name in split} for i in range(len(sizes))]


def _batched(model: Any, inputs: Any, weights: dict[str, list[Tensor]]) -> list[Picture]:
    """Squares of patches in raster order become tokens; CLIP and InternViT have a class token."""
    result = model.model.vision_tower(
        pixel_values=inputs["pixel_values"], output_hidden_states=True
    )
    ratio = getattr(model.config, "downsample_ratio", 1)
    merge = round(max(ratio, 1 / ratio))
    first = int(hasattr(model.config, "vision_feature_layer"))
    if first:
        hidden = result.hidden_states[model.config.vision_feature_layer][:, 1:]
    else:
        hidden = result.last_hidden_state
    side = round(hidden.shape[1] ** 0.5)

    def merged(patches: Tensor) -> Tensor:
        grid = patches.view(side, side, -1)
        corners = range(0, side, merge)
        squares = [grid[r : r + merge, c : c + merge] for r in corners for c in corners]
        return torch.stack([square.mean(dim=(0, 1)) for square in squares])

    pictures: list[Picture] = []
    for i, states in enumerate(hidden):
        picture: Picture = {"features": merged(states)}
        for depth in ("early", "late"):
            rows = weights[depth][i]
            picture["mean", depth] = merged(rows[first:, first:].mean(dim=0))[:, 0]
            picture["cls", depth] = merged(rows[0, 1:])[:, 0] if first else picture["mean", depth]
        pictures.append(picture)
    return pictures


def assert_equal(found: Sequence[Picture], expected: Sequence[Picture]) -> None:
    """Row by row, signal by signal, to 1e-5."""
    assert len(found) == len(expected)
    for row, picture in zip(found, expected, strict=True):
        for name, signal in picture.items():
            assert row[name].dtype == torch.float32
            torch.testing.assert_close(row[name], signal, atol=1e-5, rtol=1e-5, msg=str(name))
