"""Which policies an engine can apply; settings; what of a question counts."""

from types import SimpleNamespace

import pytest
import torch

from ivcprune.serving.vllm.engine import check_engine, check_version
from ivcprune.serving.vllm.identity import with_question
from ivcprune.serving.vllm.picture import Picture, check_sizes, questions
from ivcprune.serving.vllm.plan import plan_of
from ivcprune.serving.vllm.positions import prompt_positions
from ivcprune.testing import tiny_model

IMAGE = 9
UNSURE = "selector@stages.select.selector=fastv_ivc"


def config(settings, model_type="qwen2_5_vl", depth=6):
    text = SimpleNamespace(num_hidden_layers=depth)
    return SimpleNamespace(ivcprune=settings, model_type=model_type, get_text_config=lambda: text)


def plan(**settings):
    return plan_of(config(settings))


def picture(plan, grid=(4, 6), question=(1, 2, IMAGE, 3, 4, 5)):
    frequencies = torch.tensor([1.0, 0.1]), torch.zeros(2, dtype=torch.long)
    return Picture(grid, question, IMAGE, plan, frequencies)


def test_an_input_policy_needs_no_scout_pass_and_no_question():
    made = plan(policy="divprune", average_tokens=0.5)
    assert (made.name, made.stage.layer, made.reads_prompt) == ("divprune", 0, False)
    assert picture(made).n_kept() == 12


def test_a_layer_makes_a_scout_pass_under_another_name():
    made = plan(policy="ivc_prune", average_tokens=0.25, layer=4)
    assert (made.name, made.stage.layer, made.reads_prompt) == ("ivc_prune_recomputed", 4, True)
    assert "4 of 6 layers" in made.in_words()
    assert "0.67" in made.in_words()
    assert picture(made).n_kept() == 6


def test_without_settings_or_stages_nothing_is_pruned():
    assert plan_of(SimpleNamespace(model_type="llava")) is None
    assert plan(policy="none") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "ivc_prune"}, "'all_layers'.*add \"layer\""),
        ({"policy": "fastv"}, "'from_stage'.*add \"layer\""),
        ({"policy": "pdrop"}, "3 stages.*divprune"),
        ({"policy": "pdrop", "layer": 2}, "3 stages"),
        ({"policy": "vscan"}, "2 stages"),
        ({"policy": "pattern_none"}, "annotated"),
        ({"policy": "ivc_prune", "layer": 0}, "layer is 0.*values"),
        ({"policy": "ivc_prune", "layer": 6}, "6 decoder layers"),
        ({"policy": "ivc_prune", "layer": "4"}, "ivcprune.layer is '4'"),
        ({"policy": "ivc_prun"}, "ivc_prun"),
        ({"policy": "divprune", "keep": 0.5}, "unknown settings keep"),
        ({"policy": "divprune", "overrides": "a=1"}, "list of overrides"),
        ({"average_tokens": 0.5}, "give a mapping"),
        ("divprune", "give a mapping"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(settings, message):
    with pytest.raises(ValueError, match=message):
        plan_of(config(settings))


@pytest.mark.parametrize("model_type", ["llava", "internvl", "llava_onevision"])
def test_families_whose_positions_cannot_be_kept_are_refused(model_type):
    with pytest.raises(ValueError, match="counts the positions"):
        plan_of(config({"policy": "divprune"}, model_type))


def test_sizes_must_be_known_before_anything_runs():
    check_sizes(plan(policy="divprune"))
    check_sizes(plan(policy="ivc_prune", layer=1))
    with pytest.raises(ValueError, match="does not say how many"):
        check_sizes(plan(policy="ivc_only", layer=1, overrides=[UNSURE]))


def test_positions_of_a_question_are_those_of_the_served_prompt():
    made = picture(plan(policy="divprune"), grid=(4, 6))
    assert made.positions[:, 2].tolist() == [2, 2, 2]
    assert made.positions[:, 2 + 7].tolist() == [2, 3, 3]
    assert made.positions[0, -3:].tolist() == [8, 9, 10]
    served, _ = prompt_positions(8, [(2, 3, 6)])
    assert served[0, -3:].tolist() == [8, 9, 10]


def test_text_that_asks_begins_behind_the_closing_tokens():
    made = picture(plan(policy="ivc_prune", layer=1))
    assert made.text.counts["all"] == [5]
    assert made.text.masks["after_image"].nonzero()[:, 1].tolist() == [
        28
    ]  # 2 + 24 + text_skip of 2


def test_positions_and_axes_equal_those_of_transformers():
    model, _ = tiny_model("qwen2_5_vl")
    made = plan(policy="ivc_prune", layer=1)
    ids = torch.tensor([[7, 8, *[model.config.image_token_id] * 24, 11, 12, 13]])
    kinds = (ids == model.config.image_token_id).int()
    expected, _ = model.model.get_rope_index(
        ids, image_grid_thw=torch.tensor([[1, 8, 12]]), mm_token_type_ids=kinds
    )
    assert torch.equal(picture(made, (4, 6), (7, 8, IMAGE, 11, 12, 13)).positions, expected[:, 0])


class TestQuestions:
    def test_each_picture_stands_alone_in_the_prompt(self):
        made = plan(policy="ivc_prune", layer=1)
        assert questions([1, IMAGE, 2, IMAGE, 3], IMAGE, 2, made) == [
            [1, IMAGE, 2, 3],
            [1, 2, IMAGE, 3],
        ]

    def test_a_policy_that_does_not_read_the_prompt_knows_the_place_alone(self):
        made = plan(policy="divprune")
        assert questions([1, 5, IMAGE, 2], IMAGE, 1, made) == [[0, 0, IMAGE]]
        assert questions([7, 8, IMAGE, 4, 4], IMAGE, 1, made) == [[0, 0, IMAGE]]

    def test_an_expanded_prompt_is_refused(self):
        with pytest.raises(ValueError, match="2 image tokens for 1 pictures"):
            questions([IMAGE, IMAGE], IMAGE, 1, plan(policy="divprune"))

    def test_the_identity_tells_questions_and_pictures_apart(self):
        assert with_question("a", [1, 2]) == with_question("a", [1, 2])
        others = [("b", [1, 2]), ("a", [1, 3]), ("a", [12]), ("a", [])]
        assert with_question("a", [1, 2]) not in {with_question(*other) for other in others}


def engine(**changes):
    parallel = {"pipeline_parallel_size": 1, "tensor_parallel_size": 1, "enable_dbo": False}
    parallel |= {key: value for key, value in changes.items() if key in parallel}
    return SimpleNamespace(
        parallel_config=SimpleNamespace(**parallel),
        lora_config=changes.get("lora"),
        speculative_config=changes.get("speculative"),
        model_config=SimpleNamespace(
            multimodal_config=SimpleNamespace(video_pruning_rate=changes.get("video"))
        ),
    )


class TestEngine:
    @pytest.mark.parametrize(
        ("changes", "option"),
        [
            ({"pipeline_parallel_size": 2}, "--pipeline-parallel-size"),
            ({"tensor_parallel_size": 2}, "--tensor-parallel-size"),
            ({"enable_dbo": True}, "--enable-dbo"),
            ({"lora": object()}, "--enable-lora"),
            ({"speculative": object()}, "--speculative-config"),
            ({"video": 0.5}, "--video-pruning-rate"),
        ],
    )
    def test_what_would_give_other_answers_is_refused(self, changes, option):
        with pytest.raises(ValueError, match=option):
            check_engine(plan(policy="ivc_prune", layer=1), engine(**changes))

    def test_heads_and_adapters_matter_to_scouts_alone(self):
        check_engine(plan(policy="divprune"), engine(tensor_parallel_size=2, lora=object()))
        check_engine(plan(policy="ivc_prune", layer=1), engine())

    @pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.32.0+cpu"])
    def test_the_tested_minor_version_is_taken(self, version):
        check_version(version)

    @pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "1.32.0", "0.320.0"])
    def test_another_is_named(self, version):
        with pytest.raises(RuntimeError, match=rf"this is {version}.*install vllm==0\.32"):
            check_version(version)
