"""HoloV: a budget that is spread over runs of the picture before attention ranks within them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import FixedBudget, among, top
from .windows import rank_within

_EPS = 1e-6
_ATTENTION_SCALE = 1e3
_RUNS_AT_64_OF_576 = 1024 / 576


@dataclass(frozen=True)
class HoloVSelector(FixedBudget):
    """HoloV (Zou et al. 2025): runs of tokens share the budget, attention ranks within each.

    Formula: the N tokens are cut into `runs` runs of equal length, the first ones a token longer. A
    run's score is the mean over its tokens of 1000 a + variance * v, where a is the attention
    received in the late layer of the tower, and v the spread of the token's cosines to the rest of
    the run, scaled so that its mean is that of 1000 a. Runs get floor(budget * share of the
    scores), the best ones one more each until the budget is spent, and keep their most attended
    tokens. cosines are of the inputs of the language model.

    Cost: N^2 / runs cosines; no loop, below 10 ms at 1,024 tokens on one core. Paper: arXiv
    2510.02912. Exact against the authors' code (github.com/obananas/HoloV, 1d2e65e), for LLaVA and
    Qwen2.5-VL, where no run gets more than it has. Different: there such a run leaves zero vectors
    in the place of tokens, here the most attended tokens of other runs fill the budget; and there
    the tokens of a run stand in the order of their attention, here in the picture's.

    Attributes:
        keep: 64 of LLaVA's 576 tokens is the main setting.
        runs: how many; None is int(1024 / 576 * N / budget), which is 16 in that setting.
        variance: weight of the spread.
    """

    keep: float | int = 0.1111
    _: KW_ONLY
    runs: int | None = None
    variance: float = 0.09

    needs = frozenset({Signal.EMBEDDINGS, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.runs is not None:
            check_at_least(setting(self, "runs"), self.runs, 1)

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        attention = tokens.vision_attention(depth="late").masked_fill(~candidates, 0.0)
        wanted, present = among(tokens, self.budget(tokens)), tokens.eligible_count
        numbers = [self._n_runs(n, k) for n, k in zip(present, wanted, strict=True)]
        run, place = _runs_of(candidates, present, numbers)
        length = max((-(-n // runs) for n, runs in zip(present, numbers, strict=True)), default=0)
        # the tokens of each run side by side; one place more, which all others go to
        target = (run * length + place).masked_fill(~candidates, max(numbers, default=0) * length)
        scores = self._scores(tokens.embeddings(), attention, target, max(numbers), length)
        k, n_runs = torch.tensor([wanted, numbers]).to(scores.device, non_blocking=True)[:, :, None]
        shares = scores / (scores.sum(dim=1, keepdim=True) + _EPS)
        quota = (shares * k).floor().nan_to_num(0.0)
        real = torch.arange(scores.shape[1], device=scores.device) < n_runs
        quota += top(shares, real, (k - quota.sum(dim=1, keepdim=True)).long()[:, 0])
        run = run.masked_fill(~candidates, scores.shape[1])
        allowed = torch.nn.functional.pad(quota, (0, 1)).gather(1, run)
        certain = candidates & (rank_within(run, attention) < allowed)
        return top(attention.masked_fill(certain, torch.inf), candidates, k[:, 0])

    def _n_runs(self, n: int, budget: int) -> int:
        wanted = self.runs or int(_RUNS_AT_64_OF_576 * n / max(budget, 1))
        return max(1, min(wanted, n))

    def _scores(
        self, states: Tensor, attention: Tensor, target: Tensor, n_runs: int, length: int
    ) -> Tensor:
        """Score of each run, float32 `[R, n_runs]`; 0 for runs that are none."""
        shape = (len(target), n_runs, length)
        size = _packed(torch.ones_like(attention)[..., None], target, shape)[..., 0]
        received = _packed(attention[..., None], target, shape)[..., 0]
        vectors = states.float()
        vectors = vectors / (vectors.norm(dim=-1, keepdim=True) + _EPS)
        vectors = _packed(vectors, target, shape)
        count = size.sum(dim=2, keepdim=True)
        own = torch.eye(length, dtype=torch.bool, device=states.device)
        cosine = (vectors @ vectors.transpose(2, 3)).masked_fill(own, 0.0)
        mean = cosine.sum(dim=3, keepdim=True) / (count - 1).clamp(min=1)[..., None]
        square = (cosine - mean).square() * size[:, :, None]
        spread = square.sum(dim=3) / (count - 1).clamp(min=1) * size
        scaled = received * _ATTENTION_SCALE
        n = count[..., 0].clamp(min=1)
        attended, varied = (x.abs().sum(dim=2) / n for x in (scaled, spread))
        score = (scaled + self.variance * spread * (attended / (varied + _EPS))[..., None]).sum(
            2
        ) / n
        # a single token has no spread, and the official code does not scale its attention
        return torch.where(count[..., 0] > 1, score, received.sum(dim=2))


def _runs_of(candidates: Tensor, present: list[int], n_runs: list[int]) -> tuple[Tensor, Tensor]:
    """Run of each candidate, and its place within the run, long `[R, N]`; others: anything."""
    n, runs = torch.tensor([present, n_runs]).to(candidates.device, non_blocking=True)[:, :, None]
    length, longer = n // runs, n % runs
    number = (candidates.cumsum(dim=1) - 1).clamp(min=0)
    within = number - longer * (length + 1)
    is_long, short = within < 0, length.clamp(min=1)
    run = torch.where(is_long, number // (length + 1), longer + within // short)
    return run, torch.where(is_long, number % (length + 1), within % short)


def _packed(values: Tensor, target: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Values `[R, N, E]` at their targets, zeros elsewhere: `[*shape, E]`."""
    packed = values.new_zeros(shape[0], shape[1] * shape[2] + 1, values.shape[2])
    return packed.scatter_(1, target[..., None].expand_as(values), values)[:, :-1].unflatten(
        1, shape[1:]
    )
