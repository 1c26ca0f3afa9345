"""Models to measure: a published configuration with random weights, or a checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from ..checks import check_at_least
from ..models.loading import ModelSpec, attention_implementation
from ..models.registry import family_of

NATIVE_RESOLUTION = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Model types whose inputs `RandomModel` can make: any grid of patches between two markers."""
TEXT_BEFORE = 20
"""Text tokens before the image: about the system prompt of the Qwen models."""


class Subject(ABC):
    """A model and inputs of a wanted size for it.

    Attributes:
        name: how results call the model.
        family: its family's name, whose published settings the policies take.
    """

    name: str
    family: str

    @abstractmethod
    def load(self, attention: str) -> Any:
        """The model in evaluation mode, on the GPU where there is one."""

    @abstractmethod
    def inputs(self, visual_tokens: int, text_tokens: int, batch: int) -> dict[str, Any]:
        """Inputs without padding: an image of noise and a text for each sample, on the CPU.

        Args:
            visual_tokens: of a sample; the nearest number that the model can have.
            text_tokens: other tokens of a sample, markers included, as nearly as possible.
        """


@dataclass(frozen=True)
class RandomModel(Subject):
    """Random weights: time, memory and FLOPs do not depend on them.

    Attributes:
        config: of the transformers model; its type must be one of `NATIVE_RESOLUTION`.
        dtype: "auto" (bfloat16 on a GPU, float32 on a CPU) or a dtype's name.
    """

    name: str
    config: Mapping[str, Any]
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.config.get("model_type") not in NATIVE_RESOLUTION:
            raise ValueError(
                f"job.model.config.model_type is {self.config.get('model_type')!r}: random models "
                f"are offered for {', '.join(NATIVE_RESOLUTION)}; for others measure a checkpoint "
                "(efficiency_model@job.model=checkpoint model=<name>)"
            )
        if self.dtype != "auto" and not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(
                f"job.model.dtype is {self.dtype!r}: it must be 'auto', 'float32' or 'bfloat16'"
            )

    @property
    def family(self) -> str:  # type: ignore[override]
        return family_of(self.config["model_type"]).name

    def _config(self) -> Any:
        return AutoConfig.for_model(**self.config)

    def load(self, attention: str) -> Any:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        name = self.dtype
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" else "float32"
        dtype = getattr(torch, name)
        implementation = attention_implementation(attention, device, dtype)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), device:
            torch.manual_seed(0)
            model: Any = AutoModelForImageTextToText.from_config(
                self._config(), dtype=dtype, attn_implementation=implementation
            )
        model.generation_config.pad_token_id = 0
        return model.to(device).eval()

    def inputs(self, visual_tokens: int, text_tokens: int, batch: int) -> dict[str, Any]:
        config = self._config()
        vision = config.vision_config
        height, width = grid_of(visual_tokens)
        n, merge = height * width, vision.spatial_merge_size
        channels = getattr(vision, "in_channels", 3)
        patch = channels * vision.temporal_patch_size * vision.patch_size**2
        random = torch.Generator().manual_seed(0)
        n_words = max(1, text_tokens - TEXT_BEFORE - 2)
        known = _words(config)
        chosen = torch.randint(len(known), (batch, TEXT_BEFORE + n_words), generator=random)
        words = known[chosen]
        image = torch.tensor(
            [config.vision_start_token_id, *[config.image_token_id] * n, config.vision_end_token_id]
        )
        before, after = words.split([TEXT_BEFORE, n_words], dim=1)
        ids = torch.cat([before, image.expand(batch, -1), after], dim=1)
        grid = torch.tensor([[1, height * merge, width * merge]]).expand(batch, -1)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == config.image_token_id).long(),
            "pixel_values": torch.randn(batch * n * merge**2, patch, generator=random),
            "image_grid_thw": grid.contiguous(),
        }


def _words(config: Any) -> torch.Tensor:
    """Ids that are no markers, at most a thousand of them."""
    markers = {
        value
        for part in (config, config.get_text_config())
        for name, value in vars(part).items()
        if name.endswith("_token_id") and isinstance(value, int)
    }
    size = config.get_text_config().vocab_size
    return torch.tensor([i for i in range(min(size, 1000)) if i not in markers])


@dataclass(frozen=True)
class CheckpointModel(Subject):
    """The checkpoint that `model=<name>` names.

    Attributes:
        pixels: side of the square of the image that becomes one visual token, for models whose
            number of visual tokens follows the image's size.
    """

    spec: ModelSpec
    pixels: int = 28

    def __post_init__(self) -> None:
        check_at_least("job.model.pixels", self.pixels, 1)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.spec.name

    @property
    def family(self) -> str:  # type: ignore[override]
        return self.spec.family

    def load(self, attention: str) -> Any:
        self.spec.check()
        return self.spec.load_model(attention)

    def inputs(self, visual_tokens: int, text_tokens: int, batch: int) -> dict[str, Any]:
        processor: Any = self.spec.load_processor()
        rows, columns = grid_of(visual_tokens)
        shape = (batch, rows * self.pixels, columns * self.pixels, 3)
        noise = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
        content = [{"type": "image"}, {"type": "text", "text": "word " * text_tokens}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        encoded: dict[str, Any] = processor(
            text=[prompt] * batch,
            images=[[Image.fromarray(pixels)] for pixels in noise],
            return_tensors="pt",
        )
        return dict(encoded)


def grid_of(visual_tokens: int) -> tuple[int, int]:
    """Rows and columns of the squarest grid with about so many tokens."""
    rows = max(1, round(visual_tokens**0.5))
    return rows, max(1, round(visual_tokens / rows))
