"""From rows to model inputs, with a real Qwen2.5-VL processor built here."""

import copy
import io
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor

from ivcprune.data.batch import Batch, Collate, Failure, Row
from ivcprune.data.frames import SegmentCentres, UniformFrames
from ivcprune.data.sample import DEFAULTS
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.models.qwen.qwen2_5_vl import Qwen25VL

WORDS = ["[UNK]", "<pad>", "<|image_pad|>", "<|video_pad|>", "locate", "the", "red", "circle"]
TEMPLATE = (
    "{% for part in messages[0]['content'] %}{{ ' ' + part['text'] if part['type'] == 'text' "
    "else '<|' + part['type'] + '_pad|>' }}{% endfor %}"
)
PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}


@pytest.fixture(scope="module")
def collate() -> Collate:
    vocabulary = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    vocabulary.add_special_tokens(WORDS[1:4])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, unk_token="[UNK]", pad_token="<pad>"
    )
    image_processor = Qwen2VLImageProcessor(
        size={"shortest_edge": 28 * 28, "longest_edge": 200 * 28 * 28}
    )
    return Collate(Qwen25VL(), ImageTextProcessor(image_processor, tokenizer, TEMPLATE), PROMPTS)


def png(width: int, height: int, mode: str = "RGB", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format="PNG", exif=exif)
    return file.getvalue()


def row(sample_id: str, *images: bytes, question: str = "the red circle") -> Row:
    return DEFAULTS | {
        "id": sample_id,
        "group_id": sample_id,
        "task": "grounding",
        "images": [{"bytes": image, "path": None} for image in images],
        "question": question,
        "answers": [],
        "boxes": [[0.0, 0.0, 7.0, 7.0]],
        "category": "attribute",
        "width": 0,
        "height": 0,
    }


def test_ragged_batch_is_left_padded(collate: Collate) -> None:
    batch = collate([[row("small", png(56, 28)), row("large", png(84, 56))]])
    ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    text = [WORDS.index(word) for word in ["locate", "the", "red", "circle"]]
    assert ids[0].tolist() == [1] * 4 + [2] * 2 + text
    assert ids[1].tolist() == [2] * 6 + text
    assert mask[0].tolist() == [0] * 4 + [1] * 6
    assert batch.inputs["image_grid_thw"].tolist() == [[1, 2, 4], [1, 4, 6]]
    assert batch.inputs["mm_token_type_ids"].sum(dim=1).tolist() == [2, 6]
    assert batch.failures == []


def test_sizes_are_of_the_first_image_as_the_model_sees_it(collate: Collate) -> None:
    rows = [row("two", png(60, 28), png(84, 84)), row("none"), row("one", png(28, 120))]
    batch = collate([rows])
    assert batch.input_sizes == [(56, 28), (0, 0), (28, 112)]
    assert [(s.width, s.height) for s in batch.samples] == [(60, 28), (0, 0), (28, 120)]


def test_text_only_batch(collate: Collate) -> None:
    batch = collate([[row("none")]])
    assert "pixel_values" not in batch.inputs
    assert batch.input_sizes == [(0, 0)]


def test_corrupt_images_become_failures_and_the_rest_goes_on(collate: Collate) -> None:
    broken = [b"no image", png(56, 56)[:60], b"", png(56, 56)[:-30]]
    rows = [row(f"broken-{i}", data) for i, data in enumerate(broken)]
    batch = collate([[rows[0], row("good", png(56, 56)), *rows[1:]]])
    assert [sample.id for sample in batch.samples] == ["good"]
    assert [failure.sample_id for failure in batch.failures] == [r["id"] for r in rows]
    assert all(failure.task == "grounding" and failure.message for failure in batch.failures)
    alone = collate([[row("good", png(56, 56))]])
    assert torch.equal(batch.inputs["input_ids"], alone.inputs["input_ids"])


def test_what_the_processor_refuses_becomes_a_failure(collate: Collate) -> None:
    batch = collate([[row("ribbon", png(6000, 10)), row("good", png(56, 56))]])
    assert [sample.id for sample in batch.samples] == ["good"]
    (failure,) = batch.failures
    assert failure.sample_id == "ribbon"
    assert "aspect ratio" in failure.message


@pytest.mark.parametrize("items", [[], [[]], [[row("broken", b"")]]])
def test_batch_without_samples_has_no_inputs(collate: Collate, items: list[list[Row]]) -> None:
    batch = collate(items)
    assert (batch.inputs, batch.samples, batch.input_sizes) == ({}, [], [])
    assert batch.to("cpu").inputs == {}


def test_images_are_rgb_and_upright(collate: Collate) -> None:
    batch = collate([[row("rgba", png(56, 28, mode="RGBA")), row("turned", png(56, 28, "L", 6))]])
    assert [sample.images[0].mode for sample in batch.samples] == ["RGB", "RGB"]
    assert [(s.width, s.height) for s in batch.samples] == [(56, 28), (28, 56)]
    assert batch.input_sizes == [(56, 28), (28, 56)]


def test_to_moves_the_inputs_only() -> None:
    failures = [Failure("a", "vqa", "gone")]
    batch = Batch({"input_ids": torch.ones(1, 2)}, failures=failures)
    moved = batch.to("meta")
    assert moved.inputs["input_ids"].device.type == "meta"
    assert moved.failures == failures
    assert batch.inputs["input_ids"].device.type == "cpu"


def test_collate_and_batch_travel_between_processes(collate: Collate) -> None:
    items = [[row("a", png(56, 28))]]
    batch = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(collate))(items)))
    assert torch.equal(batch.inputs["pixel_values"], collate(items).inputs["pixel_values"])
    assert batch.samples[0].images[0].size == (56, 28)


def video_row(sample_id: str, folder: Path, metadata: str = "") -> Row:
    return row(sample_id) | {"task": "vqa", "video": str(folder), "metadata": metadata}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A folder of nine frames, three a second."""
    for i in range(9):
        Image.new("RGB", (56, 28), (20 * i,) * 3).save(tmp_path / f"{i}.png")
    return tmp_path


def test_a_processor_of_videos_gets_a_video(collate: Collate, film: Path) -> None:
    collate = Collate(collate.family, collate.processor, PROMPTS, UniformFrames(4))
    batch = collate([[video_row("film", film), row("picture", png(28, 56))]])
    assert batch.inputs["video_grid_thw"].tolist() == [[2, 16, 32]]
    assert batch.inputs["image_grid_thw"].tolist() == [[1, 4, 2]]
    # Frames 1, 3, 5, 7 of three a second: one in 2 frames, so a pair stands for 4/3 seconds.
    assert batch.inputs["second_per_grid_ts"].tolist() == pytest.approx([4 / 3])
    video, text = WORDS.index("<|video_pad|>"), WORDS.index("red")
    assert (batch.inputs["input_ids"] == video).sum(dim=1).tolist() == [2 * 16 * 32 // 4, 0]
    assert (batch.inputs["input_ids"] == text).sum(dim=1).tolist() == [1, 1]
    assert [len(sample.images) for sample in batch.samples] == [4, 1]
    assert batch.input_sizes == [(0, 0), (28, 56)]


def test_other_processors_get_the_frames_as_images(collate: Collate, film: Path) -> None:
    processor = copy.copy(collate.processor)
    processor.video_processor = None
    collate = Collate(collate.family, processor, PROMPTS, UniformFrames(2))
    batch = collate([[video_row("film", film), row("picture", png(28, 56))]])
    assert "video_grid_thw" not in batch.inputs
    assert batch.inputs["image_grid_thw"].tolist() == [[1, 2, 4], [1, 2, 4], [1, 4, 2]]
    assert batch.input_sizes == [(56, 28), (28, 56)]


def test_the_part_in_question_is_shown(collate: Collate, film: Path) -> None:
    collate = Collate(collate.family, collate.processor, PROMPTS, SegmentCentres(2))
    rows = [video_row("all", film), video_row("part", film, '{"start": 1.0, "end": 2.0}')]
    whole, part = collate([rows]).samples
    assert [image.getpixel((0, 0))[0] // 20 for image in whole.images] == [2, 6]
    assert [image.getpixel((0, 0))[0] // 20 for image in part.images] == [3, 5]
    (text,) = collate([[video_row("text", film, '{"start": "1.0", "end": "2.0"}')]]).samples
    assert text.timing == part.timing
    (open_,) = collate([[video_row("open", film, '{"start": "", "end": null}')]]).samples
    assert open_.timing == whole.timing


def test_a_video_that_is_not_there_is_one_failure(collate: Collate, film: Path) -> None:
    with_frames = Collate(collate.family, collate.processor, PROMPTS, UniformFrames(2))
    batch = with_frames([[video_row("gone", film / "gone"), row("picture", png(28, 28))]])
    assert [sample.id for sample in batch.samples] == ["picture"]
    assert "unpack the videos" in batch.failures[0].message
    (failure,) = collate([[video_row("film", film)]]).failures
    assert "data.frames must say" in failure.message


@pytest.mark.gpu
def test_a_pinned_batch_arrives_on_the_gpu(collate: Collate) -> None:
    batch = collate([[row("one", png(56, 28))]])
    pinned = batch.pin_memory()
    assert all(tensor.is_pinned() for tensor in pinned.inputs.values())
    arrived = pinned.to("cuda")
    assert arrived.samples == batch.samples
    for name, tensor in arrived.inputs.items():
        assert tensor.device.type == "cuda"
        assert torch.equal(tensor.cpu(), batch.inputs[name])
