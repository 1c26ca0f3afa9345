"""A server with the chat interface: started, waited for, asked."""

from __future__ import annotations

import base64
import io
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 300
NEW_TOKENS = 8


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """A server for the length of the block, which begins when it is there.

    Raises:
        RuntimeError: it did not start; with the end of its log.
    """
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        _wait(server, port, log)
        yield
    finally:
        server.terminate()
        server.wait(60)


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-1500:]}")


@dataclass(frozen=True)
class Chat:
    """A served model."""

    port: int
    model: str

    def ask_all(self, asked: Sequence[tuple[str, Any]], at_once: int) -> list[dict[str, Any]]:
        """Replies to texts with a picture or None, in order."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda item: self.ask(*item), asked))

    def ask(self, text: str, picture: Any) -> dict[str, Any]:
        """The reply's text, and the length of its prompt as the server counts it."""
        reply = json.loads(self._post(self._body(text, picture)))
        return {
            "text": reply["choices"][0]["message"]["content"],
            "tokens": reply["usage"]["prompt_tokens"],
        }

    def ask_streamed(self, text: str, picture: Any) -> str:
        """The reply's text, put together from what arrives piece by piece."""
        answer = self._post(self._body(text, picture) | {"stream": True})
        lines = [line.removeprefix("data: ") for line in answer.splitlines()]
        events = [json.loads(line) for line in lines if line.startswith("{")]
        deltas = [choice["delta"] for event in events for choice in event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    def _body(self, text: str, picture: Any) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if picture is not None:
            png = io.BytesIO()
            picture.save(png, "PNG")
            url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        return {
            "model": self.model,
            "temperature": 0,
            "max_tokens": NEW_TOKENS,
            "messages": [{"role": "user", "content": content}],
        }

    def _post(self, body: dict[str, Any]) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            text: str = answer.read().decode()
        return text


def with_gaps(samples: Sequence[tuple[str, Any]], every: int) -> list[tuple[str, Any]]:
    """The samples, each so-many-th of them without its picture."""
    return [
        (text, None if i % every == every - 1 else picture)
        for i, (text, picture) in enumerate(samples)
    ]
