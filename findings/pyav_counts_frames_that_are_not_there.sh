#!/usr/bin/env bash
# PyAV 18.1.0: one video, seven frames; its stream says 7, 0 or 181 of them, by container
# Input: seven frames at 0, 0.03, 0.07, 0.1, 2, 4 and 6 seconds, as screen recordings and
# messengers write them, in MP4, Matroska, WebM and AVI.
# Expected: `frames` is 7, or 0 for unknown; `average_rate` is about 1.2 a second, seven frames in
# six seconds.
# Seen: AVI says 181, since it has a slot for each thirtieth of a second, most of them empty.
# "Eight frames, evenly spaced" by that number asks for frame 180 of a stream that gives seven.
# Matroska and WebM say 0 frames and 30 a second, so that frames = duration * rate, the usual way
# out, gives 181 as well.
# Documented: 0 for unknown is (Stream.frames; issue 1131 of PyAV-Org/PyAV); the number of AVI,
# and the rate of Matroska, are not.
#
# Output seen:
#> mp4  frames   7, decoded 7, average rate 1.16
#> mkv  frames   0, decoded 7, average rate 30.00
#> webm frames   0, decoded 7, average rate 30.00
#> avi  frames 181, decoded 7, average rate 30.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys
from fractions import Fraction

import av
import numpy as np

TICKS = (0, 1, 2, 3, 60, 120, 180)  # of a thirtieth of a second
for ending, codec in (
    ("mp4", "mpeg4"), ("mkv", "mpeg4"), ("webm", "libvpx-vp9"), ("avi", "mpeg4")
):
    path = f"{sys.argv[1]}/video.{ending}"
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number, tick in enumerate(TICKS):
            pixels = np.full((64, 64, 3), 30 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(path) as container:
        stream = container.streams.video[0]
        decoded = sum(1 for _ in container.decode(stream))
        print(f"{ending:4} frames {stream.frames:3}, decoded {decoded}, "
              f"average rate {float(stream.average_rate):.2f}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
