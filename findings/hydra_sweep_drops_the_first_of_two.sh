#!/usr/bin/env bash
# hydra-core 1.3.8: of a setting that is given twice in a sweep the first one is dropped, silently
# Input: `python app.py -m +seed=1,2 +seed=3`, as it comes about when a script adds a setting to the
# arguments it was called with.
# Expected: an error, as without -m for a config group that is given twice, or the three values.
# Seen: one job with seed 3. The runs of 1 and 2 never happen, and no line says so; the exit code
# is 0.
# Documented: no. For single runs the documentation says that the last override wins.
#
# Output seen:
#> -m +seed=1,2: 2 jobs, seeds [1, 2], exit code 0
#> -m +seed=1,2 +seed=3: 1 jobs, seeds [3], exit code 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hydra-core==1.3.8 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import re
import subprocess
import sys
from pathlib import Path

folder = Path(sys.argv[1])
(folder / "app.py").write_text(
    "import hydra\n"
    "@hydra.main(config_path=None, version_base='1.3')\n"
    "def main(config):\n"
    "    print('SEED', config.seed)\n"
    "main()\n"
)
for words in (["+seed=1,2"], ["+seed=1,2", "+seed=3"]):
    command = [sys.executable, "app.py", "-m", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seeds = [int(seed) for seed in re.findall(r"^SEED (\d+)$", done.stdout, re.MULTILINE)]
    said = " ".join(["-m", *words])
    print(f"{said}: {len(seeds)} jobs, seeds {seeds}, exit code {done.returncode}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
