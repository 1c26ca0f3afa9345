"""VLMEvalKit with models of this package, without a fork of it.

python examples/vlmevalkit/run.py --data POPE --model ivcprune-qwen2_5_vl_7b-ivc_prune

A model's name is `ivcprune-<model>-<policy>`; all further arguments are VLMEvalKit's own.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
import vlmeval.config
from PIL import Image
from vlmeval.vlm.base import BaseModel

from ivcprune import load_policy, prune
from ivcprune.configuration.build import build_model_spec, compose

PREFIX = "ivcprune-"


class Pruned(BaseModel):  # type: ignore[misc]
    """A model by its name in `conf/model/`, under a policy; asked with VLMEvalKit's own prompts."""

    INTERLEAVE = True

    def __init__(self, model: str, policy: str, overrides: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.spec = build_model_spec(compose([f"model={model}", *overrides]))
        self.policy = load_policy(policy, family=self.spec.family)
        self.model: Any = self.spec.load_model()
        self.processor: Any = self.spec.load_processor()

    def generate_inner(self, message: list[dict[str, Any]], dataset: str | None = None) -> str:
        """The greedy reply to texts and pictures."""
        pictures = [Image.open(m["value"]).convert("RGB") for m in message if m["type"] == "image"]
        parts = [
            {"type": "image"} if m["type"] == "image" else {"type": "text", "text": m["value"]}
            for m in message
        ]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(
            text=[prompt], images=[pictures] if pictures else None, return_tensors="pt"
        ).to(self.model.device)
        with torch.inference_mode(), prune(self.model, self.policy) as run:
            ids = self.model.generate(
                **inputs,
                max_new_tokens=self.spec.max_new_tokens,
                do_sample=False,
                repetition_penalty=1.0,  # as VLMEvalKit and the published evaluation have it
            )
        if pictures and (run.stats is None or not run.stats.n_visual[0]):
            raise ValueError("pictures were given, but no visual token reached the model")
        new = ids[:, inputs["input_ids"].shape[1] :]
        replies: list[str] = self.processor.batch_decode(new, skip_special_tokens=True)
        return replies[0]


def register(names: list[str]) -> None:
    """Enter the models of the command line into VLMEvalKit's table."""
    for name in names:
        if name.startswith(PREFIX):
            model, _, policy = name.removeprefix(PREFIX).partition("-")
            vlmeval.config.supported_VLM[name] = partial(Pruned, model, policy or "ivc_prune")


if __name__ == "__main__":
    register(sys.argv)
    from vlmeval.run import main

    main()
