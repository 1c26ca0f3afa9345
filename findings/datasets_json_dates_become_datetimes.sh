#!/usr/bin/env bash
# datasets 5.2.0: answers that look like dates are texts from a csv file and datetimes from a JSON
# file
# Input: the same two rows as csv and as jsonl, whose answers are the texts 2011-05-03 and
# 2012-01-01 (quoted in the JSON, where a text is told from other things).
# Expected: texts from the JSON file, which says so; perhaps dates from the csv file, which
# cannot.
# Seen: the other way round. What a person sees on a sign, 2011-05-03, has become 2011-05-03
# 00:00:00 where the cell is turned into text, and one answer of another form in the file makes
# all of them texts again: what a row holds depends on the other rows.
# Documented: by pyarrow for its JSON reader (Reading JSON files, Automatic type inference:
# strings of the form YYYY-MM-DD become timestamps), not by datasets, whose users never chose that
# reader.
#
# Output seen:
#> csv:   ['2011-05-03', '2012-01-01']
#> json:  | 2011-05-03 00:00:00 | 2012-01-01 00:00:00
#> mixed: ['2011-05-03', '2012-01-01', 'May']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 >"$folder/pip.log" 2>&1 ||
  { cat "$folder/pip.log" >&2; echo "cannot tell: the packages could not be installed" >&2; exit 2; }

"$folder/venv/bin/python" - "$folder" >"$folder/now" 2>"$folder/errors" <<'PYTHON' || cat "$folder/errors" >&2
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()
folder = Path(sys.argv[1])


def answers(kind: str, text: str) -> list[object]:
    path = folder / f"{abs(hash(text))}.{kind}"
    path.write_text(text)
    table = datasets.load_dataset(
        kind, data_files=str(path), split="train", cache_dir=str(folder / "cache")
    )
    return [row["answer"] for row in table]


print("csv:  ", answers("csv", "answer\n2011-05-03\n2012-01-01\n"))
lines = '{"answer": "2011-05-03"}\n{"answer": "2012-01-01"}\n'
print("json: ", *answers("json", lines), sep=" | ")
print("mixed:", answers("json", lines + '{"answer": "May"}\n'))
PYTHON

if ! diff <(sed -n 's/^#> \{0,1\}//p' "$0") "$folder/now"; then
  echo "changed: the output is no longer what the head of this script shows (<), but (>)" >&2
  exit 1
fi
echo "as seen"
