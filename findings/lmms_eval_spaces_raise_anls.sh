#!/usr/bin/env bash
# lmms-eval 0.7.3: spaces behind a wrong reply raise its ANLS from 0 to 0.75
# Input: the accepted answer "cat", the reply "dog" followed by spaces, in the metric of DocVQA,
# InfoVQA and others.
# Expected: white space does not count, so 0: no letter is right.
# Seen: the edit distance is taken of the texts with white space collapsed, and divided by the
# length of the raw ones, so that each space makes the distance smaller. Four are enough for the
# threshold of 0.5. A right reply is right in any case.
# Documented: no. The line is from the evaluation code of Qwen-VL and lives in its copies
# (VLMEvalKit's vqa_eval.py among them).
#
# Output seen:
#> 'dog': 0
#> 'dog' and 2 spaces: 0
#> 'dog' and 3 spaces: 0.5
#> 'dog' and 9 spaces: 0.75
#> 'cat' and 9 spaces: 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps lmms-eval==0.7.3 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import ast
import sys
from pathlib import Path

(path,) = Path(sys.argv[1]).glob("venv/lib/python3*/site-packages/lmms_eval/api/metrics.py")
tree = ast.parse(path.read_text())
names = ("levenshtein_distance", "anls")
tree.body = [x for x in tree.body if isinstance(x, ast.FunctionDef) and x.name in names]
for function in tree.body:
    function.decorator_list = []  # they enter the metric into a table
found = {}
exec(compile(tree, path, "exec"), found)
for word, spaces in (("dog", 0), ("dog", 2), ("dog", 3), ("dog", 9), ("cat", 9)):
    score = found["anls"](["cat"], [word + " " * spaces])["anls"]
    print(repr(word) + (f" and {spaces} spaces" if spaces else "") + f": {score}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
