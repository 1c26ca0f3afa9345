"""Inside the vLLM environment: the figures of one policy, see `vllm_speed`.

python -m tools.clients.vllm_speed_case SETTINGS FOLDER [--small]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from vllm import LLM, SamplingParams

from .samples import messages
from .speed_settings import FULL, SMALL, Setting


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    setting = SMALL if options.small else FULL
    engine = _engine(setting, json.loads(options.settings), options.folder)
    figures = _figures(engine, setting)
    whole = json.loads(options.settings)["policy"] == "none"
    if whole != (figures["prompt_tokens"] > setting.visual_tokens):
        raise RuntimeError(f"not pruned as asked: {figures['prompt_tokens']} tokens in the prompt")
    print("RESULT " + json.dumps(figures))


def _engine(setting: Setting, settings: dict[str, Any], folder: Path) -> LLM:
    return LLM(
        model=str(setting.write(folder)),
        load_format="dummy",
        dtype="float32",
        max_model_len=setting.longest,
        max_num_seqs=setting.requests,
        max_num_batched_tokens=2048,
        block_size=32,
        kv_cache_memory_bytes=setting.cache_bytes,
        enable_prefix_caching=False,
        mm_processor_cache_gb=0,
        enforce_eager=True,
        seed=0,
        hf_overrides={"ivcprune": settings},
    )


def _figures(engine: LLM, setting: Setting) -> dict[str, Any]:
    prompt = engine.get_tokenizer().apply_chat_template(
        messages("what is the colour"), add_generation_prompt=True, tokenize=False
    )
    random = np.random.default_rng(0)

    def request() -> dict[str, Any]:
        pixels = random.integers(0, 255, (setting.side, setting.side, 3), dtype=np.uint8)
        return {"prompt": prompt, "multi_modal_data": {"image": Image.fromarray(pixels)}}

    one = SamplingParams(temperature=0, max_tokens=1)
    seconds, length = [], 0
    for _ in range(setting.singles + 1):  # the first one warms up
        asked = request()
        started = time.perf_counter()
        out = engine.generate([asked], one, use_tqdm=False)
        seconds.append(time.perf_counter() - started)
        length = len(out[0].prompt_token_ids)
    loads = [
        _load(engine, setting, [request() for _ in range(setting.requests)])
        for _ in range(setting.batches)
    ]
    rates, at_once, peaks = zip(*loads, strict=True)
    blocks = engine.llm_engine.vllm_config.cache_config.num_gpu_blocks
    return {
        "prompt_tokens": length,
        "cache_tokens": blocks * 32,
        "first_token_seconds": spread(seconds[1:]),
        "prompts_per_second": spread(rates),
        "requests_at_once": spread(at_once),
        "most_at_once": max(peaks),
    }


def _load(engine: LLM, setting: Setting, batch: Sequence[Any]) -> tuple[float, float, int]:
    """Prompts a second, and how many ran: on average while others waited, and at most."""
    scheduler = engine.llm_engine.engine_core.engine_core.scheduler  # in this process
    step, running, full = engine.llm_engine.step, [], []

    def noting() -> Any:
        outputs = step()
        running.append(len(scheduler.running))
        if scheduler.waiting:
            full.append(running[-1])
        return outputs

    sampling = SamplingParams(temperature=0, max_tokens=setting.new_tokens, ignore_eos=True)
    with patch.object(engine.llm_engine, "step", noting):
        started = time.perf_counter()
        engine.generate(list(batch), sampling, use_tqdm=False)
        took = time.perf_counter() - started
    return len(batch) / took, statistics.mean(full or running), max(running)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


if __name__ == "__main__":
    main()
