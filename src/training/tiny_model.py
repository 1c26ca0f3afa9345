"""The untrained tiny Qwen2.5-VL: its vocabulary, processor, configuration and initial weights."""

from __future__ import annotations

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ..data.scenes.expressions import DIRECTIONS, EXTREMES
from ..data.scenes.questions import PLURALS
from ..data.scenes.scene import BENCHMARK_LEVEL, BIN, COLOURS, SHAPES, SIDES, TOKEN
from ..models.qwen.processors import QWEN_TOKENS, ImageTextProcessor

UNKNOWN = "<|unknown|>"
MAX_SIDE = BENCHMARK_LEVEL.tokens[1] * TOKEN
COORDINATES = tuple(str(pixel) for pixel in range(0, MAX_SIDE + BIN, BIN))
"""One token for each possible box coordinate, in ascending order."""

# Qwen's chat markup without the default system prompt. The word-level tokenizer drops line breaks.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' -%}
{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


def vocabulary() -> list[str]:
    """Every token of the tiny model in the order of its id."""
    counts = [str(count) for count in range(1, BENCHMARK_LEVEL.things[1] + 1)]
    words = ["system", "user", "assistant", "locate", "the", "object", "objects"]
    words += [*SIDES, *COLOURS, *SHAPES, *PLURALS.values(), *EXTREMES]
    words += " ".join(DIRECTIONS).split()
    words += ["is", "there", "a", "an", "?", "how", "many", "are", "what", "colour", "shape"]
    words += ["yes", "no"]
    return list(dict.fromkeys([*QWEN_TOKENS, UNKNOWN, *COORDINATES, *counts, *words]))


def build_processor() -> ImageTextProcessor:
    """Image processor that never resizes a scene, word-level tokenizer and chat template."""
    ids = {token: index for index, token in enumerate(vocabulary())}
    words = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token=UNKNOWN,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(QWEN_TOKENS),
        padding_side="left",
    )
    image_processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": TOKEN**2, "longest_edge": MAX_SIDE**2}
    )
    return ImageTextProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)


def build_model(processor: ImageTextProcessor) -> Qwen2_5_VLForConditionalGeneration:
    """Untrained model of 1.86 M parameters; the last of its three vision layers attends globally.

    Random weights come from the global generator of torch.
    """
    token_id = processor.tokenizer.convert_tokens_to_ids
    ends = {
        "bos_token_id": None,
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
    }
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            # A small theta: with 1e6 the column frequencies hardly turn over 12 columns.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 20.0,
                "mrope_section": [4, 6, 6],
            },
            **ends,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 3,
            "window_size": 112,
            "fullatt_block_indexes": [2],
            "out_hidden_size": 128,
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=False,
        **ends,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    initialise(model)
    return model


def initialise(model: nn.Module) -> None:
    """Weights with standard deviation fan_in ** -0.5, embeddings 0.5, biases 0.

    The default of 0.02 everywhere is made for widths of thousands, not of a hundred.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
