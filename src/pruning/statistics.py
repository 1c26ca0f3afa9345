"""What a prefill kept, measured on the key-value cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens


@dataclass(frozen=True, eq=False)
class KeptMap:
    """Which tokens of a row stayed, on its grid.

    Attributes:
        sample, image, kind, grid: see `rows.Row`.
        keep: bool `[h, w]` on the CPU.
    """

    sample: int
    image: int
    kind: str
    grid: tuple[int, int]
    keep: Tensor


@dataclass(frozen=True, eq=False)
class CacheLayerSize:
    """A layer's cache right after the prefill, before a sliding window forgets.

    Attributes:
        stored: entries per sequence in the tensor, of this prefill.
        valid: real ones among them, bool `[B, stored]`, or None for all.
        bytes_per_token: keys and values of one token.
    """

    stored: int
    valid: Tensor | None
    bytes_per_token: int


@dataclass(frozen=True, eq=False)
class PrefillStatistics:
    """Statistics of one prefill; sequences are batch elements, so beams count as sequences.

    Attributes:
        n_visual: visual tokens of each sequence before pruning.
        kept: for each sequence b the columns of `input_ids[b]`, padding included, whose visual
            tokens are left after the last stage, ascending, one long tensor each:
            `input_ids[b, kept[b]]` are image tokens. They are no numbers among the visual tokens,
            and of a later turn they count from its first new token; `kept_maps` has the grids.
        kept_by_stage: visual tokens that each stage kept, per sequence; what earlier stages added
            is among them, what it adds itself is not.
        added_by_stage: tokens that each stage added itself, per sequence; none where it adds none.
        n_added: tokens that stages added and that are left after the last one, per sequence.
        n_text: other real tokens of each sequence.
    """

    n_visual: list[int]
    n_text: list[int]
    kept_by_stage: dict[str, list[int]]
    before: VisualTokens | None
    after: VisualTokens | None
    cache_layers: list[CacheLayerSize]
    added_by_stage: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def n_added(self) -> list[int]:
        if self.after is None:
            return [0] * len(self.n_visual)
        added = (self.after.added & self.after.valid).sum(dim=1)
        totals = added.new_zeros(len(self.n_visual)).index_add_(0, self.after.sample, added)
        return totals.tolist()

    @cached_property
    def kept(self) -> list[Tensor]:
        none = torch.zeros(0, dtype=torch.long)
        if self.after is None:
            return [none] * len(self.n_visual)
        index, sample = self.after.index.cpu(), self.after.sample.cpu()[:, None]
        valid = (self.after.valid & ~self.after.added).cpu()
        return [
            index[valid & (sample == b)].sort().values if n else none
            for b, n in enumerate(self.n_visual)
        ]

    @cached_property
    def kv_tokens(self) -> Tensor:
        """Valid cache entries of this prefill, long `[layers, B]`, of layers that cache tokens."""
        batch = len(self.n_visual)
        return torch.stack(
            [
                torch.full((batch,), layer.stored)
                if layer.valid is None
                else layer.valid.sum(dim=1).cpu()
                for layer in self.cache_layers
            ]
        )

    @cached_property
    def kv_bytes_per_sequence(self) -> list[int]:
        """Bytes of the valid keys and values, so padding of a batch does not count."""
        sizes = torch.tensor([layer.bytes_per_token for layer in self.cache_layers])
        return (self.kv_tokens * sizes[:, None]).sum(dim=0).tolist()

    @property
    def kv_bytes(self) -> int:
        """Bytes of the valid keys and values of all sequences."""
        return sum(self.kv_bytes_per_sequence)

    @cached_property
    def average_tokens_per_sequence(self) -> list[float]:
        """Mean over layers that cache tokens of visual tokens there / before; 1 without any."""
        visual = self.kv_tokens - torch.tensor(self.n_text)
        means = visual.double().mean(dim=0).tolist()
        return [m / n if n else 1.0 for m, n in zip(means, self.n_visual, strict=True)]

    @property
    def average_tokens(self) -> float:
        """The paper's Average Tokens, over the sequences that have visual tokens."""
        averages = zip(self.average_tokens_per_sequence, self.n_visual, strict=True)
        with_images = [average for average, n in averages if n]
        return sum(with_images) / len(with_images) if with_images else 1.0

    def _shown(self, row: int) -> tuple[Tensor, Tensor]:
        """Lines and columns of a row's grid that show some of the image, bool `[h]` and `[w]`."""
        assert self.before is not None
        pictured = (self.before.valid & self.before.eligible)[row]
        places = self.before.cell[row, pictured].cpu()
        lines, columns = (torch.zeros(n, dtype=torch.bool) for n in self.before.rows[row].grid)
        lines[places[:, 0]] = columns[places[:, 1]] = True
        return lines, columns

    def kept_maps(self) -> list[KeptMap]:
        """One map per row of visual tokens, in input order; for pictures.

        Letterbox and newlines, which show nothing of the image, are left out at its edges.
        """
        if self.before is None or self.after is None:
            return []
        maps = []
        cells, valid = self.after.cell.cpu(), (self.after.valid & ~self.after.added).cpu()
        for i, row in enumerate(self.before.rows):
            keep = torch.zeros(row.grid, dtype=torch.bool)
            line, column = cells[i][valid[i]].unbind(-1)
            keep[line, column] = True
            lines, columns = self._shown(i)
            keep = keep[lines][:, columns]
            grid = (keep.shape[0], keep.shape[1])
            maps.append(KeptMap(row.sample, row.image, row.kind, grid, keep))
        return maps
