"""Prompt profiles and chat messages."""

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from ivcprune.configuration.build import compose
from ivcprune.data.prompts import check_prompts, fill, for_benchmark, to_messages
from ivcprune.data.sample import Sample
from ivcprune.metrics.scoring import SCORERS
from ivcprune.models.deepseek_vl2 import processing as deepseek_vl2
from ivcprune.models.internvl import processor as internvl_processor
from ivcprune.testing import tiny_model

PROFILES = resources.files("ivcprune.conf") / "prompt"
SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
COMPLETE = (
    *("dataset_default", "deepseek_vl2", "internvl", "llava", "llava_onevision", "qwen2_vl"),
    *("qwen_custom", "tiny"),
)
"""Profiles that can ask every task."""


def read(profile: str) -> dict[str, str]:
    return dict(OmegaConf.create((PROFILES / f"{profile}.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("profile", "grounding", "vqa"),
    [
        ("tiny", "locate the dog", "the dog"),
        (
            "qwen_custom",
            "\nLocate the dog and output the bbox coordinates in JSON format.",
            "the dog\nPlease try to answer the question with short words or phrases if possible.",
        ),
        (
            "dataset_default",
            "\nLocate the dog and output the bbox coordinates in JSON format.",
            "the dog\nAnswer the question using a single word or phrase.",
        ),
    ],
)
def test_published_texts(profile: str, grounding: str, vqa: str) -> None:
    prompts = read(profile)
    for task, text in [("grounding", grounding), ("vqa", vqa)]:
        (turn,) = to_messages(Sample("a", task, [], "the dog"), prompts)
        assert turn["content"] == [{"type": "text", "text": text}]


def test_every_profile_asks_its_tasks() -> None:
    profiles = {file.name.removesuffix(".yaml") for file in PROFILES.iterdir()}
    assert profiles >= set(COMPLETE)
    for profile in sorted(profiles):
        tasks = SCORERS if profile in COMPLETE else ["grounding", "vqa"]
        check_prompts(read(profile), tasks, model="any")


PICTURE = Image.new("RGB", (2, 2))
QUESTION = Sample("a", "vqa", [PICTURE], "What is it?")
CHOICE = replace(QUESTION, task="multiple_choice", choices=["cat", "dog"])
VIDEO_CHOICE = replace(CHOICE, task="video_multiple_choice", video="clip.mp4")

CASES: dict[str, tuple[str, Sample]] = {
    "grounding": ("refcoco_val", replace(QUESTION, task="grounding", question="the dog")),
    "multiple_choice": ("mmstar", CHOICE),
    "multiple_choice, hint": ("mmstar", replace(CHOICE, hint="It barks.")),
    "multiple_choice, Chinese": ("mmbench_dev_cn", replace(CHOICE, question="这是什么?")),
    "multiple_choice, options within the question": ("mmstar", replace(CHOICE, choices=[])),
    "yes_no, POPE": ("pope", replace(QUESTION, task="yes_no")),
    "yes_no, HallusionBench": ("hallusionbench", replace(QUESTION, task="yes_no")),
    "yes_no, MME": ("mme", replace(QUESTION, task="yes_no")),
    "vqa": ("gqa_choose_rel", QUESTION),
    "vqa, RealWorldQA": ("realworldqa", QUESTION),
    "vqa_score": ("textvqa", replace(QUESTION, task="vqa_score")),
    "anls": ("docvqa", replace(QUESTION, task="anls")),
    "ocr_contains": ("ocrbench", replace(QUESTION, task="ocr_contains")),
    "video_multiple_choice, MVBench": ("mvbench", VIDEO_CHOICE),
    "video_multiple_choice, Video-MME": ("videomme", VIDEO_CHOICE),
    "video_multiple_choice, MLVU": ("mlvu_m", VIDEO_CHOICE),
    "open_answer": ("mlvu_g", replace(QUESTION, task="open_answer", video="clip.mp4")),
}


def as_text(messages: list[dict[str, Any]]) -> str:
    (turn,) = messages
    return "".join(part.get("text", "<image>") for part in turn["content"])


@pytest.mark.parametrize(
    "profile", ["dataset_default", "deepseek_vl2", "internvl", "llava", "qwen_custom"]
)
def test_prompts_are_those_of_the_snapshot(profile: str) -> None:
    prompts = read(profile)
    asked = [
        f"--- {name}\n{as_text(to_messages(sample, for_benchmark(prompts, benchmark)))}|\n"
        for name, (benchmark, sample) in CASES.items()
    ]
    snapshot = SNAPSHOTS / f"prompts_{profile}.txt"
    assert "".join(asked) == snapshot.read_text(encoding="utf-8")


QWEN_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""
"""Stands for that of Qwen2.5-VL's checkpoints, which come with their own."""

CHATS = {
    "deepseek_vl2": ("deepseek_vl2", "deepseek_vl2", deepseek_vl2.CHAT_TEMPLATE),
    "internvl": ("internvl", "internvl", internvl_processor.CHAT_TEMPLATE),
    "llava": ("llava", "llava", compose(["model=llava_1_5_7b"]).model.chat_template),
    "qwen2_5_vl": ("qwen_custom", "qwen2_5_vl", QWEN_TEMPLATE),
}
"""Profile, family and chat template of the paper's four families."""


@pytest.mark.parametrize("name", CHATS)
def test_chats_are_those_of_the_snapshot(name: str) -> None:
    """What the tokenizer gets: the family's turn markers, system text and image placeholders."""
    profile, family, template = CHATS[name]
    _, processor = tiny_model(family)
    prompts, rendered = read(profile), []
    pictures = {
        f"{case}, two images": replace(CASES[case][1], images=[PICTURE] * 2)
        for case in ("vqa", "multiple_choice")
    }
    cases = {**{case: sample for case, (_, sample) in CASES.items()}, **pictures}
    for case, sample in cases.items():
        benchmark = CASES[case.removesuffix(", two images")][0]
        messages = to_messages(sample, for_benchmark(prompts, benchmark))
        chat = processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
        rendered.append(f"--- {case}\n{chat}|\n")
    snapshot = SNAPSHOTS / f"chat_{name}.txt"
    assert "".join(rendered) == snapshot.read_text(encoding="utf-8")


def test_chats_end_where_the_published_evaluation_lets_the_model_begin() -> None:
    """Wrappers written out by hand, white space included."""
    expected = {
        "deepseek_vl2": "<|User|>: <image>\nWhat is it?",
        "internvl": "<|im_start|>user\n<IMG_CONTEXT>\nWhat is it?",
        "llava": "USER:  <image> What is it?",
        "qwen2_5_vl": "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What is it?",
    }
    ends = {
        "deepseek_vl2": "\n\n<|Assistant|>:",
        "internvl": "<|im_end|>\n<|im_start|>assistant\n",
        "llava": " ASSISTANT: ",
        "qwen2_5_vl": "<|im_end|>\n<|im_start|>assistant\n",
    }
    for name, (profile, family, template) in CHATS.items():
        messages = to_messages(QUESTION, for_benchmark(read(profile), "gqa_choose_rel"))
        chat = tiny_model(family)[1].apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
        assert expected[name] in chat
        assert chat.endswith(ends[name])


def test_parts_without_their_text_are_left_out() -> None:
    template = "[[Hint: {hint}\n]]{question}[[\n{choices}]] [[1, 2]]"
    assert fill(template, QUESTION) == "What is it? [[1, 2]]"
    full = replace(CHOICE, hint="It barks.")
    assert fill(template, full) == "Hint: It barks.\nWhat is it?\nA. cat\nB. dog [[1, 2]]"


def test_an_absent_option_keeps_the_letters_of_the_others() -> None:
    sample = replace(CHOICE, choices=["cat", "", "bird"])
    assert fill("{choices}", sample) == "A. cat\nC. bird"
    assert fill("{bracketed_choices}", sample) == "(A) cat\n(C) bird"


texts = st.lists(
    st.sampled_from(["a", "{", "}", "[[", "]]", "question", "hint", "choices", "images"])
).map("".join)


@given(question=texts, hint=texts)
def test_texts_of_a_sample_are_never_taken_for_placeholders(question: str, hint: str) -> None:
    sample = replace(QUESTION, question=question, hint=hint)
    assert fill("<{hint}|{question}>", sample) == f"<{hint}|{question}>"
    messages = to_messages(replace(sample, question="{images}"), {"vqa": "{question} {images}!"})
    assert as_text(messages) == "{images} <image>!"


def test_images_go_where_the_template_puts_them() -> None:
    (turn,) = to_messages(VIDEO_CHOICE, {"video_multiple_choice": "watch {images}{question}"})
    assert [part["type"] for part in turn["content"]] == ["text", "image", "text"]
    assert turn["content"][0]["text"] == "watch "


def test_a_benchmark_takes_the_template_with_the_longest_name_that_fits() -> None:
    prompts = {"vqa": "0", "vqa_on_mlvu": "1", "vqa_on_mlvu_hard": "2", "anls": "3"}
    assert for_benchmark(prompts, "mlvu_hard_dev")["vqa"] == "2"
    assert for_benchmark(prompts, "mlvu")["vqa"] == "1"
    assert for_benchmark(prompts, "other")["vqa"] == "0"
    assert for_benchmark(prompts, "mlvu")["anls"] == "3"
    assert prompts["vqa"] == "0"


def test_template_without_options_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.prompts.multiple_choice .*\{choices\}"):
        check_prompts({"multiple_choice": "{question}"}, ["multiple_choice"], model="tiny")


def test_images_come_before_the_text() -> None:
    image = Image.new("RGB", (2, 2))
    (turn,) = to_messages(Sample("a", "vqa", [image, image], "same?"), {"vqa": "{question}"})
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] == ["image", "image", "text"]


def test_braces_in_template_and_question_are_kept() -> None:
    prompts = {"vqa": 'answer {question} as {"x": 1}'}
    (turn,) = to_messages(Sample("a", "vqa", [], "what is {y}"), prompts)
    assert turn["content"][-1]["text"] == 'answer what is {y} as {"x": 1}'


def test_missing_template_names_task_model_and_known_tasks() -> None:
    with pytest.raises(ValueError, match=r"'tiny'.*'caption'.*\['vqa'\]"):
        check_prompts({"vqa": "{question}"}, ["vqa", "caption"], model="tiny")


def test_template_without_question_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.prompts.vqa .*'what\?'.*\{question\}"):
        check_prompts({"vqa": "what?"}, ["vqa"], model="tiny")
