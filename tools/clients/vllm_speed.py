"""Inside the vLLM environment: time to first token and prompts a second at a fixed KV cache.

A random model of 12 layers and pictures of 1,024 visual tokens; all ratios are of one run.

python -m tools.clients.vllm_speed FOLDER
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from vllm import LLM, SamplingParams

from .samples import messages, served_model

DEPTH, SIDE = 12, 896
BLOCK, BLOCKS = 32, 140
"""4,480 tokens of cache: four requests with all of their tokens."""

CASES: list[dict[str, Any]] = [
    {"policy": "none"},
    *({"policy": "divprune", "average_tokens": share} for share in (0.5, 0.25)),
    *(
        {"policy": "ivc_prune", "average_tokens": share, "layer": layer}
        for share in (0.5, 0.25)
        for layer in (2, 4, DEPTH // 2)
    ),
]
SINGLE, AT_ONCE, NEW = 4, 16, 32


def main() -> None:
    model = _mid_size(Path(sys.argv[1]))
    rows = []
    for settings in CASES:
        rows.append(settings | _measure(model, settings))
        print(rows[-1], file=sys.stderr, flush=True)
    for row in rows:
        row["first_token_ratio"] = row["first_token_seconds"] / rows[0]["first_token_seconds"]
        row["prompts_ratio"] = row["prompts_per_second"] / rows[0]["prompts_per_second"]
        row["concurrency_ratio"] = row["fit_at_once"] / rows[0]["fit_at_once"]
    print("RESULT " + json.dumps({"cache_tokens": BLOCK * BLOCKS, "rows": rows}))


def _mid_size(folder: Path) -> str:
    target = folder / "mid"
    shutil.copytree(served_model(folder), target, dirs_exist_ok=True)
    (target / "model.safetensors").unlink(missing_ok=True)
    path = target / "config.json"
    config = json.loads(path.read_text())
    text = config["text_config"]
    text |= {"hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": DEPTH}
    text |= {"num_attention_heads": 12, "num_key_value_heads": 4, "max_position_embeddings": 4096}
    text["layer_types"] = ["full_attention"] * DEPTH
    text["rope_parameters"]["mrope_section"] = [8, 12, 12]
    config["vision_config"]["out_hidden_size"] = 768
    path.write_text(json.dumps(config))
    path = target / "processor_config.json"
    processor = json.loads(path.read_text())
    for part in ("image_processor", "video_processor"):
        processor[part]["size"]["longest_edge"] = SIDE * SIDE
    path.write_text(json.dumps(processor))
    return str(target)


def _measure(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    engine = LLM(
        model=model,
        load_format="dummy",
        dtype="float32",
        max_model_len=2048,
        max_num_seqs=AT_ONCE,
        max_num_batched_tokens=2048,
        block_size=BLOCK,
        num_gpu_blocks_override=BLOCKS,
        enable_prefix_caching=False,
        mm_processor_cache_gb=0,
        enforce_eager=True,
        seed=0,
        hf_overrides={"ivcprune": settings},
    )
    prompt = engine.get_tokenizer().apply_chat_template(
        messages("what is the colour"), add_generation_prompt=True, tokenize=False
    )
    random = np.random.default_rng(0)

    def request() -> dict[str, Any]:
        pixels = random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        return {"prompt": prompt, "multi_modal_data": {"image": Image.fromarray(pixels)}}

    seconds, length = [], 0
    for _ in range(SINGLE + 1):
        asked = request()
        started = time.perf_counter()
        out = engine.generate([asked], SamplingParams(temperature=0, max_tokens=1), use_tqdm=False)
        seconds.append(time.perf_counter() - started)
        length = len(out[0].prompt_token_ids)
    batch = [request() for _ in range(AT_ONCE)]
    sampling = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True)
    started = time.perf_counter()
    engine.generate(batch, sampling, use_tqdm=False)
    took = time.perf_counter() - started
    del engine
    gc.collect()
    return {
        "prompt_tokens": length,
        "first_token_seconds": statistics.median(seconds[1:]),
        "prompts_per_second": AT_ONCE / took,
        "fit_at_once": BLOCKS // -(-(length + NEW) // BLOCK),
    }


if __name__ == "__main__":
    main()
