#!/usr/bin/env bash
# hydra-core 1.3.8 with omegaconf 2.3.1: a value means one thing in a file and another on the
# command line
# Input: values that are written alike in a YAML file and in an override, `answer: no` and
# `answer=no`.
# Expected: an override gives what the same line in the file gives.
# Seen: the file is read by YAML 1.1, where no is false, 010 is eight and 1:30 is ninety; the
# override by Hydra's own grammar, where all three are texts. The yes and no of a benchmark,
# sample numbers with leading zeros, and clock times differ silently between a run that was
# configured in a file and the same run typed.
# Documented: both readings by themselves (Hydra, Extended override syntax; YAML 1.1), their
# difference is not.
#
# Output seen:
#> no         file False        override 'no'         DIFFERENT
#> yes        file True         override 'yes'        DIFFERENT
#> on         file True         override 'on'         DIFFERENT
#> 010        file 8            override '010'        DIFFERENT
#> 0x1F       file 31           override '0x1F'       DIFFERENT
#> 1:30       file 90           override '1:30'       DIFFERENT
#> 1e3        file 1000.0       override 1000.0
#> 2011-05-03 file '2011-05-03' override '2011-05-03'
#> 0.10       file 0.1          override 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hydra-core==1.3.8 omegaconf==2.3.1 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

folder = Path(sys.argv[1]) / "conf"
folder.mkdir()
for text in ("no", "yes", "on", "010", "0x1F", "1:30", "1e3", "2011-05-03", "0.10"):
    (folder / "config.yaml").write_text(f"value: {text}\n")
    with initialize_config_dir(str(folder), version_base="1.3"):
        of_file = compose("config").value
        of_override = compose("config", overrides=[f"value={text}"]).value
    same = type(of_file) is type(of_override) and of_file == of_override
    line = f"{text:10} file {of_file!r:12} override {of_override!r:12} {'' if same else 'DIFFERENT'}"
    print(line.rstrip())
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
