#!/usr/bin/env bash
# lmms-eval 0.7.3: of a reply's full stops, the VQA metrics remove the first 32 and keep the
# others
# Input: the reply "yes" followed by dots, as models write that fill up a line (a table of
# contents, a form), through the answer processor of TextVQA, VQAv2, OK-VQA and others.
# Expected: full stops are removed, however many; the answer is yes.
# Seen: with up to 32 it is; with 33 the reply is "yes." and wrong. The pattern's sub() is given
# re.UNICODE in the place of `count`, and re.UNICODE is the number 32. The line is from the
# official VQA evaluation code and lives in all its copies (here in three more files).
# Documented: no. Python 3.13 warns of positional count for re.sub(), not for the method of a
# compiled pattern.
#
# Output seen:
#> yes and 1 full stops: 'yes'
#> yes and 32 full stops: 'yes'
#> yes and 33 full stops: 'yes.'
#> yes and 40 full stops: 'yes........'
#> re.UNICODE is 32
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import re
import runpy
import sys
from pathlib import Path

(package,) = Path(sys.argv[1]).glob("venv/lib/python3*/site-packages/lmms_eval")
metric = package / "tasks" / "_task_utils" / "vqa_eval_metric.py"
processor = runpy.run_path(str(metric))["EvalAIAnswerProcessor"]()
for dots in (1, 32, 33, 40):
    print(f"yes and {dots} full stops: {processor('yes' + '.' * dots)!r}")
print("re.UNICODE is", int(re.UNICODE))
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
