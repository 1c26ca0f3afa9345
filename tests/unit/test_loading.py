"""Model configurations, against tiny checkpoints written here."""

import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
)
from transformers.models.auto import image_processing_auto

from ivcprune.models.checkpoint import locate
from ivcprune.models.loading import ModelSpec, attention_implementation
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.models.registry import family_named, supported
from ivcprune.testing import tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "some-lab/Some-Model"
CUDA = torch.device("cuda")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete Qwen2.5-VL checkpoint with one decoder layer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "vocab_size": 16,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "out_hidden_size": 16,
            "depth": 1,
            "num_heads": 2,
        },
        image_token_id=1,
        video_token_id=2,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    vocabulary = {"[UNK]": 0, "<|image_pad|>": 1, "<|video_pad|>": 2, "<pad>": 3}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "[UNK]")),
        unk_token="[UNK]",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    ImageTextProcessor(Qwen2VLImageProcessor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(written: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(written, tmp_path / "checkpoint"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine without a network; returns where HUB_ID would be in it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub" / "models--some-lab--Some-Model"


def put_in_cache(files: Path, repository: Path) -> Path:
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(files, repository / "snapshots" / COMMIT))


def spec(path: Path | str, **fields: Any) -> ModelSpec:
    defaults: dict[str, Any] = {"name": "test", "family": "qwen2_5_vl", "prompts": {}}
    return ModelSpec(path=str(path), **(defaults | fields))


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_folder_is_checked_and_loaded(written: Path) -> None:
    model_spec = spec(written)
    model_spec.check()
    model = model_spec.load_model(device="cpu")
    assert not model.training
    assert (model.dtype, model.device) == (torch.float32, CPU)
    assert model.config._attn_implementation == "sdpa"
    assert model_spec.load_model("eager", "cpu").config._attn_implementation == "eager"


def test_dtype_is_taken(written: Path) -> None:
    assert spec(written, dtype="bfloat16").load_model(device="cpu").dtype == torch.bfloat16


def test_selection_layer_is_the_one_asked_for(checkpoint: Path) -> None:
    family = family_named("qwen2_5_vl")

    def layers(model_spec: ModelSpec) -> list[int]:
        loaded = model_spec.load_model(device="cpu").config
        return [family.selection_layer(config) for config in (model_spec.config(), loaded)]

    assert layers(spec(checkpoint)) == [1, 1]
    assert layers(spec(checkpoint, selection_layer=0)) == [0, 0]
    change_json(checkpoint / "config.json", ivcprune_selection_layer=5)
    assert layers(spec(checkpoint)) == [5, 5]
    assert layers(spec(checkpoint, selection_layer=0)) == [0, 0]


def test_chat_template_takes_the_place_of_the_checkpoints_own(written: Path) -> None:
    template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    messages = [{"role": "user", "content": "hello"}]
    processor = spec(written, chat_template=template).load_processor()
    assert processor.apply_chat_template(messages, tokenize=False) == "<hello>"
    own = spec(written).load_processor()
    assert own.chat_template != template


@pytest.mark.parametrize(
    ("limits", "grid"),
    [
        ({}, [1, 16, 16]),
        ({"max_pixels": 4 * 28**2}, [1, 4, 4]),
        ({"min_pixels": 100 * 28**2}, [1, 20, 20]),
    ],
)
def test_pixel_limits_decide_the_grid(
    written: Path, limits: dict[str, int], grid: list[int]
) -> None:
    processor = spec(written, **limits).load_processor()
    pixels = processor.image_processor(Image.new("RGB", (224, 224)), return_tensors="pt")
    assert pixels["image_grid_thw"].tolist() == [grid]
    assert processor.tokenizer.padding_side == "left"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "half"}, "model.dtype is 'half': choose one of auto, bfloat16"),
        ({"box_format": "json"}, "model.box_format is 'json': choose one of"),
        ({"max_new_tokens": 0}, "model.max_new_tokens is 0: it must be a whole number, at least 1"),
        ({"selection_layer": -1}, r"model.selection_layer is -1: .* number, at least 0"),
        ({"chat_template": "{% for"}, r"model.chat_template is no Jinja template \(line 1"),
        ({"min_pixels": 9, "max_pixels": 4}, "model.min_pixels=9 is more than model.max_pixels=4"),
    ],
)
def test_bad_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec("anywhere", **fields)


@pytest.mark.parametrize("path", ["/no/such/folder", "./here", "owner/name/more", "tiny"])
def test_missing_folder_is_named(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"model.path='{path}' does not exist"):
        spec(path).check()


def test_unknown_bundled_model_lists_the_bundled_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"'bundled:huge' is not bundled .* allowed are"):
        spec("bundled:huge").check()


def test_folder_without_weights_is_incomplete(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks \['model.safetensors'\]"):
        spec(checkpoint).check()


def test_lost_shard_is_named(checkpoint: Path) -> None:
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    shard = checkpoint / "model-00001-of-00002.safetensors"
    (checkpoint / "model.safetensors").rename(shard)
    index = checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(FileNotFoundError, match=r"lacks \['model-00002-of-00002.safetensors'\]"):
        spec(checkpoint).check()


def test_unsupported_architecture_lists_the_supported_families(checkpoint: Path) -> None:
    change_json(checkpoint / "config.json", model_type="llama")
    with pytest.raises(ValueError, match=r"model.path=.*'llama' is not supported.*qwen2_5_vl"):
        spec(checkpoint).check()


def test_wrong_family_is_corrected(written: Path) -> None:
    with pytest.raises(ValueError, match=r"family 'qwen2_5_vl': choose a model=<name>"):
        spec(written, family="llava").check()


def test_checkpoint_that_lacks_weights_is_refused(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    lost = next(name for name in weights if name.endswith("q_proj.weight"))
    del weights[lost]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of its model.*q_proj"):
        spec(checkpoint).load_model(device="cpu")


def test_fingerprint_follows_what_is_loaded(checkpoint: Path) -> None:
    before = spec(checkpoint).fingerprint()
    (checkpoint / "README.md").write_text("a model card")
    assert spec(checkpoint).fingerprint() == before
    weights = load_file(checkpoint / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, checkpoint / "model.safetensors")
    retrained = spec(checkpoint).fingerprint()
    assert retrained != before
    change_json(checkpoint / "tokenizer_config.json", note="changed")
    assert spec(checkpoint).fingerprint() not in (before, retrained)


def test_cached_hub_checkpoint_needs_no_network(written: Path, hub_cache: Path) -> None:
    put_in_cache(written, hub_cache)
    model_spec = spec(HUB_ID)
    model_spec.check()
    assert model_spec.fingerprint() == COMMIT
    assert model_spec.load_model(device="cpu").config.model_type == "qwen2_5_vl"


@pytest.mark.parametrize("cached", ["nothing", "config only"])
def test_unreachable_hub_says_what_to_do(written: Path, hub_cache: Path, cached: str) -> None:
    if cached == "config only":
        (put_in_cache(written, hub_cache) / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError) as failure:
        spec(HUB_ID).check()
    message = str(failure.value)
    assert message.startswith(f"model.path='{HUB_ID}'")
    assert f"`hf download {HUB_ID}`" in message
    assert "model.path=/local/folder" in message


def test_folder_comes_before_a_hub_id_of_the_same_name(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(written, tmp_path / HUB_ID)
    monkeypatch.chdir(tmp_path)
    assert locate(HUB_ID).commit is None


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_explicit_attention_is_taken(attention: str) -> None:
    assert attention_implementation(attention, CPU, torch.float32) == attention


def test_auto_attention_is_flash_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ivcprune.models.loading.is_flash_attn_2_available", lambda: True)
    assert attention_implementation("auto", CUDA, torch.bfloat16) == "flash_attention_2"
    assert attention_implementation("auto", CUDA, torch.float32) == "sdpa"
    assert attention_implementation("auto", CPU, torch.bfloat16) == "sdpa"


@pytest.mark.parametrize(
    ("device", "dtype", "message"),
    [
        (CPU, torch.bfloat16, "attention=flash needs a CUDA GPU"),
        (CUDA, torch.float32, "set model.dtype=bfloat16"),
        (CUDA, torch.bfloat16, r"pip install 'ivcprune\[flash\]'"),
    ],
)
def test_flash_says_what_it_needs(
    device: torch.device, dtype: torch.dtype, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ivcprune.models.loading.is_flash_attn_2_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        attention_implementation("flash", device, dtype)


def test_unknown_attention_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="attention is 'fast': did you mean 'flash'"):
        attention_implementation("fast", CPU, torch.float32)


def configured(name: str) -> ModelSpec:
    with initialize_config_module("ivcprune.conf", version_base="1.3"):
        model_spec = instantiate(compose(overrides=[f"+model={name}"]).model)
    assert isinstance(model_spec, ModelSpec)
    return model_spec


@pytest.mark.parametrize("size", ["3b", "7b", "32b", "72b"])
def test_qwen_configs_follow_the_published_runs(size: str) -> None:
    model_spec = configured(f"qwen2_5_vl_{size}")
    assert model_spec.name == f"qwen2_5_vl_{size}"
    assert model_spec.path == f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct"
    assert (model_spec.min_pixels, model_spec.max_pixels) == (4 * 28**2, 16384 * 28**2)
    assert model_spec.max_new_tokens == 512
    assert "JSON" in model_spec.prompts["grounding"]


def test_tiny_config_is_bundled() -> None:
    model_spec = configured("tiny")
    assert (model_spec.name, model_spec.path) == ("tiny", "bundled:tiny")
    assert model_spec.prompts["grounding"] == "locate {question}"


@pytest.mark.parametrize("family", supported())
def test_images_are_resized_by_pil_also_where_torchvision_is_installed(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = tiny_model(family)
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    chosen = []
    resolve = image_processing_auto._resolve_backend

    def observed(*arguments: Any) -> str:
        chosen.append(resolve(*arguments))
        return chosen[-1]

    monkeypatch.setattr(image_processing_auto, "is_torchvision_available", lambda: True)
    monkeypatch.setattr(image_processing_auto, "_resolve_backend", observed)
    loaded = family_named(family).load_processor(tmp_path)
    assert set(chosen) <= {"pil"}
    assert "torchvision" not in type(loaded.image_processor).__module__


@pytest.mark.parametrize(
    "name",
    sorted(
        file.name.removesuffix(".yaml")
        for file in (resources.files("ivcprune.conf") / "model").iterdir()
        if file.name.endswith(".yaml") and not file.name.startswith("tiny")  # bundled ones
    ),
)
def test_every_hub_model_says_where_it_is_and_how_it_is_loaded(name: str) -> None:
    with initialize_config_module("ivcprune.conf", version_base="1.3"):
        stated = compose("config", [f"model={name}"]).model
    assert {"revision", "dtype", "min_pixels", "max_pixels", "max_new_tokens"} <= set(stated)
    assert {"selection_layer", "chat_template", "prompts", "box_format"} <= set(stated)
    assert (stated.name, stated.device_map) == (name, None)
