#!/usr/bin/env bash
# transformers 4.51.3: Qwen2.5-VL's vision tower on SDPA makes masks of patches x patches, windows too
# Input: one picture of 48 x 48 patches, a tower of four blocks of which the last is global,
# with attn_implementation="sdpa".
# Expected: blocks whose attention stays in windows of 8 x 8 patches work on windows, so that their
# memory grows with the number of patches; a picture alone needs no mask in the global block.
# Seen: in 4.51.3 every block attends over all 2,304 patches with a mask of 2,304 x 2,304, which
# hides all but the windows. Run in the same way, 5.24.0 makes 109 calls, window by window, no mask.
# Published codes of VLM methods pin such versions: at 9,216 patches (2,304 visual tokens) these
# masks, and not the method, are most of the extra memory and a third of the time of a prefill.
# Documented: not that we found.
#
# Output seen:
#> 4.51.3: 4 calls; longest in a window block 2304, in the global one 2304; mask of a window block 2304 x 2304
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==4.51.3 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

cat >"$folder/tower.py" <<'PYTHON'
import torch
import transformers
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

tower = modeling.Qwen2_5_VisionTransformerPretrainedModel._from_config(
    Qwen2_5_VLVisionConfig(
        depth=4,
        hidden_size=64,
        intermediate_size=128,
        num_heads=2,
        out_hidden_size=64,
        patch_size=14,
        window_size=112,
        fullatt_block_indexes=[3],
    ),
    attn_implementation="sdpa",
).eval()
calls = []
attend = torch.nn.functional.scaled_dot_product_attention


def noting(query, key, value, attn_mask=None, *rest, **options):
    calls[-1].append((query.shape[-2], None if attn_mask is None else tuple(attn_mask.shape[-2:])))
    return attend(query, key, value, attn_mask, *rest, **options)


torch.nn.functional.scaled_dot_product_attention = noting
for block in tower.blocks:
    block.register_forward_pre_hook(lambda *_: calls.append([]))
with torch.no_grad():
    tower(torch.randn(48 * 48, 3 * 2 * 14 * 14), torch.tensor([[1, 48, 48]]))
(longest, mask), last = max(calls[0]), max(calls[-1])[0]
shown = "none" if mask is None else f"{mask[0]} x {mask[1]}"
print(
    f"{transformers.__version__}: {sum(map(len, calls))} calls; longest in a window block {longest}, "
    f"in the global one {last}; mask of a window block {shown}"
)
PYTHON
"$folder/venv/bin/python" "$folder/tower.py" >"$folder/now" 2>"$folder/errors" ||
  cat "$folder/errors" >&2

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
