"""DeepSeek-VL2's prompts and model inputs, from published and from saved folders."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoProcessor

from ivcprune.models.deepseek_vl2 import DeepseekVL2Processor
from ivcprune.models.registry import family_named
from ivcprune.testing import tiny_model
from ivcprune.testing.tiny.tokenizer import byte_level_tokenizer
from pruning_helpers import batch, chat, picture, ragged_batch

FAMILY = family_named("deepseek_vl2")
PUBLISHED = {
    "candidate_resolutions": [[384, 384], [384, 768], [768, 384], [384, 1152]],
    "patch_size": 14,
    "downsample_ratio": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "normalize": True,
    "image_token": "<image>",
    "pad_token": "<\uff5c\u2581pad\u2581\uff5c>",
    "sft_format": "deepseek",
    "processor_class": "DeepseekVLV2Processor",
}
"""A `processor_config.json` as DeepSeek published it, with fewer candidates."""


@pytest.fixture(scope="module")
def processor():
    return tiny_model("deepseek_vl2")[1]


def test_prompt(processor):
    assert chat(processor, "where is it", 1) == (
        "<|endoftext|><|User|>: <image>\nwhere is it\n\n<|Assistant|>:"
    )
    assert "<|User|>: <image>\n<image>\nhow" in chat(processor, "how many", 2)


def test_prompt_of_a_conversation(processor):
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": "bye"},
    ]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert prompt == (
        "<|endoftext|><|User|>: hello\n\n<|Assistant|>: yes?<|im_end|><|User|>: bye\n\n"
        "<|Assistant|>:"
    )


def test_nothing_is_added_to_a_prompt(processor):
    text = chat(processor, "where", 0)
    ids = processor(text=text)["input_ids"][0].tolist()
    assert processor.tokenizer.decode(ids) == text
    assert ids.count(processor.tokenizer.bos_token_id) == 1


def test_one_image_token_for_each_visual_token(processor):
    inputs = ragged_batch(processor)
    image_tokens = (inputs["input_ids"] == processor.image_token_id).sum(dim=1).tolist()
    # 3 tokens a side: a thumbnail of 12, a separator, and h * 3 lines of w * 3 + 1
    assert inputs["images_spatial_crop"].tolist() == [[[2, 2], [0, 0]], [[2, 2], [2, 2]]]
    assert image_tokens == [12 + 1 + 6 * 7, 2 * (12 + 1 + 6 * 7)]
    assert inputs["image_sizes"].tolist() == [[[112, 140], [0, 0]], [[112, 84], [140, 196]]]
    assert len(inputs["pixel_values"]) == 3 * (1 + 4)
    assert inputs["attention_mask"][0].sum() < inputs["attention_mask"][1].sum()


def test_three_images_are_not_tiled(processor):
    inputs = batch(processor, ("what", [picture(140, 60)] * 3))
    assert inputs["images_spatial_crop"].tolist() == [[[1, 1]] * 3]
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 3 * (12 + 1 + 12)


def test_images_flat_or_by_sample(processor):
    texts = [chat(processor, "one", 1), chat(processor, "none", 0), chat(processor, "two", 2)]
    one, two, three = (picture(70, 30 + 40 * i, i) for i in range(3))
    options = {"padding": True, "padding_side": "left"}
    flat = processor(text=texts, images=[one, two, three], **options)
    nested = processor(text=texts, images=[[one], [], [two, three]], **options)
    assert flat.keys() == nested.keys()
    assert all(torch.equal(flat[name], nested[name]) for name in flat)
    assert flat["images_spatial_crop"][1].tolist() == [[0, 0], [0, 0]]


def test_numbers_of_images_and_tokens_must_agree(processor):
    with pytest.raises(ValueError, match="holds 1 image tokens '<image>', but 2 images came"):
        processor(text=chat(processor, "where", 1), images=[picture(9, 9)] * 2)


def test_round_trip(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    for again in (FAMILY.load_processor(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert isinstance(again, DeepseekVL2Processor)
        ours, theirs = ragged_batch(processor), ragged_batch(again)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def published_folder(tmp_path):
    """A published checkpoint's files for the processor; its tokenizer lacks all special tokens."""
    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_end|>"))
    tokenizer.bos_token, tokenizer.pad_token = "<|endoftext|>", None
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "processor_config.json").write_text(json.dumps(PUBLISHED))
    return tmp_path


def test_published_folder(published_folder):
    processor = FAMILY.load_processor(published_folder)
    tokenizer = processor.tokenizer
    assert tokenizer.pad_token == PUBLISHED["pad_token"]
    for token in ("<image>", "<|ref|>", "<|/det|>", "<|User|>", "<|Assistant|>"):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1
    inputs = batch(processor, ("is it a caf\u00e9", [picture(300, 700)]))
    assert inputs["images_spatial_crop"].tolist() == [[[1, 2]]]
    assert inputs["pixel_values"].shape == (3, 3, 384, 384)
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 421 + 14 * 15
    text = tokenizer.decode(inputs["input_ids"][0]).replace("<image>", "")
    assert text == "<|endoftext|><|User|>: \nis it a caf\u00e9\n\n<|Assistant|>:"


def test_sizes_for_boxes_are_those_of_the_images(processor):
    sizes = FAMILY.input_sizes(ragged_batch(processor), processor)
    assert sizes == [(140, 112), (84, 112), (196, 140)]


def test_pixel_limits_do_not_apply(processor):
    with pytest.raises(ValueError, match="min_pixels"):
        FAMILY.limit_pixels(processor, 100, None)
