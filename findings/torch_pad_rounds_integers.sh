#!/usr/bin/env bash
# torch 2.13.0: torch.nn.functional.pad() rounds the value of integer tensors
# Input: a tensor of int64, padded with a value that int64 holds: the largest one, as padding that
# comes last in a sort or a minimum, and 2 ** 53 + 1.
# Expected: the value that was given, as full() and masked_fill() write it, or an error.
# Seen: the value goes through a float: the largest int64 becomes the SMALLEST, so that a minimum
# over the padded tensor is the padding, and 2 ** 53 + 1 becomes 2 ** 53. No warning.
# Documented: the signature says `value (Optional[float])`, nothing is said of integers.
#
# Output seen:
#> pad with 9223372036854775807: [3, -9223372036854775808], smallest -9223372036854775808
#> pad with 9007199254740993: [3, 9007199254740992], smallest 3
#> full with 9223372036854775807: 9223372036854775807
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import torch

largest = torch.iinfo(torch.int64).max
values = torch.tensor([3])
for value in (largest, 2**53 + 1):
    padded = torch.nn.functional.pad(values, (0, 1), value=value)
    print(f"pad with {value}: {padded.tolist()}, smallest {padded.min().item()}")
print(f"full with {largest}: {torch.full((), largest).item()}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
