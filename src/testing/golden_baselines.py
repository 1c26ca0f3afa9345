"""The baselines beside their authors' code: kept tokens of every stage, states, logits.

A folder holds `index.json` (per method a list of cases, under `methods`) and one `<method>.npz`. A
case has its method's own parameters; what runs is the method's default policy, with its overlay for
the family that the authors published for, and these numbers in the place of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from ..api import bind
from ..models.blocks import Block, visual_tokens
from ..policy import PruningPolicy
from ..pruning.caches.names import with_cache
from ..pruning.live_signals import InputSignals
from ..pruning.pruner import Pruner
from ..pruning.sequence.slots import TextTokens
from ..selectors import Selection, Selector, decision, signals_of
from ..tokens.visual import VisualTokens
from .golden_methods import METHODS
from .golden_model import ImageLlama, OneImage, model_of
from .signals import RecordedSignals

Case = Mapping[str, Any]
Arrays = Mapping[str, Tensor]
TOLERANCE = 1e-4
"""Largest difference of logits and merged states that passes."""


@dataclass(frozen=True, eq=False)
class Witness(Selector):
    """Selects like `selector`, and writes down what it decides."""

    selector: Selector
    seen: list[tuple[VisualTokens, Selection]] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Selection:
        chosen = decision(self.selector, tokens)
        self.seen.append((tokens, chosen))
        return chosen

    def kept(self) -> list[int]:
        """Positions in the input of what is kept of it, ascending."""
        tokens, chosen = self.seen[0]
        real = chosen.keep & tokens.valid & ~tokens.added
        index: list[int] = tokens.index[real].sort().values.tolist()
        return index

    def merged(self) -> Tensor | None:
        """New states of the kept tokens, `[K, E]`, or None."""
        tokens, chosen = self.seen[0]
        return None if chosen.merged is None else chosen.merged[chosen.keep & tokens.valid]


def differences(name: str, case: Case, arrays: Arrays) -> list[str]:
    """In what our run of a case differs from the authors'; nothing where it is exact."""
    policy = METHODS[name].policy_of(case["params"])
    witnesses = [Witness(stage.selector) for stage in policy.stages.values()]
    stages = {
        key: replace(stage, selector=witness)
        for (key, stage), witness in zip(policy.stages.items(), witnesses, strict=True)
    }
    if name == "vscan_qwen":
        # stage 1 alone: no language model follows
        _select(witnesses[0], case, arrays)
        logits = None
    else:
        logits = _logits(replace(policy, stages=stages), case, arrays)
    found = _other_tokens(witnesses, case, arrays)
    if "merged" in arrays:
        found += _too_far("merged states", witnesses[0].merged(), arrays["merged"])
    if logits is not None:
        found += _too_far("logits", logits, arrays["logits"])
    return found


def _other_tokens(witnesses: Sequence[Witness], case: Case, arrays: Arrays) -> list[str]:
    start = case.get("img_start", 0)
    found = []
    for i, witness in enumerate(witnesses):
        expected = sorted((arrays[f"keep_img_{i}"] + start).tolist())
        if (kept := witness.kept()) != expected:
            wrong = len(set(kept) ^ set(expected))
            found.append(f"stage {i}: {len(kept)} of {len(expected)} tokens, {wrong} of them other")
    return found


def _too_far(what: str, got: Tensor | None, expected: Tensor) -> list[str]:
    if got is None or got.shape != expected.shape:
        return [f"{what}: {None if got is None else tuple(got.shape)}, not {tuple(expected.shape)}"]
    difference = float((got - expected).abs().max())
    return [f"{what}: {difference:.1e} apart"] if not difference <= TOLERANCE else []


@torch.no_grad()
def _logits(policy: PruningPolicy, case: Case, arrays: Arrays) -> Tensor:
    """Logits after the prefill and each further token, `[T, V]`; the tokens are the case's."""
    model = model_of(case, arrays)
    family = OneImage(case["img_start"], _grid(case))
    cache = DynamicCache()
    ids, states = arrays["input_ids"][None].long(), arrays["embeddings"][None]
    received = {
        depth: arrays[f"att_{depth}"] for depth in ("early", "late") if f"att_{depth}" in arrays
    }
    found = []
    with Pruner(model.model, family, bind(policy, family, model.config)):
        for expected in arrays["logits"]:
            found.append(_step(model, ids, states, cache, received, _grid(case)))
            ids, received = expected.argmax().view(1, 1), {}
            states = model.model.language_model.embed_tokens(ids)
    return torch.cat(found)


def _step(
    model: ImageLlama,
    ids: Tensor,
    states: Tensor,
    cache: DynamicCache,
    received: Mapping[str, Tensor],
    grid: tuple[int, int],
) -> Tensor:
    decoder = model.model.language_model
    arguments = with_cache({"use_cache": True}, cache, decoder.forward)
    output = model.model(
        input_ids=ids, inputs_embeds=states, received=received, grid=grid, **arguments
    )
    logits: Tensor = model.lm_head(output.last_hidden_state[:, -1])
    return logits


def _select(witness: Witness, case: Case, arrays: Arrays) -> None:
    """A choice in front of the language model, from recorded signals of the tower."""
    states = arrays["embeddings"][None]
    length = states.shape[1]
    block = Block.full(0, 0, "image", _grid(case), 0)
    positions = torch.arange(length).expand(3, 1, -1)
    tokens = visual_tokens([block], positions, torch.ones(1), seeds=())
    text = TextTokens.behind(torch.zeros(1, length, dtype=torch.bool), [length - 1], 0)
    received = torch.stack([arrays["att_early"], arrays["att_late"]])
    signals = RecordedSignals(
        values=states[:, None],
        text=text,
        valid=torch.ones(1, length, dtype=torch.bool),
        states=states,
        input=InputSignals(states, text, tokens, None, positions, lambda x: x),
        tower_attention=received.expand(1, 2, 2, length),
    )
    witness.select(tokens.with_signals(signals, signals_of(witness)))


def _grid(case: Case) -> tuple[int, int]:
    height, width = case["grid"]
    return height, width


def check(folder: Path, name: str) -> tuple[int, int, list[str]]:
    """Exact cases, all cases, and what is wrong with the others."""
    cases = json.loads((folder / "index.json").read_text())["methods"][name]
    exact, wrong = 0, []
    with np.load(folder / f"{name}.npz") as stored:
        for case in cases:
            prefix = f"{case['id']}/"
            arrays = {
                key.removeprefix(prefix): torch.from_numpy(stored[key])
                for key in stored
                if key.startswith(prefix)
            }
            found = differences(name, case, arrays)
            exact += not found
            wrong += [f"{case['id']}: {'; '.join(found)}"] if found else []
    return exact, len(cases), wrong
