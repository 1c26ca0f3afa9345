"""Runs the clients against `prune`, each in an environment of its own, and writes down what was.

python -m tools.clients [vllm lmms vlmevalkit] --output results/clients
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .environments import ENVIRONMENTS
from .verdicts import problems_of

CHECKS: dict[str, dict[str, list[str]]] = {
    "vllm": {
        "refusals": ["vllm_refusals", "FOLDER"],
        "divprune": ["vllm_offline", '{"policy": "divprune", "average_tokens": 0.5}', "FOLDER"],
        "layer 1": ["vllm_offline", '{"policy": "ivc_prune", "layer": 1}', "FOLDER"],
        "layer 3": ["vllm_offline", '{"policy": "ivc_prune", "layer": 3}', "FOLDER"],
        "negative control": [
            "vllm_offline",
            '{"policy": "ivc_prune", "layer": 1}',
            "FOLDER",
            "--forget-question",
        ],
        "http": ["vllm_http", '{"policy": "ivc_prune", "layer": 1}', "FOLDER"],
    },
    "lmms": {"against prune": ["lmms_check", "FOLDER"]},
    "vlmevalkit": {"against prune": ["vlmevalkit_check", "FOLDER"]},
}
"""Modules of this package and their arguments, by client and check."""

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def main() -> None:
    """Exits with 1 where a client disagrees."""
    options = _options()
    failed = False
    for client in options.clients:
        record = _run(client)
        failed |= bool(record["problems"])
        options.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (options.output / f"{client}.json").write_text(text + "\n")
        print(f"{client}: {'; '.join(record['problems']) or 'as promised'}", flush=True)
    sys.exit(1 if failed else 0)


def _run(client: str) -> dict[str, Any]:
    environment = ENVIRONMENTS[client]
    started = time.monotonic()
    record: dict[str, Any] = {"command": f"python -m tools.clients {client}", "checks": {}}
    try:
        environment.make()
    except (OSError, subprocess.CalledProcessError) as error:
        log = environment.folder / "pip.log"
        return record | {"problems": [f"left out, its environment cannot be made ({error}): {log}"]}
    with tempfile.TemporaryDirectory(prefix="ivcprune-clients-") as folder:
        for name, (module, *arguments) in CHECKS[client].items():
            filled = [folder if argument == "FOLDER" else argument for argument in arguments]
            command = [str(environment.python), "-m", f"tools.clients.{module}", *filled]
            print(f"{client}: {name} ...", flush=True)
            record["checks"][name] = _result(command)
    record["versions"] = _versions(environment.python)
    record["seconds"] = round(time.monotonic() - started)
    record["problems"] = problems_of(record["checks"])
    return record


def _result(command: list[str]) -> dict[str, Any]:
    """What a check says of itself in its last line, or how it ended."""
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True)
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    return {"ended": done.returncode, "error": (done.stdout + done.stderr)[-2000:]}


def _versions(python: Path) -> dict[str, str]:
    names = ("vllm-cpu", "lmms_eval", "ms-vlmeval", "torch", "transformers", "ivcprune")
    code = (
        "import json, importlib.metadata as m\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        f"print(json.dumps({{n: found[n] for n in {names!r} if n in found}}))"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.clients", description=__doc__)
    parser.add_argument("clients", nargs="*", choices=[*CHECKS, []], default=list(CHECKS))
    parser.add_argument("--output", type=Path, default=Path("results/clients"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
