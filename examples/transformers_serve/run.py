"""`transformers serve` with a model that is pruned, made of transformers' own parts.

python examples/transformers_serve/run.py Qwen/Qwen2.5-VL-7B-Instruct --policy ivc_prune
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvicorn
from transformers import AutoImageProcessor
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.completion import CompletionHandler
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.response import ResponseHandler
from transformers.cli.serving.server import build_server
from transformers.cli.serving.systemone import SystemOneHandler
from transformers.cli.serving.transcription import TranscriptionHandler
from transformers.cli.serving.utils import GenerationState

from ivcprune import load_policy, prune
from ivcprune.models.registry import family_of_model

HANDLERS = {
    "chat_handler": ChatCompletionHandler,
    "completion_handler": CompletionHandler,
    "response_handler": ResponseHandler,
    "transcription_handler": TranscriptionHandler,
    "systemone_handler": SystemOneHandler,
}


class PrunedModels(ModelManager):  # type: ignore[misc]
    """Keeps the server's model inside `prune`, also one that it loads again after `/reset`."""

    def __init__(self, policy: str, overrides: Sequence[str], log: Path | None, **kw: Any) -> None:
        self._policy, self._overrides, self._log = policy, overrides, log
        self._block, self._pruned, self._guard = ExitStack(), None, threading.Lock()
        super().__init__(**kw)

    def load_model_and_processor(self, *args: Any, **kw: Any) -> tuple[Any, Any]:
        """The model that answers a request, pruned."""
        model, processor = super().load_model_and_processor(*args, **kw)
        with self._guard:
            if model is not self._pruned:
                self._block.close()
                family = family_of_model(model).name
                policy = load_policy(self._policy, *self._overrides, family=family)
                self._block.enter_context(prune(model, policy, on_prefill=self._note))
                self._pruned = model
                # resized by Pillow, as everywhere in this package: torchvision's pixels differ
                name = model.name_or_path
                processor.image_processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        return model, processor

    def _note(self, stats: Any) -> None:
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{stats.n_visual[0]} {len(stats.kept[0])}\n")


def main() -> None:
    """Serves until it is stopped."""
    options = _options()
    models = PrunedModels(
        options.policy,
        options.override,
        options.log,
        force_model=options.model,
        device=options.device,
        dtype=options.dtype,
    )
    state = GenerationState()  # without continuous batching, which takes no pictures
    handlers = {name: handler(models, state) for name, handler in HANDLERS.items()}
    app = build_server(models, generation_state=state, **handlers)
    uvicorn.run(app, host=options.host, port=options.port)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="hub id or folder")
    parser.add_argument("--policy", default="ivc_prune")
    parser.add_argument("--override", action="append", default=[], help="as for load_policy")
    parser.add_argument("--log", type=Path, help="visual and kept tokens of each request, by line")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
