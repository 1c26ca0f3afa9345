"""Inside the vLLM environment: a random model of a family, several pictures and none between.

python -m tools.clients.vllm_families FAMILY SETTINGS FOLDER

With several pictures each is judged as if it were alone in the prompt. So the reference is `prune`
once for each picture, without the others, and then `prune` of all with what was kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ivcprune.policy import PruningPolicy, Stage
from ivcprune.selectors.base import Selector
from ivcprune.testing.inputs import picture
from ivcprune.tokens.visual import VisualTokens

from .random_models import random_model
from .reference import Answer, Reference
from .vllm_engine import (
    agreement,
    generate,
    noted_selections,
    policy_of,
    shared_selections,
    start,
)

ROUNDS = 3
SHAPES = ((), ((196, 140),), ((112, 168), (168, 140)), (), ((140, 140), (112, 84), (196, 84)))
"""Width and height of the pictures of requests in a row: none, one, two, none, three."""

WORDS = ("where is it", "how many blobs are in there please", "name the colour of the left one")


@dataclass(frozen=True)
class Given(Selector):
    """What is known to stay, of each row."""

    kept: tuple[tuple[int, ...], ...]

    def select(self, tokens: VisualTokens) -> Tensor:
        keep = torch.zeros_like(tokens.valid)
        for row, places in enumerate(self.kept):
            keep[row, list(places)] = True
        return keep


def main() -> None:
    options = _options()
    settings = json.loads(options.settings)
    folder = options.folder / f"random-{options.family}"
    loaded = random_model(options.family, folder)
    policy = policy_of(settings, options.family)
    reference = Reference(policy, loaded)
    asked = [
        (reference.prompt(f"{WORDS[(i + turn) % len(WORDS)]} {turn}", len(sizes)), _shown(sizes, i))
        for turn in range(ROUNDS)
        for i, sizes in enumerate(SHAPES)
    ]
    image = loaded[1].tokenizer.convert_ids_to_tokens(loaded[0].config.image_token_id)
    expected = [_as_served(reference, loaded, image, *request) for request in asked]
    report: dict[str, Any] = {"settings": settings, "policy": policy.name}
    with noted_selections() as chosen:
        engine = start(folder, settings)
        chosen.clear()  # the picture that the engine tries itself on
        report |= {
            name: agreement(generate(engine, asked), expected) for name in ("first", "again")
        }
    report["selections_equal"] = shared_selections(chosen, expected)
    report["pictures"] = [len(sizes) for sizes in SHAPES] * ROUNDS
    print("RESULT " + json.dumps(report))


def _shown(sizes: Sequence[tuple[int, int]], seed: int) -> list[Any]:
    return [picture(*size, seed + i) for i, size in enumerate(sizes)]


def _as_served(
    reference: Reference, loaded: tuple[Any, Any], image: str, prompt: str, pictures: Sequence[Any]
) -> Answer:
    """The answer where each picture has lost what it would lose without the others."""
    if len(pictures) < 2:
        return reference.answer_prompt(prompt, pictures)
    parts = prompt.split(image)
    alone = [
        reference.answer_prompt(
            "".join(parts[: i + 1]) + image + "".join(parts[i + 1 :]), [shown], 1
        ).pictures[0]
        for i, shown in enumerate(pictures)
    ]
    kept = Given(tuple(places for _, *places in alone))
    given = PruningPolicy(stages={"given": Stage(0, kept)})
    return Reference(given, loaded).answer_prompt(prompt, pictures)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family")
    parser.add_argument("settings", help="JSON, as under the key ivcprune of --hf-overrides")
    parser.add_argument("folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
