#!/usr/bin/env bash
# Pillow 13.0.0: thumbnail() of a JPEG gives other pixels when the picture was looked at before
# Input: one valid JPEG file of 1024 x 1024 pixels, opened twice and made 224 x 224 by
# thumbnail(); between the two, the second was converted to RGB, which it is already.
# Expected: the same pixels, since nothing of the picture was changed.
# Seen: they differ, and by as much as a JPEG of much lower quality. Of a file that nobody read
# yet, the decoder is asked for a half, a quarter or an eighth of the size (draft()), and only the
# rest is resampled; convert(), load(), a look at one pixel or a copy have the full size
# resampled. A cache of decoded pictures, or a check of the file, so changes what a model sees.
# Documented: thumbnail() is said to call draft() (Image.thumbnail); that the result depends on
# what was called before is not.
#
# Output seen:
#> pixels that differ by more than 2 of 255: more than a fifth: True
#> largest difference is above 10 of 255: True
#> twice the same way: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import io

import numpy as np
from PIL import Image

cells = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
file = io.BytesIO()
Image.fromarray(cells.repeat(16, axis=0).repeat(16, axis=1)).save(file, "JPEG", quality=95)


def thumbnail(looked_at: bool) -> np.ndarray:
    picture = Image.open(io.BytesIO(file.getvalue()))
    if looked_at:
        picture = picture.convert("RGB")
    picture.thumbnail((224, 224))
    return np.asarray(picture).astype(int)


difference = np.abs(thumbnail(looked_at=False) - thumbnail(looked_at=True))
share = (difference > 2).any(axis=2).mean()
print("pixels that differ by more than 2 of 255: more than a fifth:", bool(share > 0.2))
print("largest difference is above 10 of 255:", bool(difference.max() > 10))
print("twice the same way:", np.abs(thumbnail(True) - thumbnail(True)).max())
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
