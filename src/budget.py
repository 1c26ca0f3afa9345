"""The arithmetic of average tokens: which stage shares give a wanted average over the layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def average_share(
    shares: Sequence[float],
    layers: Sequence[int],
    depth: int,
    cache: str,
    spare: Collection[int] = (),
    cached: Collection[int] | None = None,
) -> float:
    """The paper's Average Tokens: mean over layers of the share of visual tokens in their cache.

    Args:
        shares: share of the ORIGINAL visual tokens left after each stage.
        layers: layer of each stage, ascending.
        depth: number of decoder layers.
        cache: see `PruningPolicy.cache`.
        spare: layers below a stage whose cache stays full.
        cached: layers that have a cache of tokens; None for all.
    """
    total = 0.0
    counted = range(depth) if cached is None else cached
    for layer in counted:
        passed = [share for share, at in zip(shares, layers, strict=True) if at <= layer]
        if cache != "from_stage" and shares and layer not in spare:
            passed = [shares[-1]]
        total += min(passed, default=1.0)
    return total / len(counted)


def share_for_average(
    target: float,
    nominal: Sequence[float],
    layers: Sequence[int],
    depth: int,
    cache: str,
    spare: Collection[int] = (),
    cached: Collection[int] | None = None,
) -> list[float]:
    """Stage shares, in the proportions of `nominal`, whose average over the layers is `target`.

    Raises:
        ValueError: the layers that stay full alone exceed the target.
    """
    floor = average_share([0.0] * len(nominal), layers, depth, cache, spare, cached)
    if target <= floor:
        raise ValueError(
            f"average_tokens={target} cannot be reached: the layers that keep every visual token "
            f"are {floor:.1%} of the average already, so choose more or prune at an earlier layer"
        )

    def scaled(factor: float) -> list[float]:
        return [min(1.0, factor * share) for share in nominal]

    low, high = 0.0, 1.0 / min(nominal)
    for _ in range(60):
        middle = (low + high) / 2
        if average_share(scaled(middle), layers, depth, cache, spare, cached) < target:
            low = middle
        else:
            high = middle
    return [round(share, 9) for share in scaled(high)]
