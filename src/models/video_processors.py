"""Video processors of the Qwen families that need no torchvision.

A video is the frames it should be seen by: a list of PIL images, all of one size, or an array
`[T, H, W, 3]`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import (
    smart_resize as smart_resize_clip,
)
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin
from transformers.video_utils import VideoMetadata, make_batched_metadata, make_batched_videos


class FrameKwargs(VideosKwargs, total=False):
    """Options of a video processor, on top of those that every one has."""

    min_pixels: int
    max_pixels: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int


class Qwen2VideoProcessor(VideoProcessorMixin, Qwen2VLImageProcessorPil):
    """Frames of Qwen2-VL and Qwen2.5-VL: each is resized by PIL, then T of them make one patch.

    Attributes:
        size: areas, in pixels of one frame, between which frames are not rescaled.
        cap_pixels_per_frame: bounds a whole video too, as the authors' own loading does: frames
            share 0.9 * `max_video_tokens` visual tokens. The stock option, and off as there.
    """

    size: Any = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}  # noqa: RUF012
    model_input_names = ["pixel_values_videos", "video_grid_thw"]  # noqa: RUF012
    valid_kwargs: Any = FrameKwargs
    cap_pixels_per_frame: bool = False
    max_video_tokens: int = 128_000
    stock: ClassVar[str] = "Qwen2VLVideoProcessor"
    """The stock class, which saved settings name so that it can read them too."""

    def __init__(self, **kwargs: Any) -> None:
        # Checkpoints made for files ask for sampling; frames have been chosen already.
        super().__init__(**kwargs | {"do_sample_frames": False})

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"video_processor_type": self.stock}

    def frame_size(self, frames: np.ndarray, factor: int, size: Any) -> tuple[int, int]:
        """(height, width) that frames `[T, 3, H, W]` are resized to, multiples of `factor`."""
        n_frames, _, height, width = frames.shape
        most = size.longest_edge
        if self.cap_pixels_per_frame:
            total = int(self.max_video_tokens * factor**2 * 0.9)
            share = total * self.temporal_patch_size // n_frames
            most = max(min(most, share), int(size.shortest_edge * 1.05))
        resized: tuple[int, int] = smart_resize(height, width, factor, size.shortest_edge, most)
        return resized

    def _decode_and_sample_videos(
        self, videos: Any, *, video_metadata: Any, do_sample_frames: bool, **kwargs: Any
    ) -> tuple[list[Any], list[VideoMetadata]]:
        if do_sample_frames:
            raise ValueError(
                "do_sample_frames=True is not supported: pass the frames that the model should "
                "see, and their times as video_metadata (fps, frames_indices, total_num_frames)"
            )
        videos = make_batched_videos(videos)
        if not all(_has_rgb_frames(video) for video in videos):
            raise ValueError(
                "videos must be lists of RGB frames (PIL images of one size) or arrays "
                "[T, H, W, 3]: decode files before, nothing here reads them"
            )
        metadata = make_batched_metadata(videos, video_metadata=video_metadata)
        for video, of_video in zip(videos, metadata, strict=True):
            if of_video.frames_indices is None:
                of_video.frames_indices = list(range(len(video)))
        return videos, metadata

    def _prepare_input_videos(self, videos: Iterable[Any], **kwargs: Any) -> list[np.ndarray]:
        """Channels first, `[T, 3, H, W]` each."""
        layout = kwargs.get("input_data_format")
        return [
            np.stack([self.process_image(frame, input_data_format=layout) for frame in video])
            for video in videos
        ]

    def _preprocess(  # type: ignore[override]
        self,
        videos: list[np.ndarray],
        *,
        do_resize: bool,
        size: SizeDict,
        resample: Any,
        patch_size: int,
        temporal_patch_size: int,
        merge_size: int,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        patches, grids = [], []
        for video in videos:
            frames = list(video)
            if do_resize:
                height, width = self.frame_size(video, patch_size * merge_size, size)
                target = SizeDict(height=height, width=width)
                frames = [PilBackend.resize(self, frame, target, resample) for frame in frames]
            stills = super()._preprocess(
                frames,
                do_resize=False,
                size=size,
                resample=resample,
                patch_size=patch_size,
                temporal_patch_size=1,
                merge_size=merge_size,
                return_tensors=None,
                **kwargs,
            )
            _, *grid = stills["image_grid_thw"][0].tolist()
            pixels = stills["pixel_values"].reshape(len(frames), grid[0] * grid[1], 3, -1)
            patches.append(_joined_in_time(pixels, temporal_patch_size))
            grids.append([-(-len(frames) // temporal_patch_size), *grid])
        data = {
            "pixel_values_videos": np.concatenate(patches),
            "video_grid_thw": np.array(grids, dtype=np.int64),
        }
        return BatchFeature(data, tensor_type=return_tensors)


def _joined_in_time(pixels: np.ndarray, n_frames: int) -> np.ndarray:
    """Patches of `n_frames` frames `[T' * n, C * n_frames * P]`; the last frame fills up.

    Args:
        pixels: patches of one frame each, `[T, n, C, P]`.
    """
    fill = -len(pixels) % n_frames
    pixels = np.pad(pixels, ((0, fill), (0, 0), (0, 0), (0, 0)), mode="edge")
    pixels = pixels.reshape(-1, n_frames, *pixels.shape[1:]).transpose(0, 2, 3, 1, 4)
    return pixels.reshape(pixels.shape[0] * pixels.shape[1], -1)


def _has_rgb_frames(video: Any) -> bool:
    shape: tuple[int, ...] = getattr(video, "shape", ())
    return len(shape) == 4 and 3 in (shape[1], shape[3])


class Qwen3VideoProcessor(Qwen2VideoProcessor):
    """Frames of Qwen3-VL.

    Attributes:
        size: areas of all frames of a video together.
        cap_pixels_per_frame: bounds each frame too, to `max_video_tokens` visual tokens.
    """

    size: Any = {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32}  # noqa: RUF012
    max_video_tokens = 768
    stock = "Qwen3VLVideoProcessor"

    def frame_size(self, frames: np.ndarray, factor: int, size: Any) -> tuple[int, int]:
        n_frames, _, height, width = frames.shape
        most = size.longest_edge
        if self.cap_pixels_per_frame:
            share = min(self.max_video_tokens * factor**2, most // n_frames)
            most = max(share, int(size.shortest_edge * 1.05)) * n_frames
        resized: tuple[int, int] = smart_resize_clip(
            n_frames,
            height,
            width,
            temporal_factor=self.temporal_patch_size,
            factor=factor,
            min_pixels=size.shortest_edge,
            max_pixels=most,
        )
        return resized
