"""DeepSeek-VL2 worked out from its published weights alone, one sample and one image, in float64.

The formulas are those of the papers (arXiv:2412.10302, arXiv:2405.04434); rotary embeddings follow
the published convention: pairs (2k, 2k + 1) are first sorted into halves, then halves rotate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Reference:
    """The model as functions of its published weights.

    Attributes:
        state: weights by published name, float64.
        heads: of the decoder;  vision_heads: of the tower.
        patch: side of a patch in pixels.
        top_k: experts per token.
        latent: (kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim), or None for
            multi-head attention.
    """

    state: dict[str, Tensor]
    heads: int = 4
    vision_heads: int = 2
    patch: int = 14
    top_k: int = 2
    latent: tuple[int, int, int, int] | None = None

    def logits(self, ids: Tensor, views: Tensor, grid: tuple[int, int], image_id: int) -> Tensor:
        """`[S, V]` for ids `[S]` and the views of one image, `[1 + w * h, 3, P, P]`."""
        x = self.state["language.model.embed_tokens.weight"][ids].clone()
        x[ids == image_id] = self.image(views, grid)
        for layer in range(self._depth("language.model.layers.")):
            name = f"language.model.layers.{layer}."
            x = x + self.attention(name + "self_attn.", self.rms(name + "input_layernorm", x))
            x = x + self.feed_forward(name + "mlp.", self.rms(name + "post_attention_layernorm", x))
        return self.linear("language.lm_head", self.rms("language.model.norm", x))

    # Vision ------------------------------------------------------------------------------------

    def image(self, views: Tensor, grid: tuple[int, int]) -> Tensor:
        """Visual tokens, line by line."""
        tokens = torch.stack([self.merged(view) for view in self.tower(views)])
        side = tokens.shape[1]
        newline, lines = self.state["image_newline"][None], []
        for row in range(side):
            lines += [tokens[0, row], newline]
        lines.append(self.state["view_seperator"][None])
        for row in range(side * grid[1]):
            first = 1 + row // side * grid[0]
            lines += [tokens[first + column, row % side] for column in range(grid[0])]
            lines.append(newline)
        return torch.cat(lines)

    def tower(self, views: Tensor) -> Tensor:
        """SigLIP's patches, `[T, p, p, C]`."""
        weight, bias = (self.state[f"vision.patch_embed.proj.{k}"] for k in ("weight", "bias"))
        x = F.conv2d(views, weight, bias, stride=self.patch)
        side = x.shape[-1]
        x = x.flatten(2).mT + self.state["vision.pos_embed"]
        for block in range(self._depth("vision.blocks.")):
            name = f"vision.blocks.{block}."
            fused = self.linear(name + "attn.qkv", self.norm(name + "norm1", x))
            q, k, v = fused.unflatten(-1, (3, self.vision_heads, -1)).permute(2, 0, 3, 1, 4)
            mixed = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
            x = x + self.linear(name + "attn.proj", mixed.transpose(1, 2).flatten(2))
            inner = self.linear(name + "mlp.fc1", self.norm(name + "norm2", x))
            x = x + self.linear(name + "mlp.fc2", F.gelu(inner, approximate="tanh"))
        return self.norm("vision.norm", x).unflatten(1, (side, side))

    def merged(self, patches: Tensor) -> Tensor:
        """Squares of 2 x 2 patches `[p, p, C]` as tokens `[s, s, E]`; a missing patch is zero."""
        padded = F.pad(patches, (0, 0, 0, patches.shape[1] % 2, 0, patches.shape[0] % 2))
        rows = []
        for top in range(0, len(padded), 2):
            squares = [padded[top : top + 2, x : x + 2] for x in range(0, len(padded), 2)]
            rows.append(torch.stack([square.permute(2, 0, 1).flatten() for square in squares]))
        hidden = F.gelu(self.linear("projector.layers.0", torch.stack(rows)))
        return self.linear("projector.layers.2", hidden)

    # Language ----------------------------------------------------------------------------------

    def attention(self, name: str, x: Tensor) -> Tensor:
        q, k, v = self.latent_heads(name, x) if self.latent else self.plain_heads(name, x)
        hidden = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(hidden, -torch.inf).softmax(-1)
        return self.linear(name + "o_proj", (weights @ v).transpose(0, 1).flatten(1))

    def plain_heads(self, name: str, x: Tensor) -> list[Tensor]:
        q, k, v = (
            self.linear(f"{name}{part}_proj", x).unflatten(-1, (self.heads, -1)).transpose(0, 1)
            for part in "qkv"
        )
        return [rotate_halves(q), rotate_halves(k), v]

    def latent_heads(self, name: str, x: Tensor) -> list[Tensor]:
        assert self.latent is not None
        rank, plain, turning, value = self.latent
        q = self.linear(name + "q_proj", x).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        compressed = self.linear(name + "kv_a_proj_with_mqa", x)
        expanded = self.linear(
            name + "kv_b_proj", self.rms(name + "kv_a_layernorm", compressed[:, :rank])
        )
        k, v = expanded.unflatten(-1, (self.heads, -1)).transpose(0, 1).split([plain, value], -1)
        shared = rotate_halves(sort_pairs(compressed[:, rank:])).expand(self.heads, -1, -1)
        turned = rotate_halves(sort_pairs(q[..., plain:]))
        assert turned.shape[-1] == turning
        return [torch.cat([q[..., :plain], turned], -1), torch.cat([k, shared], -1), v]

    def feed_forward(self, name: str, x: Tensor) -> Tensor:
        if name + "gate.weight" not in self.state:
            return self.gated(name, x)
        scores = self.linear(name + "gate", x).softmax(-1)
        result = self.gated(name + "shared_experts.", x)
        for token, (weights, experts) in enumerate(zip(*scores.topk(self.top_k), strict=True)):
            for weight, expert in zip(weights, experts.tolist(), strict=True):
                result[token] += weight * self.gated(f"{name}experts.{expert}.", x[token])
        return result

    def gated(self, name: str, x: Tensor) -> Tensor:
        gate = F.silu(self.linear(name + "gate_proj", x))
        return self.linear(name + "down_proj", gate * self.linear(name + "up_proj", x))

    # Parts -------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[name + ".weight"], self.state.get(name + ".bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[name + ".weight"], self.state[name + ".bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)

    def rms(self, name: str, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.state[name + ".weight"]

    def _depth(self, prefix: str) -> int:
        names = (name for name in self.state if name.startswith(prefix))
        return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in names)


def sort_pairs(x: Tensor) -> Tensor:
    """(0, 1), (2, 3), ... as 0, 2, ..., 1, 3, ..."""
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


def rotate_halves(x: Tensor) -> Tensor:
    """Rotary embedding of `[..., S, R]` at positions 0 to S - 1, base 10000."""
    length, size = x.shape[-2:]
    theta = 1e4 ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * theta
    first, second = x.chunk(2, dim=-1)
    return torch.cat(
        [first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()],
        dim=-1,
    )
