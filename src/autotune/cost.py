"""What a policy costs in the prefill, as a share of the unpruned model's.

The formula is that of docs/performance.md: a layer spends F(S) on S tokens, and a policy leaves
the layers before its first stage all of them. Counted are the decoder layers; vision tower, head
and the selection itself are not, as in `job=efficiency`, whose limit is one through this share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..efficiency.layer_flops import LayerFlops
from ..policy import BoundPolicy, shares_of_input
from ..pruning.statistics import PrefillStatistics


@dataclass(frozen=True)
class Prefills:
    """Prefills of a model.

    Attributes:
        flops: of each decoder layer.
    """

    flops: Sequence[LayerFlops]

    def spent(self, layers: Sequence[int], visual: Sequence[float], text: float) -> float:
        """FLOPs of one sample.

        Args:
            layers: of the stages, ascending.
            visual: visual tokens before the first stage, and behind each.
            text: other tokens.
        """
        passed = (sum(at <= index for at in layers) for index in range(len(self.flops)))
        return sum(
            layer.of(visual[stages] + text)
            for layer, stages in zip(self.flops, passed, strict=True)
        )

    def measured(self, policy: BoundPolicy, stats: PrefillStatistics, sample: int) -> float:
        """FLOPs of a sample whose prefill was pruned."""
        visual = [stats.n_visual[sample]]
        for stage in policy.stages if stats.kept_by_stage else ():
            added = stats.added_by_stage.get(stage.name)
            kept = stats.kept_by_stage[stage.name][sample]
            visual.append(kept + (0 if added is None else added[sample]))
        layers = list(policy.layers.values())[: len(visual) - 1]
        return self.spent(layers, visual, stats.n_text[sample])

    def expected(
        self, policy: BoundPolicy, sizes: Sequence[tuple[int, int]], empty: bool = False
    ) -> float:
        """Share of the unpruned prefills of these samples.

        Args:
            sizes: visual and other tokens of each.
            empty: as if every stage left no visual token: the least that its layers allow.

        Raises:
            ValueError: a stage's budget is no share of the tokens, so that it cannot be told.
        """
        left = [0.0 if empty else share for share in shares_of_input(policy.stages)]
        layers = list(policy.layers.values())
        if None in left:
            raise ValueError(
                f"policy {policy.name!r} has a budget that is no share of the tokens, so that its "
                "prefill cannot be told beforehand: leave job.target.prefill out"
            )
        shares = [1.0, *(share or 0.0 for share in left)]
        pruned = sum(self.spent(layers, [s * n for s in shares], text) for n, text in sizes)
        return pruned / sum(self.spent([], [n], text) for n, text in sizes)
