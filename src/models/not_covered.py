"""Model types of transformers that were read, and what exact pruning of them still lacks."""

from __future__ import annotations

NOT_COVERED: dict[str, str] = {
    "deepseek_ocr2": "a layout of local tiles before the whole page and its separator",
    "ernie4_5_vl_moe": "the layout, the rotation by neighbouring pairs with its own order of axes, "
    "and what its layers get for each token (moe_mm_token_type_ids)",
    "gemma4_unified": "a layout of pictures without a vision tower",
    "glm5_next": "layers without a rotary embedding, which hand on the places of cached entries to "
    "one another and return tuples",
    "granite4_vision": "features that the decoder adds before its layers, to pictures of zeros",
    "hunyuan_vl": "a layout whose lines end in a token, on four rotary axes, and norms behind the "
    "rotation",
    "kimi_k25": "the layout, and queries of latent attention",
    "lfm2_vl": "the layout of its tiles and thumbnail",
    "lfm3_vl": "convolutions, windows and full attention with a rotary embedding for each in one "
    "decoder",
    "llama4": "chunks of attention measured in the original sequence, and layers without rotation "
    "whose temperature follows the length of the cache",
    "minicpmv4_6": "the layout of its slices",
    "mllama": "layers of cross-attention, whose pictures are no tokens of the sequence",
    "molmo2": "one block of attention over all pictures of a sample, and two rotary embeddings",
    "ovis2": "the layout of its tiles, whose marks are embedded anew",
    "qwen4_exp": "sparse attention whose index speaks of cached entries, several hidden states a "
    "token, and word histories for each token",
}
"""By `config.model_type`: the missing part."""


def refusal(model_type: str, families: str) -> str:
    """Why a model of that type is refused, with the families that are known."""
    missing = NOT_COVERED.get(model_type)
    reason = "" if missing is None else f", since no family states {missing}"
    return (
        f"model type {model_type!r} is not supported{reason}: ivcprune knows the families "
        f"{families} (see docs/adding_a_model.md)"
    )
