#!/usr/bin/env bash
# transformers 5.24.0: generate(generation_config=...) still takes what the checkpoint says
# Input: a small GPT-2 with random weights, and a GenerationConfig of one's own that asks for
# greedy decoding of eight tokens; once with the model's own generation_config as it is, once after
# a repetition_penalty was set there, as the generation_config.json of many checkpoints does
# (Qwen2.5-VL: 1.05).
# Expected: the same tokens: the configuration that is passed is the one that is used.
# Seen: other tokens. Every field that is None in the passed configuration is filled in from the
# model's, and the fields of a fresh GenerationConfig are None. "Greedy" is penalised, and a
# temperature, top_k or length limit of the checkpoint would come along as well.
# Documented: in part: the docstring of generate() says that an argument overrides matching
# attributes, not that the others of a passed configuration come from the model.
#
# Output seen:
#> no penalty in the model's own: token 4 comes 8 times
#> one in the model's own: token 4 comes 0 times
#> one there, and 1.0 in the passed one: token 4 comes 8 times
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

torch.set_num_threads(1)
torch.manual_seed(0)
sizes = {"vocab_size": 50, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 2}
model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).eval()
ids = torch.tensor([[1, 2, 3, 4]])


def repeats(**more):
    given = GenerationConfig(max_new_tokens=8, do_sample=False, pad_token_id=0, **more)
    made = model.generate(ids, generation_config=given)[0, 4:].tolist()
    return f"token 4 comes {made.count(4)} times"


print("no penalty in the model's own:", repeats())
model.generation_config.repetition_penalty = 5.0
print("one in the model's own:", repeats())
print("one there, and 1.0 in the passed one:", repeats(repetition_penalty=1.0))
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
