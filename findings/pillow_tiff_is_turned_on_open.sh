#!/usr/bin/env bash
# Pillow 13.0.0: Image.size is the stored size of a JPEG, PNG or WebP file, and the turned size of
# a TIFF file
# Input: one picture, 40 x 20 pixels, saved in four formats with the orientation tag 6 (to be
# turned by 90 degrees).
# Expected: one rule. Code that swaps width and height where the tag says so, without reading the
# pixels, gets the size that viewers show.
# Seen: a TIFF file reports the turned size as soon as it is opened, while its tag still says that
# it is to be turned; when the pixels are read, the tag goes and the size stays. Swapping by the
# tag is right for three formats and wrong for TIFF, and boxes scaled by that size miss.
# Documented: in pull requests 4063 and 8390 of python-pillow/Pillow ("Use transposed size after
# opening for TIFF images"); the page on image file formats does not say that others differ.
#
# Output seen:
#> JPEG opened (40, 20), tag 6; loaded (40, 20), tag 6
#> PNG  opened (40, 20), tag 6; loaded (40, 20), tag 6
#> WEBP opened (40, 20), tag 6; loaded (40, 20), tag 6
#> TIFF opened (20, 40), tag 6; loaded (20, 40), tag None
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import io

from PIL import Image

ORIENTATION = 0x0112
for form in ("JPEG", "PNG", "WEBP", "TIFF"):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, form, exif=exif)
    picture = Image.open(io.BytesIO(file.getvalue()))
    opened = f"{picture.size}, tag {picture.getexif().get(ORIENTATION)}"
    picture.load()
    loaded = f"{picture.size}, tag {picture.getexif().get(ORIENTATION)}"
    print(f"{form:4} opened {opened}; loaded {loaded}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
