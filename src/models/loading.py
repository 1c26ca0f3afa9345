"""A model by name: what to load and how, and whether that can work, found out before loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jinja2 import Environment, TemplateSyntaxError
from transformers import PretrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.utils.import_utils import is_flash_attn_2_available

from ..checks import check_at_least, check_choice
from ..metrics.boxes import BOX_FORMATS
from .attention_names import ATTENTIONS
from .base import SELECTION_LAYER
from .checkpoint import locate
from .registry import family_named, family_of

_DTYPES = {
    "auto": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
}
_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True)
class ModelSpec:
    """A model configuration; the files of `conf/model/` are its instances.

    Attributes:
        name: how results call the model.
        family: which layout and layer defaults apply, e.g. "qwen2_5_vl".
        path: "bundled:<name>", a folder, or a hub id.
        prompts: template with `{question}` for each task.
        revision: branch, tag or commit of a hub id; None = "main".
        dtype: "auto" (bfloat16 on a GPU, float32 on a CPU), "bfloat16", "float16" or "float32".
        min_pixels, max_pixels: image sizes (in pixels, area) between which images are not rescaled;
            None = as the checkpoint says.
        box_format: how the model writes boxes, a key of `ivcprune.metrics.boxes.BOX_FORMATS`.
        max_new_tokens: limit of an answer, which `generation` takes where it sets none.
        strip_final_stop: whether replies are read without the full stop at their end.
        selection_layer: where IVC-Prune selects; None = as the checkpoint, else the family says.
        chat_template: Jinja text in the place of the checkpoint's own chat template, which None
            leaves.
        device_map: None = on one device; "auto" (or another strategy of transformers) spreads the
            layers over all visible GPUs, for models that one does not hold.
    """

    name: str
    family: str
    path: str
    prompts: Mapping[str, str]
    revision: str | None = None
    dtype: str = "auto"
    min_pixels: int | None = None
    max_pixels: int | None = None
    box_format: str = "plain"
    max_new_tokens: int = 512
    strip_final_stop: bool = False
    selection_layer: int | None = None
    chat_template: str | None = None
    device_map: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str):
            raise ValueError(f"model.path is {self.path!r}: it must be a folder or a hub id")
        check_choice("model.dtype", self.dtype, _DTYPES)
        check_choice("model.box_format", self.box_format, BOX_FORMATS)
        if self.device_map is not None:
            check_choice("model.device_map", self.device_map, _DEVICE_MAPS)
        smallest = {"min_pixels": 1, "max_pixels": 1, "max_new_tokens": 1, "selection_layer": 0}
        for field, least in smallest.items():
            value = getattr(self, field)
            if value is not None:
                check_at_least(f"model.{field}", value, least)
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(
                f"model.min_pixels={self.min_pixels} is more than model.max_pixels="
                f"{self.max_pixels}: lower the first or raise the second"
            )
        _check_template(self.chat_template)

    def check(self) -> None:
        """Fails early where loading would fail late; reads no weights.

        Raises:
            FileNotFoundError: no complete checkpoint at `path`, or no way to download it.
            ValueError: the checkpoint's architecture is not supported, or not of `family`.
        """
        model_type = locate(self.path, self.revision).config().get("model_type", "unknown")
        try:
            family = family_of(model_type).name
        except ValueError as error:
            raise ValueError(f"model.path={self.path!r} cannot be used: {error}") from None
        if family != self.family:
            raise ValueError(
                f"model.family={self.family!r} does not fit model.path={self.path!r}, "
                f"a checkpoint of the family {family!r}: choose a model=<name> of that family, as "
                "job=list shows them, whose prompts and policies fit, and give it this model.path"
            )

    def config(self) -> PretrainedConfig:
        """The checkpoint's configuration, its selection layer as asked for; reads no weights."""
        family = family_named(self.family)
        return self._asked(family.read_config(locate(self.path, self.revision).config()))

    def _asked(self, config: PretrainedConfig) -> PretrainedConfig:
        if self.selection_layer is not None:
            setattr(config, SELECTION_LAYER, self.selection_layer)
        return config

    def fingerprint(self) -> str:
        """The commit of a hub checkpoint, or the sha256 of a local one: part of the run key."""
        return locate(self.path, self.revision).fingerprint()

    def load_processor(self) -> ProcessorMixin:
        """The processor, with this configuration's image limits; it pads on the left."""
        family = family_named(self.family)
        processor: Any = family.load_processor(locate(self.path, self.revision).fetch())
        processor.tokenizer.padding_side = "left"
        family.limit_pixels(processor, self.min_pixels, self.max_pixels)
        if self.chat_template is not None:
            processor.chat_template = self.chat_template
        return cast(ProcessorMixin, processor)

    def check_attention(self, attention: str, device: torch.device | str | None = None) -> str:
        """What transformers calls the attention to use; reads no weights.

        Raises:
            ValueError: it cannot be had on this device.
        """
        return attention_implementation(attention, *self._placement(device))

    def check_devices(self, processes: int) -> None:
        """Raises ValueError where every one of several processes would spread over all GPUs."""
        if self.device_map is not None and processes > 1:
            raise ValueError(
                f"model.device_map={self.device_map!r} spreads the model over all visible GPUs, "
                f"and {processes} processes would each do so: use one process (trainer=gpu), or "
                "model.device_map=null"
            )

    def _placement(self, device: torch.device | str | None) -> tuple[torch.device, torch.dtype]:
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        automatic = torch.bfloat16 if target.type == "cuda" else torch.float32
        return target, _DTYPES[self.dtype] or automatic

    def load_model(
        self, attention: str = "auto", device: torch.device | str | None = None
    ) -> PreTrainedModel:
        """The model in evaluation mode.

        Args:
            attention: "auto", "flash", "sdpa" or "eager"; see `attention_implementation`.
            device: None = the GPU where there is one, else the CPU. With a `device_map`, only
                dtype and attention follow from it, and the inputs may be on any device.

        Raises:
            ValueError: `attention` cannot be had, or the checkpoint lacks weights of its model.
        """
        target, dtype = self._placement(device)
        implementation = self.check_attention(attention, target)
        model: Any
        model, loading = family_named(self.family).load_model(
            locate(self.path, self.revision).fetch(),
            dtype=dtype,
            attn_implementation=implementation,
            **({} if self.device_map is None else {"device_map": self.device_map}),
        )
        if missing := sorted(loading["missing_keys"]):
            raise ValueError(
                f"model.path={self.path!r} lacks {len(missing)} weights of its model, among them "
                f"{missing[0]!r}, which would be random: give the complete checkpoint"
            )
        if self.device_map is None:
            model = model.to(target)
        self._asked(model.config)
        return cast(PreTrainedModel, model.eval())


def attention_implementation(attention: str, device: torch.device, dtype: torch.dtype) -> str:
    """What transformers calls the attention to use.

    "auto" takes FlashAttention 2 where it can run, else PyTorch's scaled_dot_product_attention.

    Raises:
        ValueError: an unknown name, or FlashAttention where it cannot run.
    """
    check_choice("attention", attention, ATTENTIONS)
    if attention in ("sdpa", "eager"):
        return attention
    obstacle = _flash_obstacle(device, dtype)
    if obstacle is None:
        return "flash_attention_2"
    if attention == "auto":
        return "sdpa"
    raise ValueError(f"attention=flash {obstacle}; or use attention=auto")


def _flash_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why FlashAttention cannot run, as the rest of a sentence; None = it can."""
    if device.type != "cuda":
        return f"needs a CUDA GPU, and the model is on {device.type!r}: use a GPU"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"needs half precision, and model.dtype gives {dtype}: set model.dtype=bfloat16"
    if not is_flash_attn_2_available():
        return "needs the package flash-attn: install it with `pip install 'ivcprune[flash]'`"
    return None


def _check_template(template: str | None) -> None:
    """Raises ValueError where it is no Jinja template."""
    try:
        Environment().parse(template or "")
    except TemplateSyntaxError as error:
        raise ValueError(
            f"model.chat_template is no Jinja template (line {error.lineno}: {error.message}): "
            "mend it, or set null for the checkpoint's own"
        ) from None
