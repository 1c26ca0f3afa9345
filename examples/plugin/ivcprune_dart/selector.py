"""DART: keep what differs from a few pivot tokens, rather than what seems important."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from ivcprune.selectors import Budget, top
from ivcprune.tokens import Signal, VisualTokens
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class DARTSelector(Budget):
    """Duplication-aware reduction of tokens (Wen et al. 2025).

    Pivots are the visual tokens and the text tokens with the largest L1 norm. The visual pivots
    stay; then each pivot in turn, visual ones first, adds the tokens of lowest cosine similarity to
    it among those that are left. One dot product per pivot and token; nothing is trained.

    Deviations:
        - The method compares the KEYS of the layer that ran last. They are no signal of ivcprune
          yet, so its VALUE vectors stand in, all heads of a token joined.
        - The budget is met exactly: what is left of it is shared equally among the pivots to come.

    Attributes:
        image_pivots: visual tokens to start from; published: 4.
        text_pivots: text tokens to compare with, from the whole prompt; published: 4.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    image_pivots: int = 4
    text_pivots: int = 4

    needs = frozenset({Signal.VALUES})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_pivots < 1 or self.text_pivots < 0:
            raise ValueError(
                f"DARTSelector.image_pivots is {self.image_pivots} and text_pivots is "
                f"{self.text_pivots}: at least 1 and 0 are needed"
            )

    def select(self, tokens: VisualTokens) -> Tensor:
        vectors = _joined(tokens.values())
        text, is_text = tokens.text_values("all")
        candidates = tokens.eligible & tokens.valid
        from_image, image_mask = _largest(vectors, candidates, self.image_pivots)
        from_text, text_mask = _largest(_joined(text), is_text, self.text_pivots)
        pivots = torch.cat([from_image, from_text], dim=1)
        mask = torch.cat([image_mask, text_mask], dim=1)

        wanted = torch.tensor(self.budget(tokens), dtype=torch.long).to(tokens.device)
        kept = top(_norm(vectors), candidates, wanted.clamp(max=self.image_pivots))
        for i in range(pivots.shape[1]):
            missing = wanted - kept.sum(dim=1)
            pivots_left = mask[:, i:].sum(dim=1).clamp(min=1)
            share = torch.where(mask[:, i], (missing / pivots_left).ceil().long(), 0)
            kept |= top(-_cosine(vectors, pivots[:, i]), candidates & ~kept, share)
        return kept


def _joined(x: Tensor) -> Tensor:
    """Vectors of all heads as one, `[R, H, L, D]` -> float32 `[R, L, H * D]`."""
    return x.transpose(1, 2).flatten(2).float()


def _norm(vectors: Tensor) -> Tensor:
    """L1 norm of `[R, L, E]`, `[R, L]`."""
    return vectors.abs().sum(dim=-1)


def _largest(vectors: Tensor, allowed: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The up to `n` allowed vectors of largest norm in each row, largest first.

    Args:
        vectors: `[R, L, E]`.
        allowed: bool `[R, L]`.

    Returns:
        `[R, n', E]` with n' = min(n, L), and which of them are allowed ones, bool `[R, n']`.
    """
    norm = _norm(vectors).masked_fill(~allowed, -torch.inf)
    order = norm.argsort(dim=1, descending=True, stable=True)[:, :n]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return vectors[rows, order], allowed[rows, order]


def _cosine(vectors: Tensor, pivot: Tensor) -> Tensor:
    """Cosine similarity of `[R, N, E]` to one vector per row `[R, E]`, `[R, N]`."""
    return torch.einsum("rne,re->rn", normalize(vectors, dim=-1), normalize(pivot, dim=-1))
