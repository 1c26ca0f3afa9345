#!/usr/bin/env bash
# transformers 5.24.0: a masked token is as good as absent in Llama, but not in Qwen3-Next and
# LFM2
# Input: twelve tokens, of which three in the middle are masked by attention_mask; and the nine
# others alone, with the position ids that they had. Small models with random weights, float32.
# Expected: the same logits after the last token, as for models of attention alone: a mask says
# that a token is not there. Left padding, the same mechanism, is exact in all three.
# Seen: Llama agrees to 1e-5 of the logits. In the gated delta net of Qwen3-Next a masked token
# still decays the state that all later tokens read, and in the short convolution of LFM2 it keeps
# its place in the window, so that neighbours are no neighbours (here by 3.3 and 0.27, of logits
# up to 3). What is tried with masks (pruning, ablations, packed batches) is not what happens when
# the tokens are taken out.
# Documented: no; attention_mask is described as "mask to avoid performing attention on padding
# token indices" for these models, too. Issue 1272 of fla-org/flash-linear-attention reports the
# decay in another library.
#
# Output seen:
#> Llama: left padding is exact: True; masked equals left out: True
#> Qwen3-Next: left padding is exact: True; masked equals left out: False
#> LFM2: left padding is exact: True; masked equals left out: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import torch
from transformers import (
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

torch.set_num_threads(1)
SIZES = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.2,
}
LINEAR = {
    "head_dim": 16, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "num_experts": 2,
    "num_experts_per_tok": 1, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
}
MODELS = {
    "Llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "Qwen3-Next": lambda: Qwen3NextForCausalLM(Qwen3NextConfig(**SIZES, **LINEAR)),
    "LFM2": lambda: Lfm2ForCausalLM(Lfm2Config(**SIZES, full_attn_idxs=[1, 3])),
}
for name, make in MODELS.items():
    torch.manual_seed(0)
    model = make().eval()
    ids, places = torch.randint(0, 50, (1, 12)), torch.arange(12)[None]
    mask = torch.ones(1, 12, dtype=torch.long)
    mask[0, 4:7] = 0
    there = mask[0].bool()
    pad = torch.zeros(1, 3, dtype=torch.long)

    def last(ids, places, mask=None):
        with torch.no_grad():
            return model(input_ids=ids, position_ids=places, attention_mask=mask).logits[0, -1]

    whole = last(ids, places)
    masked, left_out = last(ids, places, mask), last(ids[:, there], places[:, there])
    padded = last(
        torch.cat([pad, ids], dim=1),
        torch.cat([pad, places], dim=1),
        torch.cat([pad, torch.ones_like(ids)], dim=1),
    )
    tiny = 1e-5 * whole.abs().max()
    exact = bool((padded - whole).abs().max() < tiny)
    same = bool((masked - left_out).abs().max() < tiny)
    print(f"{name}: left padding is exact: {exact}; masked equals left out: {same}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
