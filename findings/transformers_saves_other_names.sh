#!/usr/bin/env bash
# transformers 5.24.0: save_pretrained() writes no tensor under the name that state_dict() gives
# it
# Input: a small LLaVA with random weights, saved by save_pretrained() and read back by
# safetensors, as tools for merging, quantising and comparing checkpoints do.
# Expected: the file's names are those of state_dict(); load_state_dict(load_file(...)) works.
# Seen: all names differ, since the model is saved under the names of its first published
# checkpoints. With strict=False, the usual answer to missing names, nothing is loaded and nothing
# is raised: the model stays random. from_pretrained() translates back.
# Documented: the conversion is (Weight conversion, WeightConverter; pull request 45358 of
# huggingface/transformers), that state_dict() and the file have no name in common is not said at
# save_pretrained().
#
# Output seen:
#> state_dict: 55 names, file: 55, in both: 0
#> strict=False: missing 55 unexpected 55
#> load_state_dict: other weights
#> from_pretrained: the saved weights
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys

import torch
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

torch.manual_seed(0)
small = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
config = LlavaConfig(
    vision_config=CLIPVisionConfig(num_hidden_layers=2, image_size=28, patch_size=14, **small),
    text_config=LlamaConfig(vocab_size=50, num_hidden_layers=1, **small),
)
model, other = LlavaForConditionalGeneration(config), LlavaForConditionalGeneration(config)
model.save_pretrained(f"{sys.argv[1]}/saved")
tensors = load_file(f"{sys.argv[1]}/saved/model.safetensors")
names = set(model.state_dict())
print(f"state_dict: {len(names)} names, file: {len(tensors)}, in both: {len(names & set(tensors))}")
result = other.load_state_dict(tensors, strict=False)
print("strict=False: missing", len(result.missing_keys), "unexpected", len(result.unexpected_keys))
again = LlavaForConditionalGeneration.from_pretrained(f"{sys.argv[1]}/saved")
for name, copy in (("load_state_dict", other), ("from_pretrained", again)):
    same = all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters()))
    print(f"{name}: {'the saved weights' if same else 'other weights'}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
