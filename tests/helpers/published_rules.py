"""The published selections, token by token: a slow oracle that shares no code with the selectors.

Written from the description of the published code; `test_golden` holds it to that code's own
results. Indices of visual tokens count from the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Kept = set[int]


@dataclass(frozen=True)
class Image:
    """One image in its prompt.

    Attributes:
        values: value vectors of all real tokens, `[H, S, D]`.
        visual: where its N visual tokens are among the S.
        text: where the text after it is.
        real, imaginary: V(m) and U(m) of its tokens, `[N]`.
    """

    values: np.ndarray
    visual: Sequence[int]
    text: Sequence[int]
    real: np.ndarray
    imaginary: np.ndarray

    def rows(self, queries: Sequence[int], keys: Sequence[int]) -> np.ndarray:
        """Softmax over the keys of each query, mean over heads, `[Q, K]`."""
        asking, asked = self.values[:, list(queries)], self.values[:, list(keys)]
        logits = np.einsum("hqd,hkd->hqk", asking, asked) / self.values.shape[-1] ** 0.5
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        return (weights / weights.sum(-1, keepdims=True)).mean(0)

    def coordinates(self, k: int, among: Sequence[int]) -> Kept:
        return top(self.real, k, among) | top(self.imaginary, k, among)


def top(score: np.ndarray, k: int, among: Iterable[int]) -> Kept:
    """The k best of some tokens; the lower index first where they tie."""
    return set(sorted(among, key=lambda i: (-score[i], i))[:k])


def qwen(image: Image) -> Kept:
    everything = range(len(image.visual))
    n = len(everything)
    asked = image.rows(image.text, image.visual)
    seeds = top(asked.mean(0), max(1, round(0.01 * n)), everything)
    by_seeds = image.rows([image.visual[i] for i in sorted(seeds)], image.visual)
    refined = np.concatenate([asked, by_seeds]).mean(0)
    first = image.coordinates(round(0.1 * n), everything) | seeds
    rest = top(refined, max(0, round(0.5 * n) - len(first)), set(everything) - first)
    return first | rest


def llava(image: Image) -> Kept:
    everything, sequence = range(len(image.visual)), range(image.values.shape[1])
    n = len(everything)
    asked = image.rows(image.text, sequence)[:, image.visual]
    seeds = top(asked.mean(0), max(1, round(0.01 * n)), everything)
    by_seeds = image.rows([image.visual[i] for i in sorted(seeds)], sequence)[:, image.visual]
    refined = np.concatenate([asked, by_seeds]).mean(0)
    foreground = top(refined, round(0.2 * n), everything)
    return foreground | seeds | image.coordinates(round(0.05 * n), everything)


def internvl(image: Image, side: int, columns: int) -> Kept:
    """Args: `side` of a tile in tokens, `columns` of tiles; the thumbnail comes last."""
    n, block, sequence = len(image.visual), side * side, range(image.values.shape[1])
    blocks = [range(start, start + block) for start in range(0, n, block)]
    thumbnail, n_tiles = blocks[-1], len(blocks) - 1
    where = [image.visual[i] for i in thumbnail]
    asked = image.rows(image.text, sequence)[:, where]
    seeds = top(asked.mean(0), max(1, round(0.01 * block)), range(block))
    by_seeds = image.rows([where[i] for i in sorted(seeds)], sequence)[:, where]
    refined = np.concatenate([asked, by_seeds]).mean(0)

    coordinates = set().union(*(image.coordinates(round(0.1 * block), own) for own in blocks))
    of_thumbnail = {i - thumbnail.start for i in coordinates if i in thumbnail}
    missing = round(0.5 * block) - len(of_thumbnail)
    foreground = top(refined, missing, set(range(block)) - of_thumbnail)
    mapped = set()
    for token in foreground if n_tiles else ():
        for row, column in shown(divmod(token, side), n_tiles // columns, columns):
            tile = row // side * columns + column // side
            mapped.add(tile * block + row % side * side + column % side)
    first = coordinates | mapped | {thumbnail.start + i for i in foreground | seeds}
    left = [i for i in range(block) if thumbnail.start + i not in first]
    rest = top(refined, max(0, round(0.5 * n) - len(first)), left)
    return first | {thumbnail.start + i for i in rest}


def deepseek_vl2(image: Image, side: int, tiles: tuple[int, int], eligible: Sequence[int]) -> Kept:
    """Args: `side` of a tile in tokens, `tiles` in width and height, `eligible` thumbnail slots."""
    columns, n_rows = tiles
    width, slots = columns * side + 1, side * (side + 1)
    separator, first_line = slots, slots + 1
    where = [image.visual[i] for i in range(slots)]
    asked = image.rows(image.text, where)
    seeds = top(asked.mean(0), round(0.01 * len(eligible)), eligible)
    by_seeds = image.rows([where[i] for i in sorted(seeds)], where)
    refined = np.concatenate([asked, by_seeds]).mean(0)

    coordinates = image.coordinates(round(0.1 * slots), range(slots))
    missing = max(1, slots // 2 - len(coordinates))
    foreground = seeds | top(refined, missing, set(eligible) - coordinates)
    kept = coordinates | foreground | {separator}
    kept |= {row * (side + 1) + side for row in range(side)}
    for token in foreground:
        for row, column in shown(divmod(token, side + 1), n_rows, columns):
            kept.add(first_line + row * width + column)
    for row in range(n_rows * side):
        line = range(first_line + row * width, first_line + (row + 1) * width)
        kept |= image.coordinates(round(0.15 * width), line) | {line[-1]}
    return kept


def shown(cell: tuple[int, int], n_rows: int, columns: int) -> list[tuple[int, int]]:
    """Cells of the canvas of tiles that show what a cell of the thumbnail shows."""
    row, column = cell
    return [
        (row * n_rows + down, column * columns + across)
        for down in range(n_rows)
        for across in range(columns)
    ]


def coordinate_scores(
    positions: np.ndarray, frequencies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """V(m) and U(m) of positions `[A, N]`, summed over the axes as (w + h) + t."""
    angles = positions[::-1, :, None] * frequencies
    real, imaginary = np.cos(angles).sum(-1), np.sin(angles).sum(-1)
    return sum(real[1:], real[0]), sum(imaginary[1:], imaginary[0])
