"""Prompt profiles and chat messages."""

from importlib import resources

import pytest
from omegaconf import OmegaConf
from PIL import Image

from ivcprune.data.prompts import check_prompts, to_messages
from ivcprune.data.sample import Sample

PROFILES = resources.files("ivcprune.conf") / "prompt"


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


def test_every_profile_asks_both_tasks() -> None:
    profiles = [file.name.removesuffix(".yaml") for file in PROFILES.iterdir()]
    assert len(profiles) >= 3
    for profile in profiles:
        check_prompts(read(profile), ["grounding", "vqa"], model="any")


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
