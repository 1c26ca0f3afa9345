"""Inside the transformers environment: `transformers serve` and a pipeline against `prune`.

python -m tools.clients.transformers_check FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import pipeline

from ivcprune import load_policy, prune
from ivcprune.models.qwen.processors import ImageTextProcessor

from .chat_server import NEW_TOKENS, Chat, free_port, running, with_gaps
from .reference import Answer, Reference
from .samples import scenes, served_model

N, EVERY, AT_ONCE, STREAMED = 24, 4, 4, 4
POLICIES = ("none", "ivc_prune", "fastv")
LAUNCHER = Path("examples/transformers_serve/run.py")


def main() -> None:
    folder = Path(sys.argv[1])
    asked = with_gaps(scenes(N, folder), EVERY)
    model = str(served_model(folder))
    report: dict[str, Any] = {"serve": {}, "pipeline": {}}
    for name in POLICIES:
        reference = Reference(load_policy(name, family="qwen2_5_vl"))
        expected = [
            reference.answer(text, [] if picture is None else [picture], NEW_TOKENS)
            for text, picture in asked
        ]
        report["serve"][name] = _served(model, name, asked, expected, folder)
        report["pipeline"][name] = _piped(model, name, asked, expected)
    report["serve"]["bad policy refused"] = _refused(model)
    print("RESULT " + json.dumps(report))


def _served(
    model: str,
    policy: str,
    asked: Sequence[tuple[str, Any]],
    expected: Sequence[Answer],
    folder: Path,
) -> dict[str, str]:
    port, log = free_port(), folder / f"tokens-{policy}.txt"
    options = ["--policy", policy, "--log", str(log), "--device", "cpu", "--dtype", "float32"]
    command = [sys.executable, str(LAUNCHER), model, *options, "--port", str(port)]
    with running(command, port, folder / "transformers.log"):
        chat = Chat(port, model)
        texts = [reply["text"] for reply in chat.ask_all(asked, AT_ONCE)]
        streamed = [chat.ask_streamed(*item) for item in asked[:STREAMED]]
        urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/reset", b"", method="POST")
        ).close()
        again = [chat.ask(*item)["text"] for item in asked[:STREAMED]]
    first = expected[:STREAMED]
    return {
        "answers_equal": _equal(texts, expected),
        "streamed_equal": _equal(streamed, first),
        "equal_after_reset": _equal(again, first),
        "kept_equal": _equal_tokens(log, [*expected, *first, *first]),
    }


def _piped(
    model: str, policy: str, asked: Sequence[tuple[str, Any]], expected: Sequence[Answer]
) -> dict[str, str]:
    processor = ImageTextProcessor.from_pretrained(model)
    pipe: Any = pipeline(
        "image-text-to-text", model=model, processor=processor, device="cpu", dtype="float32"
    )
    chats = [
        [{"role": "user", "content": [*_part(picture), {"type": "text", "text": text}]}]
        for text, picture in asked
    ]
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "return_full_text": False}
    with prune(pipe.model, load_policy(policy, family="qwen2_5_vl")):
        made = [pipe(text=chat, **settings)[0]["generated_text"] for chat in chats]
    return {"answers_equal": _equal(made, expected)}


def _part(picture: Any) -> list[dict[str, Any]]:
    return [] if picture is None else [{"type": "image", "image": picture}]


def _equal(texts: Sequence[str], expected: Sequence[Answer]) -> str:
    pairs = zip(texts, expected, strict=True)
    return f"{sum(_reply(text) == e.text.strip() for text, e in pairs)} of {len(texts)}"


def _reply(text: str) -> str:
    """What the model wrote.

    With the bundled tokenizer the server of 5.24 tells the end of the prompt too, and all of it
    where it streams, pruned or not. Spaces that begin a text differ between servers, as well.
    """
    return text.rpartition("assistant")[2].strip()


def _equal_tokens(log: Path, expected: Sequence[Answer]) -> str:
    """Sorted, since requests that came at once are answered in any order."""
    found = sorted(tuple(map(int, line.split())) for line in log.read_text().splitlines())
    wanted = sorted((e.n_visual, e.n_kept) for e in expected)
    same = sum(a == b for a, b in zip(found, wanted, strict=False))
    return f"{same} of {max(len(found), len(wanted))}"


def _refused(model: str) -> str:
    """What the launcher says of a policy that does not exist; anything else is no refusal."""
    command = [sys.executable, str(LAUNCHER), model, "--policy", "ivc_prun", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    message = (done.stderr.strip().splitlines() or [""])[-1]
    named = done.returncode != 0 and "did you mean 'ivc_prune'" in message
    return message[:200] if named else f"NOT REFUSED: {Path(message).name[:120]}"


if __name__ == "__main__":
    main()
