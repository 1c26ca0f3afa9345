"""Inside the vLLM environment: one policy against `prune`, with prefix cache and chunked prefill.

python -m tools.clients.vllm_offline SETTINGS FOLDER [--forget-question]
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import vllm

from ivcprune.serving.vllm import processor

from .reference import Reference
from .samples import scenes, served_model
from .vllm_engine import (
    agreement,
    generate,
    noted_selections,
    policy_of,
    shared_selections,
    start,
)

N = 24


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        if options.forget_question:
            stack.enter_context(patch.object(processor, "with_question", lambda image, _: image))
        report = _compare(json.loads(options.settings), options.folder)
    print("RESULT " + json.dumps(report))


def _compare(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    samples = scenes(N, folder)
    texts, pictures = zip(*samples, strict=True)
    others = [*texts[1:], texts[0]]  # the same pictures, other questions
    policy = policy_of(settings, "qwen2_5_vl")
    reference = Reference(policy)
    pairs = zip([*texts, *others], [[picture] for picture in pictures * 2], strict=True)
    asked = [(reference.prompt(text, 1), shown) for text, shown in pairs]
    expected = [reference.answer_prompt(prompt, shown) for prompt, shown in asked]
    report: dict[str, Any] = {"settings": settings, "policy": policy.name}
    report["vllm"] = vllm.__version__
    with noted_selections() as chosen:
        engine = start(served_model(folder), settings)
        parts = {"first": (0, N), "again": (0, N), "other questions": (N, 2 * N)}
        for name, (first, end) in parts.items():
            outputs = generate(engine, asked[first:end])
            report[name] = agreement(outputs, expected[first:end])
    report["selections_equal"] = shared_selections(chosen, expected)
    return report


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", help="JSON, as under the key ivcprune of --hf-overrides")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--forget-question", action="store_true", help="the negative control")
    return parser.parse_args()


if __name__ == "__main__":
    main()
