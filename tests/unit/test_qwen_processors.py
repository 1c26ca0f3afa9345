"""Processors of the Qwen families without torchvision: pixels, grids and settings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from ivcprune.models.qwen.processors import (
    QWEN_TOKENS,
    ImageTextProcessor,
    Qwen2Processor,
    Qwen3Processor,
)
from ivcprune.models.registry import family_named
from ivcprune.models.video_processors import Qwen2VideoProcessor, Qwen3VideoProcessor
from ivcprune.testing.inputs import picture
from ivcprune.testing.tiny.tokenizer import byte_level_tokenizer
from qwen_helpers import clip

PROCESSORS = {
    "qwen2_5_vl": ImageTextProcessor,
    "qwen2_vl": Qwen2Processor,
    "qwen3_vl": Qwen3Processor,
}
LIMITS = {"shortest_edge": 3136, "longest_edge": 200_704}
SIZES = (
    *[(28, 28), (27, 29), (1, 1), (1, 200), (200, 1), (13, 2000), (2000, 13), (56, 56), (55, 57)],
    *[(640, 480), (480, 640), (333, 500), (500, 333), (100, 100), (97, 613), (1024, 31)],
    *[(42, 42), (448, 448), (449, 447), (14, 1400)],
)
"""Width and height; among them one pixel, the most extreme shapes allowed, and exact fits."""


@pytest.fixture(params=PROCESSORS)
def family(request):
    return request.param


def hub_folder(folder, family, **video):
    """A folder as the hub's checkpoints are: settings of images, and perhaps of videos."""
    patch = 16 if family == "qwen3_vl" else 14
    image = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": LIMITS,
        "patch_size": patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
    }
    byte_level_tokenizer(QWEN_TOKENS).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    if video:
        settings = json.dumps(image | video)
        (folder / "video_preprocessor_config.json").write_text(settings)
    return folder


class TestImages:
    def test_equal_those_of_the_stock_image_processor(self, family, tmp_path):
        processor = family_named(family).load_processor(hub_folder(tmp_path, family))
        stock = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
        assert len(SIZES) == 20
        for i, (width, height) in enumerate(SIZES):
            image = picture(width, height, i)
            ours = processor(
                text=["<|vision_start|><|image_pad|><|vision_end|>"],
                images=[image],
                return_tensors="pt",
            )
            theirs = stock(image, return_tensors="pt")
            assert torch.equal(ours["image_grid_thw"], theirs["image_grid_thw"])
            assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
            n_tokens = int(theirs["image_grid_thw"].prod()) // 4
            assert int(ours["mm_token_type_ids"].sum()) == n_tokens

    def test_limits_apply(self, family, tmp_path):
        processor = family_named(family).load_processor(hub_folder(tmp_path, family))
        family_named(family).limit_pixels(processor, None, 40_000)
        grid = processor.image_processor(picture(640, 480), return_tensors="pt")["image_grid_thw"]
        patch = processor.image_processor.patch_size
        assert int(grid.prod()) * patch**2 <= 40_000

    def test_too_long_and_thin_ones_are_refused(self, family, tmp_path):
        processor = family_named(family).load_processor(hub_folder(tmp_path, family))
        with pytest.raises(ValueError, match="aspect ratio"):
            processor.image_processor(picture(1, 201), return_tensors="pt")


class TestVideos:
    @pytest.mark.parametrize("n_frames", [1, 2, 5])
    def test_patches_lie_as_in_the_stock_video_processor(self, n_frames):
        """Frames that need no resizing: the stock layout of their normalised pixels."""
        frames = clip(84, 56, n_frames)
        processor = Qwen2VideoProcessor(size={"shortest_edge": 784, "longest_edge": 10**6})
        ours = processor([frames], return_tensors="pt")
        pixels = torch.stack([torch.from_numpy(np.array(f)) for f in frames]).permute(0, 3, 1, 2)
        mean, std = (
            torch.tensor(x).view(3, 1, 1) for x in (processor.image_mean, processor.image_std)
        )
        video = ((pixels / 255 - mean) / std)[None]
        patches, *grid = Qwen3VLVideoProcessor.patchify(None, video, 14, 2, 2)
        assert ours["video_grid_thw"].tolist() == [grid]
        assert torch.allclose(ours["pixel_values_videos"], patches[0], atol=1e-6)

    def test_a_still_picture_equals_the_image(self):
        size = {"shortest_edge": 3136, "longest_edge": 40_000}
        still = picture(333, 200)
        image = Qwen2VLImageProcessorPil(size=size)(still, return_tensors="pt")
        video = Qwen2VideoProcessor(size=size)([[still] * 2], return_tensors="pt")
        assert torch.equal(video["video_grid_thw"], image["image_grid_thw"])
        assert torch.equal(video["pixel_values_videos"], image["pixel_values"])

    @pytest.mark.parametrize(("width", "height"), [(90, 60), (200, 120), (40, 300)])
    def test_pixels_are_within_one_level_of_the_stock_resizing(self, width, height):
        """The stock one resizes with PyTorch's antialiased bicubic filter for bytes."""
        frames = clip(width, height, 2)
        processor = Qwen2VideoProcessor(
            size={"shortest_edge": 3136, "longest_edge": 12_544},
            do_normalize=False,
            do_rescale=False,
        )
        ours = processor([frames], return_tensors="pt")
        _, rows, columns = ours["video_grid_thw"][0].tolist()
        pixels = torch.stack([torch.from_numpy(np.array(f)) for f in frames]).permute(0, 3, 1, 2)
        options = {"mode": "bicubic", "antialias": True, "align_corners": False}
        levels = interpolate(pixels, (14 * rows, 14 * columns), **options).float()
        patches, *_ = Qwen3VLVideoProcessor.patchify(None, levels[None], 14, 2, 2)
        assert (ours["pixel_values_videos"] - patches[0]).abs().max() <= 1

    @settings(max_examples=30)
    @given(
        n_frames=st.integers(2, 9),
        width=st.integers(20, 300),
        height=st.integers(20, 300),
        cap=st.booleans(),
    )
    def test_grids_equal_the_stock_ones(self, n_frames, width, height, cap):
        """Qwen2.5-VL bounds the area of a frame, Qwen3-VL that of the whole clip."""
        size = {"shortest_edge": 8192, "longest_edge": 60_000}
        video = np.zeros((n_frames, height, width, 3), dtype=np.uint8)
        two = Qwen2VideoProcessor(size=size)([video], return_tensors="pt")["video_grid_thw"]
        h, w = smart_resize(height, width, 28, *size.values())
        assert two.tolist() == [[math.ceil(n_frames / 2), h // 14, w // 14]]
        options = {"cap_pixels_per_frame": cap, "max_video_tokens": 12, "patch_size": 16}
        ours = Qwen3VideoProcessor(size=size, **options)
        three = ours([video], return_tensors="pt")["video_grid_thw"]
        n_patches = Qwen3VLVideoProcessor.get_num_of_video_patches(ours, n_frames, height, width)
        assert int(three.prod()) == n_patches

    def test_frames_of_qwen2_5_vl_may_share_a_budget(self):
        """0.9 * 100 tokens for two temporal patches are 45 a frame: 6 x 6 of the 10 x 10 fit."""
        size = {"shortest_edge": 784, "longest_edge": 10**6}
        for cap, side in ((False, 20), (True, 12)):
            options = {"cap_pixels_per_frame": cap, "max_video_tokens": 100}
            processor = Qwen2VideoProcessor(size=size, **options)
            grid = processor([clip(280, 280, 4)], return_tensors="pt")["video_grid_thw"]
            assert grid.tolist() == [[2, side, side]]

    def test_videos_of_different_size_follow_each_other(self):
        processor = Qwen2VideoProcessor(size={"shortest_edge": 784, "longest_edge": 10**6})
        clips = [clip(84, 56, 4), clip(56, 56, 3, 9)]
        together = processor(clips, return_tensors="pt")
        singles = [processor([one], return_tensors="pt") for one in clips]
        assert together["video_grid_thw"].tolist() == [[2, 4, 6], [2, 4, 4]]
        parts = torch.cat([one["pixel_values_videos"] for one in singles])
        assert torch.equal(together["pixel_values_videos"], parts)

    def test_sampling_is_refused(self):
        with pytest.raises(ValueError, match="do_sample_frames=True is not supported: pass"):
            Qwen2VideoProcessor()([clip(56, 56, 2)], do_sample_frames=True)

    @pytest.mark.parametrize(
        "video", ["film.mp4", clip(56, 56, 2)[0].convert("L"), [picture(56, 56).convert("RGBA")]]
    )
    def test_anything_but_rgb_frames_is_refused(self, video):
        with pytest.raises(ValueError, match="videos must be lists of RGB frames"):
            Qwen2VideoProcessor()([video])


class TestSettings:
    def test_of_videos_come_from_their_own_file(self, family, tmp_path):
        size = {"shortest_edge": 4096, "longest_edge": 99_999}
        folder = hub_folder(tmp_path, family, size=size, do_sample_frames=True)
        video = family_named(family).load_processor(folder).video_processor
        assert (video.size["shortest_edge"], video.size["longest_edge"]) == (4096, 99_999)
        assert list(video.image_mean) == [0.5, 0.4, 0.3]
        assert not video.do_sample_frames

    def test_survive_saving(self, family, tmp_path):
        image_processor = Qwen2VLImageProcessorPil(patch_size=16, size=LIMITS)
        processor = PROCESSORS[family](image_processor, byte_level_tokenizer(QWEN_TOKENS))
        processor.video_processor.size = {"shortest_edge": 1024, "longest_edge": 77_777}
        processor.save_pretrained(tmp_path)
        loaded = family_named(family).load_processor(tmp_path)
        assert type(loaded) is PROCESSORS[family]
        saved = json.loads((tmp_path / "processor_config.json").read_text())["video_processor"]
        stock = "Qwen3VLVideoProcessor" if family == "qwen3_vl" else "Qwen2VLVideoProcessor"
        assert saved["video_processor_type"] == stock
        assert loaded.video_processor.size["longest_edge"] == 77_777
        assert loaded.video_processor.patch_size == 16
        assert loaded.image_processor.size["longest_edge"] == LIMITS["longest_edge"]

    def test_without_any_for_videos_those_of_images_apply(self, family):
        image_processor = Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.1, 0.2, 0.3])
        processor = PROCESSORS[family](image_processor, byte_level_tokenizer(QWEN_TOKENS))
        assert processor.video_processor.patch_size == 16
        assert list(processor.video_processor.image_mean) == [0.1, 0.2, 0.3]
