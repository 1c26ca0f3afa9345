"""One picture in one prompt, as a selection sees it: tokens, positions, text, sizes.

A request may hold several pictures. Each is judged as if it were the only one: what surrounds it
in its question is the prompt without the other pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...models.blocks import Block, visual_tokens
from ...pruning.sequence.slots import TextTokens
from ...tokens.visual import VisualTokens
from .plan import Plan


def questions(
    prompt: Sequence[int], image_token: int, n_images: int, plan: Plan
) -> list[list[int]]:
    """For each picture, what of the prompt its selection may depend on, with one image token.

    Where the policy does not read the prompt, only the place of the picture is left: the text
    before it is zeros and that behind it is missing, so that another question is the same.

    Args:
        prompt: token ids, one image token for each picture.

    Raises:
        ValueError: it has not one image token for each picture.
    """
    places = [i for i, token in enumerate(prompt) if token == image_token]
    if len(places) != n_images:
        raise ValueError(
            f"the prompt has {len(places)} image tokens for {n_images} pictures: give the prompt "
            "as the chat template makes it, with one for each, and not expanded"
        )
    alone = []
    for place in places:
        before = [token for token in prompt[:place] if token != image_token]
        after = [token for token in prompt[place:] if token != image_token]
        if not plan.reads_prompt:
            before, after = [0] * len(before), []
        alone.append([*before, image_token, *after])
    return alone


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of height x width tokens in a question of its own; S tokens in all.

    Attributes:
        grid: (rows, columns) of its tokens.
        question: token ids with one image token, see `questions`.
    """

    grid: tuple[int, int]
    question: Sequence[int]
    image_token: int
    plan: Plan
    frequencies: tuple[Tensor, Tensor]

    @property
    def start(self) -> int:
        """Index of its first token."""
        return list(self.question).index(self.image_token)

    @property
    def n_visual(self) -> int:
        return self.grid[0] * self.grid[1]

    @cached_property
    def ids(self) -> Tensor:
        """Token ids with the picture in full, long `[S]`."""
        at, question = self.start, list(self.question)
        return torch.tensor(
            [*question[:at], *[self.image_token] * self.n_visual, *question[at + 1 :]]
        )

    @cached_property
    def relative(self) -> Tensor:
        """Row and column of each visual token, long `[n, 2]`: M-RoPE's h and w above the start."""
        return Block.full(0, 0, "image", self.grid, 0).cell

    @cached_property
    def positions(self) -> Tensor:
        """Position ids (t, h, w), long `[3, S]`: text counts on behind the longer side."""
        at = self.start
        visual = torch.cat([torch.zeros(self.n_visual, 1, dtype=torch.long), self.relative], dim=1)
        rest = torch.arange(len(self.question) - at - 1) + at + max(self.grid)
        text_before, text_after = torch.arange(at).expand(3, -1), rest.expand(3, -1)
        return torch.cat([text_before, visual.T + at, text_after], dim=1)

    @cached_property
    def tokens(self) -> VisualTokens:
        """Its tokens, one row, without signals."""
        inv_freq, axis = self.frequencies
        block = Block.full(0, 0, "image", self.grid, self.start)
        return visual_tokens([block], self.positions[:, None], inv_freq, (), axis)

    @cached_property
    def text(self) -> TextTokens:
        """Where the text is, and what of it asks: behind the picture and its closing tokens."""
        is_text = torch.ones(1, len(self.ids), dtype=torch.bool)
        end = self.start + self.n_visual
        is_text[:, self.start : end] = False
        return TextTokens.behind(is_text, [end - 1], self.plan.family.text_skip)

    def n_kept(self) -> int:
        """How many tokens stay, known before any model runs.

        Raises:
            ValueError: the selector alone knows, on the device.
        """
        selector = self.plan.stage.selector
        sizes = selector.sizes(self.tokens)
        if sizes is None and not self.plan.stage.needs:
            sizes = selector.select(self.tokens).sum(dim=1).tolist()  # type: ignore[union-attr]
        if sizes is None:
            raise ValueError(
                f"the policy {self.plan.name!r} ({type(selector).__name__}) does not say how many "
                "tokens it keeps before it has run, which an engine must know: use one with a "
                "budget, such as divprune, or put its selector into a TopUp"
            )
        return int(sizes[0])


def check_sizes(plan: Plan) -> None:
    """Raises ValueError where the policy does not say how many tokens of a picture it keeps."""
    frequencies = torch.ones(1), torch.zeros(1, dtype=torch.long)
    Picture((8, 12), [0, 1], 1, plan, frequencies).n_kept()
