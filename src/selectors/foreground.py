"""Foreground tokens by value-vector similarity: semantic seeds, then contextual refinement."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.chunks import chunk_length, chunks
from ..tokens.signals import Signal, TextSpan
from ..tokens.visual import VisualTokens
from .base import Ranked, columns_of
from .spread import score_or_spread

Softmax = Literal["image", "sequence"]
Heads = Literal["mean", "flatten"]


@dataclass(frozen=True)
class ValueSimilarity(Ranked):
    """What both stages share: rows of softmax(v_query . v_image^T / sqrt(d)) (Eq. 9 and 10).

    Value vectors carry no position, so the score has none of attention's positional bias.

    Attributes:
        text: which text tokens ask: those after the image (published code) or all (paper).
        softmax: what a query's row is normalised over: the visual tokens of the row (paper, and
            the published code for Qwen2.5-VL) or the whole sequence (published for LLaVA).
        heads: "mean" takes the similarity per head and averages (published code; un-repeated KV
            heads give the same mean), "flatten" one dot product over all heads (Eq. 9's D).
    """

    _: KW_ONLY
    text: TextSpan = "after_image"
    softmax: Softmax = "image"
    heads: Heads = "mean"

    needs = frozenset({Signal.VALUES})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(setting(self, "text"), self.text, ("after_image", "all"))
        check_choice(setting(self, "softmax"), self.softmax, ("image", "sequence"))
        check_choice(setting(self, "heads"), self.heads, ("mean", "flatten"))

    def text_similarity(self, tokens: VisualTokens) -> tuple[Tensor, Tensor]:
        """Sum over the text queries `[R, N]` and the number of text queries `[R]`."""

        def compute() -> tuple[Tensor, Tensor]:
            queries, mask = tokens.text_values(self.text)
            return self.similarity(tokens, queries, mask), mask.sum(dim=1)

        return tokens.memoise(("text", self.text, self.softmax, self.heads), compute)

    def similarity(self, tokens: VisualTokens, queries: Tensor, mask: Tensor) -> Tensor:
        """Sum over queries of the softmax rows, at the visual tokens.

        Args:
            queries: value vectors `[R, H, Q, D]`.
            mask: which queries count, bool `[R, Q]`.

        Returns:
            float32 `[R, N]`.
        """
        if self.softmax == "image":
            return similarity_received(queries, mask, tokens.values(), tokens.valid, self.heads)
        values, valid = tokens.sequence_values()
        # many rows may share one sample: a copy of its sequence for each of them is large
        step = chunk_length(values[0].numel())
        pieces = [
            similarity_received(q, m, values[rows], valid[rows], self.heads)
            for q, m, rows in zip(
                queries.split(step), mask.split(step), tokens.sample.split(step), strict=True
            )
        ]
        return torch.cat(pieces).gather(1, tokens.slot)


@dataclass(frozen=True)
class SeedSelector(ValueSimilarity):
    """Stage 1 (Eq. 9): the visual tokens most similar to the text, averaged over text tokens.

    Formula: s = mean over text tokens of softmax(v_text . v_image^T / sqrt(d)).

    Cost: text x visual dot products of value vectors, which are read from the cache. Paper: arXiv
    2602.03060. Source: the published code (github.com/FireRedTeam/IVC-Prune, 03afd9c), by family;
    the options are where the paper differs. Deviation: without any text the choice is an even
    spread (the published code crashes or scores NaN).

    Attributes:
        text, softmax, heads: which text asks, what its rows are normalised over, and whether heads
            are averaged or joined (see `ValueSimilarity`).
    """

    keep: float | int = 0.01
    _: KW_ONLY
    minimum: int = 1

    def score(self, tokens: VisualTokens) -> Tensor:
        received, n_text = self.text_similarity(tokens)
        return score_or_spread(tokens, received / n_text.clamp(min=1)[:, None], n_text)


@dataclass(frozen=True)
class RefineSelector(ValueSimilarity):
    """Stage 2 (Eq. 10): similarity to the text AND to the seeds, all queries weighing the same.

    Formula: f = mean over text and seeds of softmax(v_query . v_image^T / sqrt(d)).

    Cost: as stage 1, with the seeds as further queries. Paper: arXiv 2602.03060. Source: the
    published code (github.com/FireRedTeam/IVC-Prune, 03afd9c), by family.

    Attributes:
        text, softmax, heads: see `SeedSelector`.
        seeds: stage 1, whose tokens join the queries.
    """

    keep: float | int = 0.4
    _: KW_ONLY
    seeds: SeedSelector = field(default_factory=SeedSelector)

    def score(self, tokens: VisualTokens) -> Tensor:
        from_text, n_text = self.text_similarity(tokens)
        seeds = self.seeds.select(tokens)
        n_seeds = seeds.sum(dim=1)
        width = max(self.seeds.budget(tokens), default=0)
        columns = columns_of(seeds, width)
        mask = torch.arange(width, device=tokens.device) < n_seeds[:, None]
        rows = torch.arange(columns.shape[0], device=tokens.device)[:, None]
        queries = tokens.values()[rows, :, columns].transpose(1, 2)
        received = from_text + self.similarity(tokens, queries, mask)
        mean = received / (n_text + n_seeds).clamp(min=1)[:, None]
        return score_or_spread(tokens, mean, n_text)


def similarity_received(
    queries: Tensor, query_mask: Tensor, keys: Tensor, key_mask: Tensor, heads: Heads = "mean"
) -> Tensor:
    """Sum over queries of softmax(q . k^T / sqrt(D)), averaged over heads, in float32.

    Args:
        queries: `[R, H, Q, D]`;  query_mask: bool `[R, Q]`.
        keys: `[R, H, K, D]`;  key_mask: bool `[R, K]`, what the softmax runs over.
        heads: "mean" or "flatten", see `ValueSimilarity`.

    Returns:
        `[R, K]`; 0 for a row without queries. Queries are taken in chunks, so that memory stays
        linear in K.
    """
    if heads == "flatten":
        queries, keys = _flatten_heads(queries), _flatten_heads(keys)
    keys = keys.float().transpose(2, 3) / queries.shape[-1] ** 0.5
    hidden = ~key_mask[:, None, None, :]
    n_rows, n_heads, n_queries, _ = queries.shape
    received = keys.new_zeros(n_rows, keys.shape[-1])
    for some in chunks(n_queries, n_rows * n_heads * keys.shape[-1]):
        asking = queries[:, :, some].float()
        weights = (asking @ keys).masked_fill(hidden, -torch.inf).softmax(dim=-1)
        counted = query_mask[:, None, some, None]
        # where, not a product: a row without any key is NaN and must not leak
        received += weights.where(counted, 0.0).sum(dim=2).mean(dim=1)
    return received


def _flatten_heads(x: Tensor) -> Tensor:
    """`[R, H, L, D]` -> `[R, 1, L, H * D]`."""
    return x.transpose(1, 2).flatten(2)[:, None]
