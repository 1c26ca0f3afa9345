"""Configuration of DeepSeek-VL2; reads the published `config.json` as well as its own."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig, configuration_utils

from .published import from_published, image_token_id
from .tiling import Grid, TileGeometry, tile_grids


def _sub_configs() -> dict[str, Any]:
    """How the parts are made where none are given; empty where transformers is too old for it."""
    spec: Any = getattr(configuration_utils, "SubConfigSpec", None)
    if spec is None:
        return {}
    return {
        "text_config": spec(AutoConfig, model_type="deepseek_v2"),
        "vision_config": spec(SiglipVisionConfig, init_kwargs={"vision_use_head": False}),
    }


@strict
class DeepseekVL2Config(PreTrainedConfig):
    """A SigLIP tower, a projector that merges patches, and a DeepSeek-V2 decoder.

    Attributes:
        text_config: of type "deepseek_v2" (multi-head latent attention: Small) or
            "deepseek_ocr2_text" (multi-head attention: Tiny).
        vision_config: of type "siglip_vision_model".
        image_token_id: the token that stands for every visual token.
        downsample_ratio: patches that the projector merges along each side.
        tile_grids: (width, height) in tiles that an image may be cut into.

    Raises:
        ValueError: a published configuration that these modules do not compute.
        ImportError: transformers is older than this family needs; the others need less.
    """

    model_type = "deepseek_vl_v2"
    sub_configs_defaults: ClassVar[dict[str, Any]] = _sub_configs()

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    image_token_id: int | None = None
    downsample_ratio: int = 2
    tile_grids: list[Any] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.sub_configs_defaults:
            raise ImportError(
                "DeepSeek-VL2 needs transformers 5.23 or later (the other families need 5.19): "
                "pip install 'transformers>=5.23'"
            )
        if "language_config" in kwargs:
            kwargs["vision_config"] = self.vision_config
            values, kwargs = from_published(kwargs)
            for name, value in values.items():
                setattr(self, name, value)
        super().__post_init__(**kwargs)
        if self.image_token_id is None:
            self.image_token_id = image_token_id(self.get_text_config().vocab_size)
        self.tile_grids = [list(grid) for grid in self.tile_grids or tile_grids()]

    @property
    def grids(self) -> list[Grid]:
        """`tile_grids` as tuples."""
        return [(width, height) for width, height in self.tile_grids or []]

    @property
    def geometry(self) -> TileGeometry:
        """Sizes of a tile."""
        vision: Any = self.vision_config
        return TileGeometry(vision.image_size, vision.patch_size, self.downsample_ratio)
