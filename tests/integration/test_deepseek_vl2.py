"""DeepSeek-VL2: its model, its layout, and pruning with both kinds of attention."""

from __future__ import annotations

import pytest
import torch
from test_pruning_exactness import assert_equals_mask_reference

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.models.registry import family_named, family_of_model
from ivcprune.selectors import (
    FastVSelector,
    PDropSelector,
    Per,
    RandomSelector,
    RefineSelector,
    Selector,
    ThumbnailToTiles,
)
from ivcprune.testing.tiny import deepseek_vl2 as tiny
from ivcprune.tokens import Signal
from pruning_helpers import STEPS, batch, generate, picture, ragged_batch

FAMILY = family_named("deepseek_vl2")
DEPTH = 4
TOLERANCE = 1e-5


def built(kind, backend="sdpa"):
    """A random model with latent ("small") or multi-head attention ("tiny"), and its processor."""
    build = {"small": tiny.build, "tiny": tiny.build_multi_head}[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = build(DEPTH)
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                fan_in = parameter.shape[-1] if "experts" in name else parameter[0].numel()
                torch.nn.init.normal_(parameter, std=fan_in**-0.5)
    model.set_attn_implementation(backend)
    return model.eval(), processor


@pytest.fixture(scope="module", params=["small", "tiny"])
def model_and_processor(request):
    return built(request.param)


@pytest.fixture(scope="module", params=["small-sdpa", "small-eager", "tiny-sdpa", "tiny-eager"])
def with_backend(request):
    return built(*request.param.split("-"))


# The model ----------------------------------------------------------------------------------------


def test_visual_tokens_are_arranged_line_by_line(model_and_processor):
    """Against loops over every line and cell of thumbnail and canvas."""
    model, processor = model_and_processor
    core = model.model
    inputs = batch(processor, ("where", [picture(210, 65)]))
    assert inputs["images_spatial_crop"].tolist() == [[[3, 1]]]
    with torch.no_grad():
        (features,) = core.get_image_features(
            inputs["pixel_values"], inputs["images_spatial_crop"]
        ).pooler_output
        patches = core.vision_tower(inputs["pixel_values"]).last_hidden_state.view(4, 5, 5, 32)
        padded = torch.zeros(4, 6, 6, 32)
        padded[:, :5, :5] = patches

        def token(view, row, column):
            square = padded[view, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            return core.projector.layers(square.permute(2, 0, 1).flatten())

        expected = []
        for row in range(3):
            expected += [token(0, row, column) for column in range(3)] + [core.image_newline]
        expected.append(core.view_seperator)
        for row in range(3):
            expected += [token(1 + c // 3, row, c % 3) for c in range(9)] + [core.image_newline]
    assert len(features) == 12 + 1 + 30
    assert torch.allclose(features, torch.stack(expected), atol=1e-6)


def test_generation_is_a_loop_without_cache(model_and_processor):
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    found = generate(model, inputs)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    rest = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    for step in range(STEPS):
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = model(ids, **rest, attention_mask=mask, position_ids=positions).logits[:, -1]
        assert torch.allclose(logits, found.logits[step], atol=TOLERANCE)
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
    assert torch.equal(found.sequences, ids)


def test_a_batch_is_its_samples(model_and_processor):
    model, processor = model_and_processor
    samples = [("where is it", [picture(140, 112)]), ("how many are there", [picture(84, 70, 1)])]
    together = generate(model, batch(processor, *samples))
    for i, sample in enumerate(samples):
        alone = generate(model, batch(processor, sample))
        for ours, theirs in zip(together.logits, alone.logits, strict=True):
            assert torch.allclose(ours[i], theirs[0], atol=TOLERANCE)


def test_beams_see_the_images_of_their_sample(model_and_processor):
    """Equal to generating from embeddings in which the images are already."""
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], inputs["images_spatial_crop"])
        embeddings = model.get_input_embeddings()(inputs["input_ids"])
        where = inputs["input_ids"] == model.config.image_token_id
        embeddings[where] = torch.cat(features.pooler_output)
    given = {"inputs_embeds": embeddings, "attention_mask": inputs["attention_mask"]}
    options = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "num_beams": 3, "do_sample": False}
    expected = model.generate(**given, **options)
    assert torch.equal(model.generate(**inputs, **options)[:, -STEPS:], expected)


def test_images_must_fit_the_prompt(model_and_processor):
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    with pytest.raises(ValueError, match="holds 110 image tokens, but its images have 165"):
        model(**inputs | {"input_ids": inputs["input_ids"].masked_fill(_second(inputs), 0)})
    with pytest.raises(ValueError, match="hold 14 views, but images_spatial_crop speaks of 15"):
        model(**inputs | {"pixel_values": inputs["pixel_values"][1:]})


def _second(inputs):
    """The last image's tokens of the last sample."""
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    visual = (inputs["input_ids"][1] == inputs["input_ids"][1].mode().values).nonzero()[:, 0]
    mask[1, visual[55:]] = True
    return mask


def test_loss(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where", [picture(70, 70)]))
    labels = inputs["input_ids"].clone()
    labels[:, :-3] = -100
    with torch.no_grad():
        outputs = model(**inputs, labels=labels)
    predicted = outputs.logits[0, -4:-1]
    assert outputs.loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(predicted, labels[0, -3:])), abs=1e-5
    )


def test_gradients_reach_every_part(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where", [picture(70, 140)]))
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    parts = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert {"vision_tower", "projector", "image_newline", "view_seperator"} <= parts


# The layout ---------------------------------------------------------------------------------------


def blocks_of(model, inputs):
    length = inputs["input_ids"].shape[1]
    positions = torch.arange(length)[None, None].expand(1, len(inputs["input_ids"]), -1)
    return FAMILY.blocks(model.model, inputs, positions)


def test_blocks(model_and_processor):
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    blocks = blocks_of(model, inputs)
    assert [(b.sample, b.image, b.kind, b.grid) for b in blocks] == [
        (sample, image, kind, grid)
        for sample, image in [(0, 0), (1, 0), (1, 1)]
        for kind, grid in [("thumbnail", (3, 4)), ("tile", (1, 1)), ("tile", (6, 7))]
    ]
    covered = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    for block in blocks:
        covered[block.sample, block.start : block.start + len(block.cell)] = True
    assert torch.equal(covered, inputs["input_ids"] == model.config.image_token_id)
    assert [int(b.special.sum()) for b in blocks] == [3, 1, 6] * 3


def test_the_letterbox_follows_from_image_sizes_alone(model_and_processor):
    """`generate` encodes the images beforehand and keeps only `image_sizes`."""
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    kept = {k: inputs[k] for k in ("input_ids", "image_sizes")}
    for ours, theirs in zip(blocks_of(model, inputs), blocks_of(model, kept), strict=True):
        assert torch.equal(ours.eligible, theirs.eligible)
    del kept["image_sizes"]
    for block in blocks_of(model, kept):
        assert torch.equal(block.eligible, ~block.special)


def test_sizes_of_earlier_turns_are_passed_over(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where", [picture(140, 42)]))
    earlier = torch.tensor([[[70, 70], [42, 140]]])
    for ours, theirs in zip(
        blocks_of(model, inputs), blocks_of(model, {**inputs, "image_sizes": earlier}), strict=True
    ):
        assert torch.equal(ours.eligible, theirs.eligible)


def test_runs_that_are_no_image_are_refused(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where", [picture(140, 42)]))
    ids = inputs["input_ids"].clone()
    ids[0, (ids[0] == model.config.image_token_id).nonzero()[0]] = 5
    with pytest.raises(ValueError, match="which no tile layouts of one image have"):
        blocks_of(model, {"input_ids": ids})


def test_text_queries_start_after_the_image(model_and_processor):
    """One token less is left out than elsewhere, as published: there is no closing token."""
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(70, 70)]))
    seen = {}

    class Look(Selector):
        needs = frozenset({Signal.VALUES})

        def select(self, tokens):
            slots, mask = tokens.signals.text_slots("after_image")
            seen["text"] = slots[mask].tolist()
            return tokens.valid

    with prune(model, PruningPolicy({"look": Stage(1, Look())})), torch.no_grad():
        model(**inputs)
    ids = inputs["input_ids"][0]
    last = int((ids == model.config.image_token_id).nonzero()[-1])
    assert seen["text"] == list(range(last + 2, len(ids)))


# Pruning ------------------------------------------------------------------------------------------


POLICIES = {
    "published": load_policy("ivc_prune", "stages.select.layer=2", family="deepseek_vl2"),
    "printed": load_policy("ivc_prune_paper", "stages.select.layer=2", family="deepseek_vl2"),
    "fastv": PruningPolicy(
        {"select": Stage(2, Per("sample", FastVSelector(keep=0.5)))}, cache="from_stage"
    ),
    "pdrop": PruningPolicy(
        {
            "early": Stage(1, Per("sample", PDropSelector(keep=0.7))),
            "late": Stage(3, Per("row", PDropSelector(keep=0.3))),
        },
        cache="from_stage",
    ),
    "before the decoder": PruningPolicy({"select": Stage(0, RandomSelector(keep=0.4))}),
    "carried over": PruningPolicy(
        {"select": Stage(1, ThumbnailToTiles(RefineSelector(keep=0.4)))}, spare_layers=(0,)
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_pruned_models_equal_masked_ones(with_backend, name):
    model, processor = with_backend
    run = assert_equals_mask_reference(model, ragged_batch(processor), POLICIES[name])
    for kept, visual in zip(
        run.stats.kept_by_stage.values(), [run.stats.n_visual] * 2, strict=False
    ):
        assert all(0 < k < n for k, n in zip(kept, visual, strict=True))


def test_what_the_published_policy_keeps(model_and_processor):
    """Counted by hand on the thumbnail of 12 tokens, 9 of them no newlines, and 2 x 2 tiles."""
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(140, 140)]))
    with prune(model, POLICIES["published"]) as run:
        generate(model, inputs)
    thumbnail, separator, tiles = blocks_of(model, inputs)
    kept = torch.zeros(inputs["input_ids"].shape[1], dtype=torch.bool)
    kept[run.stats.kept[0]] = True

    def grid(block):
        return kept[block.start : block.start + len(block.cell)].view(block.grid)

    assert grid(thumbnail)[:, 3].all()
    assert grid(tiles)[:, 6].all()
    assert grid(separator).all()
    # positions are 1-D: V and U keep round(0.1 * 12) each; with refinement 6 of the thumbnail, and
    # newline tokens that are not among them on top; a line keeps round(0.15 * 7) by V and by U
    assert 6 <= grid(thumbnail).sum() <= 9
    assert (grid(tiles).sum(dim=1) >= 1).all()
    layers = run.stats.kv_tokens[:, 0] - run.stats.n_text[0]
    n = len(run.stats.kept[0])
    assert layers.tolist() == [run.stats.n_visual[0], n, n, n]  # layer 0 is spared


def test_foreground_is_carried_over_to_the_tiles(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(210, 70)]))
    policy = PruningPolicy({"select": Stage(1, ThumbnailToTiles(RefineSelector(keep=2)))})
    with prune(model, policy) as run:
        generate(model, inputs)
    thumbnail, _, tiles = blocks_of(model, inputs)
    kept = set(run.stats.kept[0].tolist())
    shown = {
        tuple(cell.tolist())
        for i, cell in enumerate(thumbnail.cell)
        if thumbnail.start + i in kept and not thumbnail.special[i]
    }
    assert len(shown) == 2
    for i, cell in enumerate(tiles.thumbnail_cell):
        carried = tuple(cell.tolist()) in shown
        assert (tiles.start + i in kept) == (carried or bool(tiles.special[i]))


def test_letterbox_is_never_foreground(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(210, 70)]))
    policy = PruningPolicy({"select": Stage(1, Per("row", RefineSelector(keep=1.0)))})
    with prune(model, policy) as run:
        generate(model, inputs)
    thumbnail = blocks_of(model, inputs)[0]
    # 210 x 70 lies on rows 23 to 46 of 70: the cells of 28 pixels below them show nothing of it
    assert thumbnail.eligible.view(3, 4)[:, :3].all(dim=1).tolist() == [True, True, False]
    grey = thumbnail.start + (~thumbnail.eligible & ~thumbnail.special).nonzero()[:, 0]
    assert len(grey) == 3
    assert not set(grey.tolist()) & set(run.stats.kept[0].tolist())


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 2}])
def test_repeated_sequences_are_pruned_alike(model_and_processor, options):
    model, processor = model_and_processor
    inputs = ragged_batch(processor)
    with prune(model, POLICIES["published"]) as run:
        generate(model, inputs)
        single = run.stats
        repeats = {"do_sample": "num_beams" not in options, **options}
        model.generate(**inputs, max_new_tokens=STEPS, **repeats)
    n = next(iter(options.values()))
    assert run.stats.n_visual == [v for v in single.n_visual for _ in range(n)]
    for i, kept in enumerate(run.stats.kept):
        assert torch.equal(kept, single.kept[i // n])


def test_keys_and_queries_are_those_of_the_layer(model_and_processor):
    """Rotated: the attention weights of the eager layer; unrotated: the same at position 0."""
    model, _ = model_and_processor
    decoder, layer = FAMILY.text_model(model), FAMILY.layers(model)[1]
    hidden = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(5)[None].expand(2, -1)
    rotary = FAMILY.rotary(decoder, hidden, positions + 3)
    before = decoder.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        _, expected = layer.self_attn(
            layer.input_layernorm(hidden), attention_mask=None, position_embeddings=rotary
        )
        queries, keys = (f(layer, hidden, rotary) for f in (FAMILY.queries, FAMILY.keys))
        weights = (queries @ keys.mT * layer.self_attn.scaling).softmax(-1)
        still = FAMILY.rotary(decoder, hidden, torch.zeros_like(positions))
        for project in (FAMILY.queries, FAMILY.keys):
            assert torch.allclose(project(layer, hidden, None), project(layer, hidden, still))
    model.set_attn_implementation(before)
    assert torch.allclose(weights, expected, atol=1e-6)


def test_cached_keys_and_values_are_those_of_the_layer(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(70, 70)]))
    layer, seen = FAMILY.layers(model)[2], {}
    handle = layer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(hidden=args[0], **kwargs), with_kwargs=True
    )
    with torch.no_grad():
        cache = model(**inputs, use_cache=True).past_key_values.layers[2]
    handle.remove()
    with torch.no_grad():
        keys = FAMILY.keys(layer, seen["hidden"], seen["position_embeddings"])
        cached = FAMILY.cached_keys(layer, cache.keys, cache.values)
        values = FAMILY.cached_values(layer, cache.keys, cache.values)
    assert torch.allclose(cached, keys, atol=1e-6)
    assert values.shape[:3] == keys.shape[:3]
    if cache.keys.shape[1] == 1:  # latents: the values are a linear map of them
        assert values.shape[-1] == 12
        both = layer.self_attn.kv_b_proj(cache.keys[:, 0]).view(*keys.shape[:1], -1, 4, 28)
        assert torch.allclose(values, both[..., 16:].transpose(1, 2), atol=1e-6)
    else:
        assert torch.equal(values, cache.values)


def test_bytes_of_the_cache_count_latents(model_and_processor):
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(70, 70)]))
    with prune(model, POLICIES["published"]) as run:
        generate(model, inputs)
    latent = hasattr(FAMILY.layers(model)[0].self_attn, "expand_kv")
    per_token = 4 * (24 + 8) if latent else 4 * 2 * 64
    assert run.stats.kv_bytes == int(run.stats.kv_tokens.sum()) * per_token


def test_a_conversation_goes_on_after_pruning(model_and_processor):
    """A second question about the image sees the pruned cache and the whole text."""
    model, processor = model_and_processor
    inputs = batch(processor, ("where is it", [picture(140, 70)]))
    with prune(model, POLICIES["published"]) as run:
        first = generate(model, inputs)
        kept = run.stats.kv_tokens
        more = torch.tensor([[40, 41, 42]])
        ids = torch.cat([first.sequences, more], dim=1)
        second = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=first.past_key_values,
            max_new_tokens=2,
            do_sample=False,
        )
    assert second.shape[1] == ids.shape[1] + 2
    stored = [layer.keys.shape[2] for layer in first.past_key_values.layers]
    grown = ids.shape[1] + 1 - inputs["input_ids"].shape[1]
    assert stored == [int(n) + grown for n in kept[:, 0]]


def test_family():
    for kind in ("small", "tiny"):
        assert family_of_model(built(kind)[0]) is FAMILY
    assert (FAMILY.spare_layers, FAMILY.text_skip) == ((0,), 1)
    assert load_policy("ivc_prune", family="deepseek_vl2").stages["select"].layer is None
    assert FAMILY.default_layer(27) == 17
