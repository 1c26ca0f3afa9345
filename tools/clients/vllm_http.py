"""Inside the vLLM environment: a server, 40 requests at once by eight, text-only ones between.

python -m tools.clients.vllm_http SETTINGS FOLDER
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ivcprune.serving.vllm.settings import Settings

from .reference import Reference
from .samples import scenes, served_model

N, EVERY, AT_ONCE = 40, 4, 8
"""Requests, of which every fourth has no picture, and how many at once."""

START_SECONDS = 300


def main() -> None:
    options = _options()
    settings = json.loads(options.settings)
    own = Settings.of(SimpleNamespace(ivcprune=settings))
    assert own is not None
    reference = Reference(own.load("qwen2_5_vl"))
    asked = [
        (text, None if i % EVERY == EVERY - 1 else picture)
        for i, (text, picture) in enumerate(scenes(N, options.folder))
    ]
    expected = [reference.answer(text, [p] if p is not None else []) for text, p in asked]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = _start(settings, options.folder, port)
    try:
        _wait(server, port)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(lambda item: _ask(port, *item), asked))
        figures = _metrics(port)
    finally:
        server.terminate()
        server.wait(60)
    # servers and processors differ in the spaces that begin a text
    pairs = [(r["text"].strip(), e.text.strip()) for r, e in zip(replies, expected, strict=True)]
    same = sum(ours == theirs for ours, theirs in pairs)
    lengths = sum(
        r["tokens"] == e.prompt_length - e.n_visual + len(e.kept)
        for r, e in zip(replies, expected, strict=True)
    )
    report = {
        "settings": settings,
        "answers_equal": f"{same} of {N}",
        "usage_prompt_tokens_equal": f"{lengths} of {N}",
        "wrong": [pair for pair in pairs if pair[0] != pair[1]],
        "metrics": figures,
        "visual_tokens": [sum(e.n_visual for e in expected), sum(len(e.kept) for e in expected)],
        "without_pictures": sum(picture is None for _, picture in asked),
    }
    print("RESULT " + json.dumps(report))


def _start(settings: dict[str, Any], folder: Path, port: int) -> subprocess.Popen[bytes]:
    arguments = {
        "--model": str(served_model(folder)),
        "--served-model-name": "tiny",
        "--dtype": "float32",
        "--max-model-len": "512",
        "--max-num-seqs": "8",
        "--port": str(port),
        "--host": "127.0.0.1",
        "--hf-overrides": json.dumps({"ivcprune": settings}),
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    for pair in arguments.items():
        command += pair
    log = (folder / "server.log").open("wb")
    return subprocess.Popen(command, stdout=log, stderr=log)


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise RuntimeError("the server did not start: see server.log")


def _ask(port: int, text: str, picture: Any) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if picture is not None:
        png = io.BytesIO()
        picture.save(png, "PNG")
        url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
        content.insert(0, {"type": "image_url", "image_url": {"url": url}})
    body = {
        "model": "tiny",
        "temperature": 0,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": content}],
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        reply = json.load(answer)
    return {
        "text": reply["choices"][0]["message"]["content"],
        "tokens": reply["usage"]["prompt_tokens"],
    }


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
