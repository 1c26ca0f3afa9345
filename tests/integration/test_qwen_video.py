"""Videos of the Qwen families: from PIL frames over the processor to pruned generation."""

from __future__ import annotations

import math

import pytest
import torch

from ivcprune import PruningPolicy, Stage, load_policy, prune
from ivcprune.models.registry import family_of_model
from ivcprune.selectors import (
    EvenMassSelector,
    FastVSelector,
    IVCSelector,
    Per,
    RandomSelector,
    RefineSelector,
    SeedSelector,
    TopUp,
    Union,
)
from ivcprune.testing import tiny_model
from ivcprune.testing.greedy import generate
from ivcprune.testing.inputs import picture
from qwen_helpers import (
    DEPTH,
    assert_equals_mask_reference,
    clip,
    encode,
    enter,
    ragged_clips,
)

FAMILIES = ("qwen2_5_vl", "qwen2_vl", "qwen3_vl")


def ivc_prune(scope="image"):
    first = Union(members={"ivc": IVCSelector(), "seeds": SeedSelector()})
    return Per(scope=scope, selector=TopUp(first=first, then=RefineSelector(), keep=0.5))


@pytest.fixture(params=FAMILIES, scope="module")
def model_and_processor(request):
    return tiny_model(request.param, depth=DEPTH)


def layout(run):
    """(sample, image, kind, grid) of each row."""
    return [(r.sample, r.image, r.kind, r.grid) for r in run.stats.before.rows]


RAGGED = [
    *[(0, 0, "frame", (2, 3))] * 3,
    (0, 1, "image", (3, 2)),
    (1, 0, "image", (2, 4)),
    (1, 1, "frame", (3, 2)),
    *[(1, 2, "frame", (3, 2))] * 2,
]
"""Of `ragged_clips`: five frames make three rows, two of which hold two frames."""


class TestBlocks:
    def test_of_generation(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_clips(processor)
        with prune(model, PruningPolicy({"s": Stage(2, RandomSelector(keep=0.5))})) as run:
            generate(model, inputs)
        assert layout(run) == RAGGED
        tokens = run.stats.before
        found = torch.zeros_like(inputs["input_ids"])
        sample = tokens.sample[:, None].expand_as(tokens.index)
        found[sample[tokens.valid], tokens.index[tokens.valid]] += 1
        assert torch.equal(found, (inputs["mm_token_type_ids"] > 0).long())

    def test_of_a_single_forward(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, PruningPolicy({"s": Stage(2, RandomSelector(keep=0.5))})) as run:
            model(**ragged_clips(processor))
        assert layout(run) == RAGGED

    def test_of_beams(self, model_and_processor):
        model, processor = model_and_processor
        with prune(model, PruningPolicy({"s": Stage(2, RandomSelector(keep=0.5))})) as run:
            model.generate(**ragged_clips(processor), num_beams=2, max_new_tokens=1)
        rows = layout(run)
        assert [row[1:] for row in rows if row[0] < 2] == [r[1:] for r in RAGGED if r[0] == 0] * 2
        assert [row[1:] for row in rows if row[0] >= 2] == [r[1:] for r in RAGGED if r[0] == 1] * 2

    def test_without_sizes(self, model_and_processor):
        """Grids and features may be missing; ids and positions tell the videos apart."""
        model, processor = model_and_processor
        inputs = ragged_clips(processor)
        family, core = family_of_model(model), model.model
        positions, _ = core.get_rope_index(**{k: v for k, v in inputs.items() if "pixel" not in k})
        blocks = family.blocks(core, {"input_ids": inputs["input_ids"]}, positions)
        assert [(b.sample, b.image, b.kind, b.grid) for b in blocks] == RAGGED

    def test_videos_of_one_shape_stay_apart(self, model_and_processor):
        model, processor = model_and_processor
        inputs = encode(processor, [clip(56, 56, 4), clip(56, 56, 4, 9), "compare"])
        with prune(model, PruningPolicy({"s": Stage(2, RandomSelector(keep=0.5))})) as run:
            model(**inputs)
        assert [image for _, image, _, _ in layout(run)] == [0, 0, 1, 1]


class TestExactness:
    @pytest.mark.parametrize("backend", ["sdpa", "eager"])
    @pytest.mark.parametrize("cache", ["all_layers", "from_stage"])
    @pytest.mark.parametrize("scope", ["image", "row"])
    def test_one_stage(self, model_and_processor, backend, cache, scope):
        model, processor = model_and_processor
        model.set_attn_implementation(backend)
        policy = PruningPolicy({"select": Stage(2, ivc_prune(scope))}, cache=cache)
        assert_equals_mask_reference(model, ragged_clips(processor), policy)

    def test_several_stages(self, model_and_processor):
        model, processor = model_and_processor
        stages = {
            "input": Stage(0, RandomSelector(keep=0.8)),
            "early": Stage(1, Per(scope="sample", selector=FastVSelector(keep=0.6))),
            "late": Stage(3, Per(scope="row", selector=IVCSelector(keep=0.2))),
        }
        assert_equals_mask_reference(model, ragged_clips(processor), PruningPolicy(stages))

    @pytest.mark.parametrize(
        "choice",
        [("ivc_prune_progressive",), ("ivc_prune", "selector@stages.select.selector=adaptive")],
    )
    def test_beyond_the_paper(self, model_and_processor, choice):
        model, processor = model_and_processor
        assert_equals_mask_reference(model, ragged_clips(processor), load_policy(*choice))

    def test_frames_share_exactly_the_budget_of_their_video(self, model_and_processor):
        model, processor = model_and_processor
        # without the coordinates of each frame: in frames so small they are half of the tokens
        half = TopUp(first=SeedSelector(), then=EvenMassSelector(), keep=0.5)
        policy = PruningPolicy({"select": Stage(2, Per(scope="image", selector=half))})
        run = assert_equals_mask_reference(model, ragged_clips(processor), policy)
        # 18 and 6 tokens, then 8, 6 and 12: half of each image or video
        assert run.stats.kept_by_stage == {"select": [9 + 3, 4 + 3 + 6]}

    def test_no_policy_changes_nothing(self, model_and_processor):
        model, processor = model_and_processor
        inputs = ragged_clips(processor)
        plain = generate(model, inputs)
        with prune(model, load_policy("none")):
            ours = generate(model, inputs)
        assert all(torch.equal(a, b) for a, b in zip(plain.logits, ours.logits, strict=True))

    def test_beams_of_a_batch_equal_beams_of_singles(self, model_and_processor):
        model, processor = model_and_processor
        samples = ([clip(84, 56, 3), "what"], [picture(56, 56), clip(56, 84, 4, 5), "which one"])
        options = {"num_beams": 2, "max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
        with enter(model, PruningPolicy({"select": Stage(2, ivc_prune())})):
            together = model.generate(**encode(processor, *samples), **options)[:, -3:]
            singles = [
                model.generate(**encode(processor, sample), **options)[:, -3:] for sample in samples
            ]
        assert torch.equal(together, torch.cat(singles))


class TestPolicies:
    """`ivc_prune` ranks a clip as one, as published; `ivc_prune_paper` each frame (A.2)."""

    def kept(self, model_and_processor, policy):
        model, processor = model_and_processor
        family = family_of_model(model).name
        with prune(model, load_policy(policy, family=family)) as run:
            generate(model, encode(processor, [clip(140, 112, 6), "what happens"]))
        assert [row.original_count for row in run.stats.after.rows] == [20, 20, 20]
        return [row.count for row in run.stats.after.rows]

    def test_a_clip_is_ranked_as_one(self, model_and_processor):
        counts = self.kept(model_and_processor, "ivc_prune")
        assert sum(counts) == 30
        assert counts != [10, 10, 10]

    def test_a_frame_is_ranked_on_its_own(self, model_and_processor):
        least, most = round(0.4 * 20), round(0.4 * 20) + 2 * round(0.1 * 20) + math.ceil(0.2)
        assert all(least <= n <= most for n in self.kept(model_and_processor, "ivc_prune_paper"))


def test_timestamps_are_text_and_stay():
    model, processor = tiny_model("qwen3_vl", depth=DEPTH)
    metadata = [{"fps": 2.0, "total_num_frames": 40, "frames_indices": [0, 10, 20, 30]}]
    inputs = encode(processor, [clip(84, 56, 4), "when"], video_metadata=metadata)
    text = processor.decode(inputs["input_ids"][0])
    # the times of a row's two frames are averaged: 0 and 5 s, 10 and 15 s
    assert text.index("<2.5 seconds>") < text.index("<12.5 seconds>")
    n_text = int((inputs["mm_token_type_ids"] == 0).sum())
    policy = PruningPolicy({"s": Stage(0, RandomSelector(keep=0.5))})
    with prune(model, policy) as run:
        generate(model, inputs)
    assert run.stats.n_text == [n_text]
    assert run.stats.kv_tokens.unique().tolist() == [n_text + 6]


def test_frame_times_turn_the_first_axis_of_qwen2_5_vl():
    """Two frames a second, two a patch: patches are `tokens_per_second` positions apart."""
    model, processor = tiny_model("qwen2_5_vl", depth=DEPTH)
    metadata = [{"fps": 2.0, "total_num_frames": 6, "frames_indices": list(range(6))}]
    inputs = encode(processor, [clip(56, 56, 6), "when"], video_metadata=metadata)
    assert inputs["second_per_grid_ts"].tolist() == [1.0]
    with prune(model, PruningPolicy({"s": Stage(0, RandomSelector(keep=0.5))})) as run:
        generate(model, inputs)
    times = run.stats.before.positions[0, :, 0]
    step = model.config.vision_config.tokens_per_second
    assert times.diff().tolist() == [step, step]
