"""Inside the VLMEvalKit environment: its run on a table of ours against `prune`.

python -m tools.clients.vlmevalkit_check FOLDER
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas

from ivcprune import load_policy

from .reference import Reference
from .samples import scenes

N = 20
POLICIES = ("none", "ivc_prune", "fastv")
TABLE = "ivcprune_scenes"
LAUNCHER = Path("examples/vlmevalkit/run.py").resolve()


def main() -> None:
    folder = Path(sys.argv[1]) / "vlmevalkit"
    samples = scenes(N, folder)
    data = folder / "LMUData"
    data.mkdir(parents=True, exist_ok=True)
    rows = [
        {"index": i, "image": _base64(picture), "question": text, "answer": "none"}
        for i, (text, picture) in enumerate(samples)
    ]
    pandas.DataFrame(rows).to_csv(data / f"{TABLE}.tsv", sep="\t", index=False)
    report: dict[str, Any] = {}
    for name in POLICIES:
        reference = Reference(load_policy(name, family="qwen2_5_vl"))
        expected = [reference.answer(text, [picture], 32).text for text, picture in samples]
        found = _predictions(folder, data, f"ivcprune-tiny-{name}")
        same = sum(found.get(i) == text for i, text in enumerate(expected))
        report[name] = f"{same} of {N}"
    print("RESULT " + json.dumps(report))


def _base64(picture: Any) -> str:
    png = io.BytesIO()
    picture.save(png, "PNG")
    return base64.b64encode(png.getvalue()).decode()


def _predictions(folder: Path, data: Path, model: str) -> dict[int, str]:
    command = [sys.executable, str(LAUNCHER), "--data", TABLE, "--model", model]
    command += ["--mode", "infer", "--work-dir", str(folder / "work")]
    environment = os.environ | {"LMUData": str(data)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    tables = sorted((folder / "work").rglob(f"{model}_{TABLE}.*"))
    if not tables:
        raise RuntimeError((done.stdout + done.stderr)[-1500:])
    path = tables[-1]
    table = pandas.read_excel(path) if path.suffix == ".xlsx" else pandas.read_csv(path, sep="\t")
    return {int(row["index"]): str(row["prediction"]) for _, row in table.iterrows()}


if __name__ == "__main__":
    main()
