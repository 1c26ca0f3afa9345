#!/usr/bin/env bash
# datasets 5.2.0 with pandas 3.1.1: one cell too many in the first row of a CSV moves all columns
# Input: a CSV with the header n,q,a whose rows have a fourth cell, as notes behind a table leave it.
# Expected: an error, as for a later row with a cell too many.
# Seen: the first cell of each row becomes an index and is gone, and the columns move by one: the
# question stands under `n`, the answer under `q`. A benchmark loads, runs and is scored against
# the wrong column.
# Documented: in pandas' read_csv (index_col, "malformed file with delimiters at the end of each
# line"), not in datasets, which passes its default on.
#
# Output seen:
#> every row has one more: [{'n': 'which colour?', 'q': 'red', 'a': 'checked'}, {'n': 'which shape?', 'q': 'round', 'a': 'checked'}]
#> only the second row has: DatasetGenerationError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pandas==3.1.1 pyarrow==26.0.1 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys
from pathlib import Path

import datasets

datasets.logging.set_verbosity_error()
datasets.disable_progress_bars()
folder = Path(sys.argv[1])
FIRST = ("1,which colour?,red", "2,which shape?,round")
for name, extra in {"every row has one more": (True, True), "only the second row has": (False, True)}.items():
    rows = [row + ",checked" * more for row, more in zip(FIRST, extra)]
    path = folder / f"{name.replace(' ', '_')}.csv"
    path.write_text("\n".join(["n,q,a", *rows]) + "\n")
    try:
        table = datasets.load_dataset(
            "csv", data_files=str(path), split="train", cache_dir=str(folder / "cache")
        )
        print(f"{name}: {list(table)}")
    except datasets.exceptions.DatasetGenerationError as error:
        print(f"{name}: {type(error).__name__}")
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
