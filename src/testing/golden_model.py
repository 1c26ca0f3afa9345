"""A language model with one image in its input, made from the arrays of a golden case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from ..models.blocks import Block
from ..models.llava import Llava
from ..models.vision_towers.base import AttentionInput, Grid, TowerCall, VisionTower
from ..models.vision_towers.places import Layout
from ..models.vision_towers.received import Received, without_class


class ToldTower(nn.Module):
    """A vision tower of two layers that are told what attention each token of a picture receives.

    Nothing is computed: the layers are there for the hooks that read what they are given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Identity(), nn.Identity()

    def forward(self, received: Mapping[str, Tensor], grid: Grid) -> None:
        self.early(received["early"])
        self.late(received["late"])


class ToldSignals(VisionTower):
    """Attention received is what the layers of a `ToldTower` are given."""

    def __init__(self, tower: ToldTower) -> None:
        layers = {"early": tower.early, "late": tower.late}
        super().__init__(tower, tower, layers, 1, Layout())  # type: ignore[arg-type]

    def grids(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Grid]:
        return [args[1]]

    def features(self, call: TowerCall, projected: Tensor) -> Tensor:
        raise ValueError("golden cases hold no features of a vision tower")

    def received(self, call: TowerCall, layer: nn.Module, given: AttentionInput) -> Received:
        return without_class(given.hidden)

    def keys(self, call: TowerCall, layer: nn.Module, given: AttentionInput, rope: bool) -> Tensor:
        raise ValueError("golden cases hold no keys of a vision tower")


class Core(nn.Module):
    """The decoder, and in front of it the tower."""

    def __init__(self, decoder: LlamaModel) -> None:
        super().__init__()
        self.language_model, self.tower = decoder, ToldTower()

    def forward(
        self,
        input_ids: Tensor,
        inputs_embeds: Tensor,
        received: Mapping[str, Tensor] | None = None,
        grid: Grid = (1, 1),
        **arguments: Any,
    ) -> Any:
        """The decoder's output.

        Args:
            input_ids, inputs_embeds: `[1, S]` and `[1, S, E]`.
            received: attention that the image's tokens receive in the tower, by depth, `[N]`.
            grid: of the image.
        """
        if received:
            self.tower(received, grid)
        return self.language_model(inputs_embeds=inputs_embeds, **arguments)


class ImageLlama(nn.Module):
    """Llama with an image among its embeddings, and a language-model head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Core(LlamaModel(config))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


@dataclass(frozen=True)
class OneImage(Llava):
    """LLaVA's family for an image of any grid.

    Attributes:
        start: place of its first token.
        grid: its rows and columns.
    """

    start: int
    grid: Grid

    def check(self, config: Any) -> None:
        """The tower is told its answers, whatever its kind."""

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        return [Block.full(0, 0, "image", self.grid, self.start)]

    def vision_tower(self, core: Any) -> VisionTower:
        return ToldSignals(core.tower)


def model_of(case: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> ImageLlama:
    """The model of a case, with the weights in its arrays."""
    weights = {
        name.removeprefix("weights/"): x for name, x in arrays.items() if name.startswith("weights")
    }
    vocabulary, width = weights["embed_tokens.weight"].shape
    keys = len(weights["layers.0.self_attn.k_proj.weight"])
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=weights["layers.0.mlp.gate_proj.weight"].shape[0],
        num_hidden_layers=case["depth"],
        num_attention_heads=case["heads"],
        num_key_value_heads=keys * case["heads"] // width,
        vocab_size=vocabulary,
        rope_parameters={"rope_type": "default", "rope_theta": case["rope_theta"]},
        rms_norm_eps=case["rms_eps"],
        max_position_embeddings=2 * case["S"] + 64,
    )
    with torch.random.fork_rng(devices=[]):  # weights are drawn, and then overwritten
        model = ImageLlama(config).eval()
    model.lm_head.weight.data = weights.pop("lm_head.weight")
    model.model.language_model.load_state_dict(weights)
    return model
