#!/usr/bin/env bash
# datasets 5.2.0: a column of texts and numbers is exported as JSON text
# Input: a valid JSON file whose column "a" holds a text in one row and a number in another, as
# answers of a benchmark do. It is loaded with the feature Json(), which stores JSON text and
# decodes it when rows are read.
# Expected: all views and exports of the dataset hold the text red.
# Seen: rows, to_pandas() and to_json() do; with_format("arrow"), to_csv() and to_parquet() hold
# "red" with quotation marks, so that a comparison of strings fails for every text and holds for
# every number.
# Documented: no. Issues 8131 and 8343 of huggingface/datasets mended to_list(), to_dict() and
# to_pandas() one by one; these three are as they were.
#
# Output seen:
#> feature: Json(decode=True)
#> rows:    ['red', 2]
#> pandas:  ['red', 2]
#> json:    ['red', 2]
#> arrow:   ['"red"', '2']
#> csv:     ['q,a', 'which', 'colour?,"""red"""', 'how', 'many?,2']
#> parquet: ['"red"', '2']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import json
import sys
from pathlib import Path

import datasets
import pyarrow.parquet as pq

datasets.disable_progress_bars()
folder = Path(sys.argv[1])
rows = [{"q": "which colour?", "a": "red"}, {"q": "how many?", "a": 2}]
(folder / "t.json").write_text(json.dumps(rows))
table = datasets.load_dataset(
    "json", data_files=str(folder / "t.json"), split="train", cache_dir=str(folder / "cache")
)
print("feature:", table.features["a"])
print("rows:   ", [row["a"] for row in table])
print("pandas: ", table.to_pandas()["a"].tolist())
table.to_json(folder / "out.jsonl")
print("json:   ", [json.loads(line)["a"] for line in (folder / "out.jsonl").open()])
print("arrow:  ", table.with_format("arrow")[:]["a"].to_pylist())
table.to_csv(folder / "out.csv")
print("csv:    ", (folder / "out.csv").read_text().split())
table.to_parquet(folder / "out.parquet")
print("parquet:", pq.read_table(folder / "out.parquet")["a"].to_pylist())
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
