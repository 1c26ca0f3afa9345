"""Inside the vLLM environment: one policy against `prune`, with prefix cache and chunked prefill.

python -m tools.clients.vllm_offline SETTINGS FOLDER [--forget-question]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import vllm
from vllm import LLM, SamplingParams

from ivcprune.serving.vllm import models, processor, selection
from ivcprune.serving.vllm.settings import Settings

from .reference import Answer, Reference
from .samples import messages, scenes, served_model

N = 24
CHUNK = 48
"""Tokens of a step: less than a picture has."""


def main() -> None:
    options = _options()
    settings = json.loads(options.settings)
    chosen: list[tuple[int, ...]] = []

    def noted(picture: Any, *arguments: Any) -> Any:
        kept = selection.kept_tokens(picture, *arguments)
        chosen.append((picture.n_visual, *kept.tolist()))
        return kept

    with ExitStack() as stack:
        stack.enter_context(patch.object(models, "kept_tokens", noted))
        if options.forget_question:
            stack.enter_context(patch.object(processor, "with_question", lambda image, _: image))
        report = _compare(settings, options.folder, chosen)
    print("RESULT " + json.dumps(report))


def _compare(
    settings: dict[str, Any], folder: Path, chosen: list[tuple[int, ...]]
) -> dict[str, Any]:
    samples = scenes(N, folder)
    others = [samples[(i + 1) % N][0] for i in range(N)]  # the same pictures, other questions
    asked = [
        *samples,
        *((text, picture) for text, (_, picture) in zip(others, samples, strict=True)),
    ]
    own = Settings.of(SimpleNamespace(ivcprune=settings))
    assert own is not None
    reference = Reference(own.load("qwen2_5_vl"))
    expected = [reference.answer(text, [picture]) for text, picture in asked]
    engine = LLM(
        model=str(served_model(folder)),
        dtype="float32",
        max_model_len=512,
        max_num_seqs=8,
        max_num_batched_tokens=CHUNK,
        enable_prefix_caching=True,
        block_size=32,  # less than a prompt has: prefixes are found again
        enforce_eager=True,
        seed=0,
        max_logprobs=200,
        hf_overrides={"ivcprune": settings},
    )
    report: dict[str, Any] = {"settings": settings, "policy": own.load("qwen2_5_vl").name}
    report["vllm"] = vllm.__version__
    parts = {"first": (0, N), "again": (0, N), "other questions": (N, 2 * N)}
    for name, (start, end) in parts.items():
        outputs = _generate(engine, asked[start:end])
        report[name] = _agreement(outputs, expected[start:end])
    found = {(answer.n_visual, *answer.kept) for answer in expected}
    report["selections_equal"] = f"{len(found & set(chosen))} of {len(found | set(chosen))}"
    return report


def _generate(engine: LLM, asked: Sequence[tuple[str, Any]]) -> list[Any]:
    tokenizer = engine.get_tokenizer()
    requests = [
        {
            "prompt": tokenizer.apply_chat_template(
                messages(text), add_generation_prompt=True, tokenize=False
            ),
            "multi_modal_data": {"image": picture},
        }
        for text, picture in asked
    ]
    sampling = SamplingParams(temperature=0, max_tokens=8, logprobs=114)
    outputs: list[Any] = engine.generate(requests, sampling, use_tqdm=False)
    return outputs


def _agreement(outputs: Sequence[Any], expected: Sequence[Answer]) -> dict[str, Any]:
    same, worst, lengths = 0, 0.0, 0
    for output, answer in zip(outputs, expected, strict=True):
        ids = list(output.outputs[0].token_ids)
        same += ids == answer.ids
        pruned = answer.prompt_length - answer.n_visual + len(answer.kept)
        lengths += len(output.prompt_token_ids) == pruned
        for step, theirs, token, other in zip(
            output.outputs[0].logprobs, answer.log_probs, ids, answer.ids, strict=False
        ):
            worst = max(worst, *(abs(theirs[i] - x.logprob) for i, x in step.items()))
            if token != other:
                break
    return {
        "answers_equal": f"{same} of {len(expected)}",
        "prompt_lengths_equal": f"{lengths} of {len(expected)}",
        "largest_log_prob_difference": worst,
        "cached_tokens": sum(output.num_cached_tokens or 0 for output in outputs),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", help="JSON, as under the key ivcprune of --hf-overrides")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--forget-question", action="store_true", help="the negative control")
    return parser.parse_args()


if __name__ == "__main__":
    main()
