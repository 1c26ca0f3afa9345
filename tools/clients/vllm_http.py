"""Inside the vLLM environment: a server, 40 requests at once by eight, text-only ones between.

python -m tools.clients.vllm_http SETTINGS FOLDER
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

from .chat_server import Chat, free_port, running, with_gaps
from .reference import Reference
from .samples import scenes, served_model
from .vllm_engine import policy_of

N, EVERY, AT_ONCE = 40, 4, 8
"""Requests, of which every fourth has no picture, and how many at once."""


def main() -> None:
    options = _options()
    settings = json.loads(options.settings)
    reference = Reference(policy_of(settings, "qwen2_5_vl"))
    asked = with_gaps(scenes(N, options.folder), EVERY)
    expected = [reference.answer(text, [p] if p is not None else []) for text, p in asked]
    port = free_port()
    command = _command(settings, served_model(options.folder), port)
    with running(command, port, options.folder / "server.log"):
        replies = Chat(port, "tiny").ask_all(asked, AT_ONCE)
        figures = _metrics(port)
    # servers and processors differ in the spaces that begin a text
    pairs = [(r["text"].strip(), e.text.strip()) for r, e in zip(replies, expected, strict=True)]
    same = sum(ours == theirs for ours, theirs in pairs)
    lengths = sum(r["tokens"] == e.pruned_length for r, e in zip(replies, expected, strict=True))
    report = {
        "settings": settings,
        "answers_equal": f"{same} of {N}",
        "usage_prompt_tokens_equal": f"{lengths} of {N}",
        "wrong": [pair for pair in pairs if pair[0] != pair[1]],
        "metrics": figures,
        "visual_tokens": [sum(e.n_visual for e in expected), sum(e.n_kept for e in expected)],
        "without_pictures": sum(picture is None for _, picture in asked),
    }
    print("RESULT " + json.dumps(report))


def _command(settings: dict[str, Any], model: Path, port: int) -> list[str]:
    arguments = {
        "--model": str(model),
        "--served-model-name": "tiny",
        "--dtype": "float32",
        "--max-model-len": "512",
        "--max-num-seqs": "8",
        "--port": str(port),
        "--host": "127.0.0.1",
        "--hf-overrides": json.dumps({"ivcprune": settings}),
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    return command + [word for pair in arguments.items() for word in pair]


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(ivcprune_\w+_total)(?:\{.*\})? ([\d.e+]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings")
    parser.add_argument("folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
