"""`job=train_tiny` for a few steps: the whole way from random weights to a checkpoint."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune.configuration.build import build_job, build_model_spec, compose
from ivcprune.data.sample import Sample
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.training.validation import answer

BUNDLED = Path(str(files("ivcprune.assets") / "tiny"))


def train(folder: Path, *overrides: str, model: str = "tiny") -> Path:
    small = ["batch_size=2", "precision=32-true", "validation_samples=4"]
    cfg = compose(
        [
            "job=train_tiny",
            f"model={model}",
            f"paths.output_dir={folder}",
            f"paths.cache_dir={folder / 'cache'}",
            *(f"job.{override}" for override in [*small, *overrides]),
        ]
    )
    checkpoint = build_job(cfg)(cfg)
    assert isinstance(checkpoint, Path)
    return checkpoint


def test_a_few_steps_give_a_checkpoint_that_generates(tmp_path: Path) -> None:
    checkpoint = train(tmp_path, "processes=2", "steps=4", "validate_every=2", "probe_until=0.5")
    with (checkpoint.parent / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    validated = [row for row in rows if row["val/grounding"]]
    assert [row["step"] for row in validated] == ["1", "3"]
    assert all(0 <= float(row["val/vqa"]) <= 1 for row in validated)

    with Image.open(checkpoint.parent / "curve.png") as curve:
        assert curve.size == (840, 480)

    processor = ImageTextProcessor.from_pretrained(checkpoint)
    model, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    sample = Sample("0", "vqa", [Image.new("RGB", (168, 196))], "is there a red star?")
    ((text, _),) = answer(model.eval(), processor, [sample], {"vqa": "{question}"})
    assert set(text.split()) <= set(processor.tokenizer.get_vocab())


@pytest.mark.parametrize("name", ["tiny_llava", "tiny_internvl"])
def test_other_architectures_on_two_processes(tmp_path: Path, name: str) -> None:
    options = ["processes=2", "steps=2", "validate_every=2"]
    checkpoint = train(tmp_path, *options, model=name)
    assert checkpoint.name == name
    cfg = compose([f"model={name}", f"model.path={checkpoint}"])
    spec = build_model_spec(cfg)
    spec.check()
    trained = spec.load_model(device="cpu")
    sample = Sample("0", "vqa", [Image.new("RGB", (168, 336))], "is there a red star?")
    processor: Any = spec.load_processor()
    ((text, _),) = answer(trained, processor, [sample], {"vqa": "{question}"})
    assert processor.tokenizer.unk_token not in processor.tokenizer.tokenize(text)


def test_a_bundled_model_learns_to_read_as_well(tmp_path: Path) -> None:
    options = ["processes=1", "steps=2", "validate_every=2", "lessons=text", "start='bundled:tiny'"]
    checkpoint = train(tmp_path, *options, model="tiny_text")
    with (checkpoint.parent / "log" / "version_0" / "metrics.csv").open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["val/grounding"])
    assert {"val/vqa", "val/scenes_read", "val/scenes_lookup"} < set(row)
    # two steps away from a model that answers well
    before = Qwen2_5_VLForConditionalGeneration.from_pretrained(BUNDLED, dtype=torch.float32)
    after = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    old, new = (m.model.language_model.layers[0].mlp.up_proj.weight for m in (before, after))
    assert 0 < (old - new).abs().max() < 0.02
    assert after.config.text_config.vocab_size > before.config.text_config.vocab_size


def test_lessons_are_known_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"job\.lessons.*text"):
        train(tmp_path, "lessons=poems")


def test_only_bundled_architectures_can_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.name.*tiny_llava"):
        train(tmp_path, model="llava_1_5_7b")


def test_training_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, "processes=1", "steps=2", "validate_every=2")
    (saved,) = (tmp_path / "train_tiny" / "checkpoints").glob("*.ckpt")
    train(tmp_path, "processes=1", "steps=4", "validate_every=2", f"resume='{saved}'")
    names = [path.name for path in saved.parent.iterdir()]
    assert any("step=4" in name for name in names)


@pytest.mark.parametrize("option", ["batch_size=3", "validation_samples=6"])
def test_work_must_divide_among_processes(tmp_path: Path, option: str) -> None:
    with pytest.raises(ValueError, match=rf"job\.{option} .* multiple of"):
        train(tmp_path, "processes=2", option)


def test_a_policy_is_refused_where_questions_are_packed(tmp_path: Path) -> None:
    cfg = compose(["job=train_tiny", "policy=ivc_prune", f"paths.output_dir={tmp_path}"])
    with pytest.raises(ValueError, match="job=tune_tiny policy=<name>"):
        build_job(cfg)(cfg)


@pytest.mark.parametrize("policy", ["none", "ivc_prune"])
def test_the_bundled_model_goes_on_under_a_policy(tmp_path: Path, policy: str) -> None:
    small = ["steps=2", "batch_size=2", "processes=1", "precision=32-true"]
    small += ["validate_every=2", "validation_samples=4"]
    cfg = compose(
        [
            "job=tune_tiny",
            f"policy={policy}",
            f"paths.output_dir={tmp_path}",
            f"paths.cache_dir={tmp_path / 'cache'}",
            *(f"job.{override}" for override in small),
        ]
    )
    checkpoint = build_job(cfg)(cfg)
    with (checkpoint.parent / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert any(row["val/grounding"] for row in rows)

    before = Qwen2_5_VLForConditionalGeneration.from_pretrained(BUNDLED, dtype=torch.float32)
    after = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    assert after.config.ivcprune_selection_layer == before.config.ivcprune_selection_layer
    old, new = before.state_dict(), after.state_dict()
    assert not any(
        torch.equal(old[name], new[name]) for name in old if name.endswith("q_proj.weight")
    )
    assert ImageTextProcessor.from_pretrained(checkpoint).chat_template
