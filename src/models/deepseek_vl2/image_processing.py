"""Images of DeepSeek-VL2 as views: a thumbnail and tiles, letterboxed on grey, with PIL alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .tiling import Grid, TileGeometry, grids_of_sample
from .tiling import tile_grids as all_grids

HALF = (0.5, 0.5, 0.5)


class DeepseekVL2ImageProcessor(BaseImageProcessor):
    """Cuts images into views of one size and normalises them.

    Attributes:
        tile_size: side of a view in pixels.
        patch_size, downsample_ratio: pixels of a patch, and patches that a visual token merges,
            along each side.
        tile_grids: (width, height) in tiles that an image may be cut into.
        image_mean, image_std: of the normalisation; the mean is the colour of the letterbox too.
    """

    model_input_names = ["pixel_values", "images_spatial_crop", "image_sizes"]  # noqa: RUF012

    def __init__(
        self,
        tile_size: int = 384,
        patch_size: int = 14,
        downsample_ratio: int = 2,
        tile_grids: Sequence[Grid] | None = None,
        image_mean: Sequence[float] = HALF,
        image_std: Sequence[float] = HALF,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tile_size = tile_size
        self.patch_size = patch_size
        self.downsample_ratio = downsample_ratio
        self.tile_grids = [list(grid) for grid in tile_grids or all_grids()]
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    @property
    def geometry(self) -> TileGeometry:
        """Sizes of a tile."""
        return TileGeometry(self.tile_size, self.patch_size, self.downsample_ratio)

    def grids_of(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """The tile grid of each image of one sample, whose (width, height) are `sizes`."""
        return grids_of_sample(sizes, [(w, h) for w, h in self.tile_grids], self.tile_size)

    def preprocess(
        self, images: Sequence[Sequence[Image.Image]], return_tensors: str = "pt", **kwargs: Any
    ) -> BatchFeature:
        """The views of a batch.

        Args:
            images: of each sample.

        Returns:
            pixel_values: of each image its thumbnail, then its tiles in raster order, float
                `[T, 3, P, P]`.
            images_spatial_crop: tiles in width and height of each image, long `[B, I, 2]`; 0
                where a sample has fewer images than others.
            image_sizes: (height, width) of each image before resizing, long `[B, I, 2]`.
        """
        width = max(len(sample) for sample in images)
        crops = torch.zeros(len(images), width, 2, dtype=torch.long)
        sizes = torch.zeros_like(crops)
        views: list[Tensor] = []
        for i, sample in enumerate(images):
            chosen = self.grids_of([image.size for image in sample])
            for j, (image, grid) in enumerate(zip(sample, chosen, strict=True)):
                crops[i, j] = torch.tensor(grid)
                sizes[i, j] = torch.tensor((image.height, image.width))
                views += [self._normalised(view) for view in self._views(image, grid)]
        data = {
            "pixel_values": torch.stack(views),
            "images_spatial_crop": crops,
            "image_sizes": sizes,
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def _views(self, image: Image.Image, grid: Grid) -> Iterator[Image.Image]:
        image, side = image.convert("RGB"), self.tile_size
        grey = tuple(int(255 * mean) for mean in self.image_mean)
        yield ImageOps.pad(image, (side, side), color=grey)
        canvas = ImageOps.pad(image, (grid[0] * side, grid[1] * side), color=grey)
        for top in range(0, canvas.height, side):
            for left in range(0, canvas.width, side):
                yield canvas.crop((left, top, left + side, top + side))

    def _normalised(self, view: Image.Image) -> Tensor:
        """`[3, P, P]`."""
        pixels = torch.from_numpy(np.array(view)).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor(self.image_mean), torch.tensor(self.image_std)
        return (pixels - mean[:, None, None]) / std[:, None, None]
