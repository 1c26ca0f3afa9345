#!/usr/bin/env bash
# transformers 5.24.0: Qwen3-VL answers from inputs_embeds without its DeepStack features, silently
# Input: the recipe that is exact for Qwen2-VL and Qwen2.5-VL: get_image_features(), scattered into
# the embeddings of the prompt, positions of get_rope_index(), then the model on inputs_embeds.
# Small models with random weights, float32.
# Expected: the logits of the same model given pixel_values, or an error.
# Seen: Qwen2.5-VL agrees, Qwen3-VL does not, and nothing is said. The tower's features for the
# first decoder layers travel beside the embeddings, and only the path from pixel_values adds them:
# what prunes, caches or edits image embeddings this way works on another model than it seems.
# Documented: no; inputs_embeds is described as for every model.
#
# Output seen:
#> Qwen2.5-VL: from embeddings as from pixels: True
#> Qwen3-VL: from embeddings as from pixels: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

torch.set_num_threads(1)
TEXT = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 200,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}
VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64,
    "patch_size": 14,
}
DEEP = VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
IDS = {
    "image_token_id": 150, "video_token_id": 151, "vision_start_token_id": 152,
    "vision_end_token_id": 153,
}
MODELS = {
    "Qwen2.5-VL": lambda: Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=dict(TEXT), vision_config=dict(VISION), **IDS)
    ),
    "Qwen3-VL": lambda: Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=TEXT | {"head_dim": 16}, vision_config=DEEP, **IDS)
    ),
}
ids = torch.tensor([[1, 2, 152, 150, 150, 150, 150, 153, 3, 4]])
grid, types = torch.tensor([[1, 4, 4]]), (ids == 150).int()
for name, make in MODELS.items():
    torch.manual_seed(0)
    model = make().eval()
    pixels = torch.randn(16, 3 * 2 * 14 * 14)
    given = {"image_grid_thw": grid, "mm_token_type_ids": types}
    with torch.no_grad():
        whole = model(input_ids=ids, pixel_values=pixels, **given).logits
        features = torch.cat(list(model.get_image_features(pixels, grid).pooler_output))
        text = model.get_input_embeddings()(ids)
        embeddings = text.masked_scatter((ids == 150)[..., None], features)
        positions, _ = model.model.get_rope_index(ids, **given)
        apart = model(inputs_embeds=embeddings, position_ids=positions).logits
    same = bool((whole - apart).abs().max() < 1e-4)
    print(f"{name}: from embeddings as from pixels: {same}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
