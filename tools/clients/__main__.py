"""Runs the clients against `prune`, each in an environment of its own, and writes down what was.

python -m tools.clients [vllm lmms vlmevalkit] --output results/clients
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .environments import ENVIRONMENTS, UnavailableError
from .verdicts import problems_of

SCOUT = '{"policy": "ivc_prune", "layer": 1}'
DIVPRUNE = '{"policy": "divprune", "average_tokens": 0.5}'

CHECKS: dict[str, dict[str, list[str]]] = {
    "vllm": {
        "refusals": ["vllm_refusals", "FOLDER"],
        "divprune": ["vllm_offline", DIVPRUNE, "FOLDER"],
        "layer 1": ["vllm_offline", SCOUT, "FOLDER"],
        "layer 3": ["vllm_offline", '{"policy": "ivc_prune", "layer": 3}', "FOLDER"],
        "negative control": ["vllm_offline", SCOUT, "FOLDER", "--forget-question"],
        **{
            f"{family}, {name}": ["vllm_families", family, settings, "FOLDER"]
            for family in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
            for name, settings in {
                "divprune": DIVPRUNE,
                "layer 2": '{"policy": "ivc_prune", "layer": 2}',
            }.items()
        },
        "http": ["vllm_http", SCOUT, "FOLDER"],
    },
    "lmms": {"against prune": ["lmms_check", "FOLDER"]},
    "transformers": {"against prune": ["transformers_check", "FOLDER"]},
    "vlmevalkit": {"against prune": ["vlmevalkit_check", "FOLDER"]},
}
"""Modules of this package and their arguments, by client and check."""

LIMIT_SECONDS = 900
"""Of one check."""

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def main() -> None:
    """Exits with 1 where a client disagrees, else with 2 where one could not be tried."""
    options = _options()
    disagree, skipped = [], []
    for client in options.clients:
        try:
            ENVIRONMENTS[client].make()
        except UnavailableError as error:
            skipped.append(client)
            left = ", ".join(CHECKS[client])
            print(f"{client}: SKIPPED ({left}), no environment: {error}", flush=True)
            continue
        record = _run(client)
        options.output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (options.output / f"{client}.json").write_text(text + "\n")
        print(f"{client}: {'; '.join(record['problems']) or 'as promised'}", flush=True)
        if record["problems"]:
            disagree.append(client)
    tried = len(options.clients) - len(skipped)
    print(f"{tried - len(disagree)} of {tried} clients as promised", end="")
    print(f"; not tried: {', '.join(skipped)}, see above" if skipped else "")
    sys.exit(1 if disagree else 2 if skipped else 0)


def _run(client: str) -> dict[str, Any]:
    python = ENVIRONMENTS[client].python
    started = time.monotonic()
    checks = {}
    with tempfile.TemporaryDirectory(prefix="ivcprune-clients-") as folder:
        for name, (module, *arguments) in CHECKS[client].items():
            filled = [folder if argument == "FOLDER" else argument for argument in arguments]
            print(f"{client}: {name} ...", flush=True)
            checks[name] = _result([str(python), "-m", f"tools.clients.{module}", *filled])
    return {
        "command": f"python -m tools.clients {client}",
        "checks": checks,
        "versions": _versions(python),
        "seconds": round(time.monotonic() - started),
        "problems": problems_of(checks),
    }


def _result(command: list[str]) -> dict[str, Any]:
    """What a check says of itself in its last line, or how it ended."""
    pipe = subprocess.PIPE
    check = subprocess.Popen(
        command,
        env=os.environ | QUIET,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,  # a server that it started ends with it
    )
    try:
        said, errors = check.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"it did not end within {LIMIT_SECONDS} seconds"}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(check.pid, signal.SIGKILL)
    for line in reversed(said.splitlines()):
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    return {"ended": check.returncode, "error": (said + errors)[-2000:]}


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


def _client(name: str) -> str:
    if name not in CHECKS:
        raise argparse.ArgumentTypeError(f"no client {name!r}: choose of {', '.join(CHECKS)}")
    return name


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.clients", description=__doc__)
    parser.add_argument("clients", nargs="*", type=_client, default=list(CHECKS))
    parser.add_argument("--output", type=Path, default=Path("results/clients"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
