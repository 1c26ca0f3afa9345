"""The scout pass and the selection on it, on layers of the shape that vLLM's have."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ivcprune import prune
from ivcprune.models.rotary import rotate
from ivcprune.serving.vllm.picture import Picture
from ivcprune.serving.vllm.plan import plan_of
from ivcprune.serving.vllm.selection import kept_tokens
from ivcprune.serving.vllm.settings import Settings
from ivcprune.testing import tiny_model
from ivcprune.testing.inputs import batch, picture


class Fused(nn.Module):
    """Queries, keys and values in one projection, and rotation by positions, as vLLM has them."""

    def __init__(self, attention, decoder):
        super().__init__()
        self.own, self.decoder = attention, decoder
        self.q_size, self.kv_size = attention.q_proj.out_features, attention.k_proj.out_features
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        if hasattr(attention, "q_norm"):
            self.q_norm, self.k_norm = attention.q_norm, attention.k_norm

    def qkv_proj(self, hidden):
        parts = (self.own.q_proj, self.own.k_proj, self.own.v_proj)
        return torch.cat([part(hidden) for part in parts], dim=-1), None

    def o_proj(self, mixed):
        return self.own.o_proj(mixed), None

    def rotary_emb(self, positions, queries, keys):
        rotary = self.decoder.rotary_emb(queries, positions[:, None])
        heads = [x.unflatten(-1, (-1, self.head_dim)).transpose(0, 1) for x in (queries, keys)]
        rotated = [rotate(x[None], rotary) for x in heads]
        return tuple(x[0].transpose(0, 1).flatten(1) for x in rotated)


def engine_layers(model):
    decoder = model.model.language_model
    return [
        SimpleNamespace(
            self_attn=Fused(layer.self_attn, decoder),
            input_layernorm=layer.input_layernorm,
            post_attention_layernorm=layer.post_attention_layernorm,
            mlp=layer.mlp,
        )
        for layer in decoder.layers
    ]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "divprune", "average_tokens": 0.4},
        {"policy": "ivc_prune", "layer": 1},
        {"policy": "ivc_prune", "average_tokens": 0.3, "layer": 3},
        {"policy": "fastv", "layer": 2},
        {"policy": "random", "layer": 2},
    ],
)
@torch.no_grad()
def test_selections_equal_those_of_prune(settings, family):
    model, processor = tiny_model(family)
    model.config.ivcprune = settings
    plan = plan_of(model.config)
    token = model.config.image_token_id
    inputs = batch(processor, ("where is the red one", [picture(196, 140)]))
    with prune(model, Settings.of(model.config).load(family)) as run:
        model(**inputs)
    ids = inputs["input_ids"][0].tolist()
    start, n = ids.index(token), ids.count(token)
    encoded = model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    levels = getattr(encoded, "deepstack_features", None) or []
    features = torch.cat([encoded.pooler_output[0], *(level[0] for level in levels)], dim=1)
    _, height, width = inputs["image_grid_thw"][0].tolist()
    question = [*ids[: start + 1], *ids[start + n :]]
    axis = plan.family.frequency_axis(model, 0), plan.family.inverse_frequencies(model)
    asked = Picture((height // 2, width // 2), question, token, plan, (axis[1], axis[0]))
    assert asked.ids.tolist() == ids
    text = model.get_input_embeddings()(asked.ids)
    kept = kept_tokens(asked, features, text, engine_layers(model), len(levels))
    assert (kept + start).tolist() == run.stats.kept[0].tolist()
    assert 0 < len(kept) < n
