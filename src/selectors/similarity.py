"""Cosine similarity between tokens; in chunks where a method does not need the whole table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..tokens.chunks import chunks


def normalised(states: Tensor) -> Tensor:
    """Vectors of length 1 in float32; zero vectors stay zero."""
    return nn.functional.normalize(states.float(), dim=-1)


def cosines(states: Tensor) -> Tensor:
    """Cosine of every two tokens of a row, float32 `[R, N, N]`: for methods that use all of them.

    Args:
        states: `[R, N, E]`.
    """
    vectors = normalised(states)
    return vectors @ vectors.transpose(1, 2)


def most_similar(
    queries: Tensor, keys: Tensor, candidates: Tensor, *, others: bool = False
) -> tuple[Tensor, Tensor]:
    """The most similar key of each query by cosine; ties go to the lower column.

    Args:
        queries: `[R, Q, E]`.
        keys: `[R, K, E]`, K at least 1.
        candidates: keys that count, bool `[R, K]`.
        others: queries and keys are the same tokens, and a token is not its own neighbour.

    Returns:
        the cosine, float32 `[R, Q]` (minus infinity without any candidate), and the column of the
        key, long `[R, Q]`.
    """
    queries, keys = normalised(queries), normalised(keys).transpose(1, 2)
    n_rows, n_queries, _ = queries.shape
    n_keys = keys.shape[2]
    best = queries.new_empty(n_rows, n_queries)
    columns = torch.empty(n_rows, n_queries, dtype=torch.long, device=queries.device)
    for some in chunks(n_queries, n_rows * n_keys):
        cosine = (queries[:, some] @ keys).masked_fill_(~candidates[:, None], -torch.inf)
        if others:
            number = torch.arange(cosine.shape[1], device=cosine.device)
            cosine[:, number, some.start + number] = -torch.inf
        best[:, some], columns[:, some] = cosine.max(dim=-1)
    return best, columns
