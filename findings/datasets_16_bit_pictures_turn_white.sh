#!/usr/bin/env bash
# datasets 5.2.0 with Pillow 13.0.0: 16-bit grey pictures arrive white
# Input: a valid 16-bit PNG of five greys, black to white, as scanners, depth cameras and medical
# devices write them, in a column of the feature Image(mode="RGB").
# Expected: five greys, scaled to 8 bits: 0, 64, 128, 191, 255.
# Seen: everything but black is 255. No warning: Pillow's convert() clips values of mode I;16 at
# 255, which is 0.4 % of their range.
# Documented: in Pillow's issues since 2015 (1108, 2574, 5991), not at datasets.Image, whose
# `mode` promises a conversion.
#
# Output seen:
#> None: I;16 [0, 16384, 32768, 49152, 65535]
#> RGB: RGB [0, 255, 255, 255, 255]
#> L: L [0, 255, 255, 255, 255]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==13.0.0 pyarrow==26.0.1 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

path = Path(sys.argv[1]) / "scan.png"
greys = np.array([[0, 16384, 32768, 49152, 65535]], dtype=np.uint16)
Image.fromarray(greys).save(path)
for mode in (None, "RGB", "L"):
    table = datasets.Dataset.from_dict({"image": [str(path)]})
    picture = table.cast_column("image", datasets.Image(mode=mode))[0]["image"]
    pixels = np.asarray(picture).reshape(5, -1)[:, 0]
    print(f"{mode}: {picture.mode} {pixels.tolist()}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
