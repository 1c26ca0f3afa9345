"""The model: SigLIP, a projector that merges patches, and a DeepSeek-V2 decoder.

Tower and decoder are transformers' own; between them stands what `visual` holds.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    DeepseekV2Model,
    GenerationMixin,
    PreTrainedModel,
    SiglipVisionModel,
    initialization,
)
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel

from .configuration import DeepseekVL2Config
from .visual import DownsampleProjector, arrange

DECODERS: dict[str, Any] = {
    "deepseek_v2": DeepseekV2Model,
    "deepseek_ocr2_text": DeepseekOcr2TextModel,
}
"""By type of the text configuration: latent attention (Small), multi-head attention (Tiny)."""


class DeepseekVL2PreTrainedModel(PreTrainedModel):
    """What transformers has to know about both classes below."""

    config: DeepseekVL2Config
    config_class = DeepseekVL2Config
    base_model_prefix = "model"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _no_split_modules = ["DeepseekV2DecoderLayer", "DeepseekOcr2TextDecoderLayer"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"attn_pool\."]  # noqa: RUF012  SigLIP's, never used
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DeepseekVL2Model):
            for parameter in (module.image_newline, module.view_seperator):
                initialization.normal_(parameter, std=len(parameter) ** -0.5)


class DeepseekVL2Model(DeepseekVL2PreTrainedModel):
    """Images and text in, hidden states out."""

    def __init__(self, config: DeepseekVL2Config) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.vision_tower = SiglipVisionModel._from_config(config.vision_config)
        self.projector = DownsampleProjector(config)
        self.language_model = DECODERS[text.model_type]._from_config(text)
        self.image_newline = nn.Parameter(torch.empty(text.hidden_size))
        self.view_seperator = nn.Parameter(torch.empty(text.hidden_size))  # spelt as published
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.language_model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_image_features(
        self, pixel_values: Tensor, images_spatial_crop: Tensor, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Visual tokens of each image: thumbnail, separator, tiles; a newline after every line.

        Args:
            pixel_values: of each image its thumbnail, then its tiles in raster order,
                `[T, 3, P, P]`.
            images_spatial_crop: tiles in width and height of each image of each sample, long
                `[B, I, 2]`; 0 where a sample has fewer images.

        Returns:
            `pooler_output`: a tensor `[n, E]` for each image.
        """
        grids = [(w, h) for w, h in images_spatial_crop.flatten(0, 1).tolist() if w * h]
        counts = [1 + width * height for width, height in grids]
        if sum(counts) != len(pixel_values):
            raise ValueError(
                f"pixel_values hold {len(pixel_values)} views, but images_spatial_crop speaks of "
                f"{sum(counts)}: pass both as the processor returns them"
            )
        patches = self.vision_tower(pixel_values).last_hidden_state
        views = self.projector(patches).split(counts)
        features = [
            arrange(view, grid, self.image_newline, self.view_seperator)
            for view, grid in zip(views, grids, strict=True)
        ]
        return BaseModelOutputWithPooling(
            last_hidden_state=patches,
            pooler_output=cast(Any, features),  # images differ in length, as `generate` expects
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        images_spatial_crop: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Decode text and images.

        Args:
            input_ids: `[B, S]`, one image token for each visual token.
            pixel_values, images_spatial_crop: see `get_image_features`.
            image_sizes: (height, width) of the original images, long `[B, I, 2]`. Nothing is
                computed from them; pruning reads there where the letterbox ends.
            mm_encoder_outputs: images that were encoded beforehand, as `generate` does.
            kwargs: of the decoder, the key-value cache among them.
        """
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        images = (mm_encoder_outputs or {}).get("image")
        if images is None and pixel_values is not None:
            images = self.get_image_features(pixel_values, cast(Tensor, images_spatial_crop))
        if images is not None:
            inputs_embeds = self._insert(images.pooler_output, input_ids, inputs_embeds)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **kwargs,
        )

    def _insert(self, features: list[Tensor], input_ids: Tensor | None, into: Tensor) -> Tensor:
        """`into` `[B, S, E]` with visual tokens in the place of image tokens."""
        if input_ids is None:
            image = torch.tensor(self.config.image_token_id, device=into.device)
            where = (into == self.get_input_embeddings()(image)).all(-1)
        else:
            where = input_ids == self.config.image_token_id
        tokens = torch.cat(features).to(into)
        if (n := int(where.sum())) != len(tokens):
            raise ValueError(
                f"the input holds {n} image tokens, but its images have {len(tokens)} visual "
                "tokens: pass input_ids and images as the processor returns them"
            )
        return into.masked_scatter(where[..., None], tokens)


class DeepseekVL2ForConditionalGeneration(DeepseekVL2PreTrainedModel, GenerationMixin):
    """DeepSeek-VL2 with its language-modelling head."""

    _tied_weights_keys = {  # noqa: RUF012
        "lm_head.weight": "model.language_model.embed_tokens.weight"
    }

    def __init__(self, config: DeepseekVL2Config) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.model = DeepseekVL2Model(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def adjust_generation_fn(self, *args: Any, **kwargs: Any) -> None:
        """Keep the special tokens that the decoder's configuration names.

        Loading reads generation settings from the top level of `config.json` where there is no
        `generation_config.json`: published folders name the end of a reply one level below.
        """
        own = self.generation_config
        super().adjust_generation_fn(*args, **kwargs)  # type: ignore[misc]
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(self.generation_config, name) is None:
                setattr(self.generation_config, name, getattr(own, name))

    def get_image_features(
        self, pixel_values: Tensor, images_spatial_crop: Tensor, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """See `DeepseekVL2Model.get_image_features`."""
        return self.model.get_image_features(pixel_values, images_spatial_crop)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        images_spatial_crop: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """See `DeepseekVL2Model.forward`.

        Args:
            labels: token ids to predict, -100 where none counts, long `[B, S]`.
            logits_to_keep: how many of the last logits to compute, or which; 0 = all.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            images_spatial_crop=images_spatial_crop,
            image_sizes=image_sizes,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits, loss = self.lm_head(outputs.last_hidden_state[:, keep]), None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.lm_head.out_features)
        rest = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return CausalLMOutputWithPast(loss=loss, logits=logits, **rest)
