"""Every method on every family: it runs on a tiny model, or is refused before weights load."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pytest
import torch

import ivcprune.conf
from ivcprune import load_policy, prune
from ivcprune.api import bind
from ivcprune.models.registry import family_named, supported
from ivcprune.testing import tiny_model
from layer_helpers import HYBRID
from pruning_helpers import batch, picture

CONF = files(ivcprune.conf)
TOWER = (
    "visionzip",
    "vispruner",
    "scope",
    "holov",
    "prumerge",
    "prumerge_plus",
    "fastvid",
    "vscan",
)
STAGED = ("pdrop", "sparsevlm", "sparsevlm_plus")
"""More stages than the tiny hybrid models have layers with attention."""
METHODS = (
    *("ivc_prune", "ivc_prune_paper", "ivc_prune_progressive", "foreground_only", "random"),
    *(
        "fastv",
        "window_fastv",
        "divprune",
        "dart",
        "cdpruner",
        "dycoke",
        "feather",
        *STAGED,
        *TOWER,
    ),
)
OWN_SELECTOR = ("ivc_prune", "ivc_prune_paper", "ivc_prune_progressive")
WITHOUT_TOWER = (
    *("gemma3", "gemma4", "glm4v", "idefics3", "llava_next", "llava_onevision", "mistral3"),
    "paddleocr_vl",
)
KEEPS_ALL = ("dycoke",)
"""A picture has no neighbouring frames."""
PADDED = ("deepseek_vl2",)
"""Cells beside the picture, which no method may keep."""
NO_TOWER = "attention of the vision tower are not offered by the family"
TOO_FEW = "(layer of stage|only the layers)"


@cache
def composed(name: str, family: str):
    """Composing takes a third of a second: once for the families whose settings are the same."""
    own = (CONF / "overlay" / family / f"{name}.yaml").is_file() or name in OWN_SELECTOR
    return load_policy(name, family=family if own else "qwen2_5_vl")


@cache
def model_of(family: str):
    return tiny_model(family, depth=8)


@cache
def inputs_of(family: str):
    model, processor = model_of(family)
    return model, batch(processor, ("where is the red one", [picture(140, 112)]))


def refusal(name: str, family: str) -> str | None:
    """The sentence that is expected; None where the method runs."""
    if name in TOWER and family in WITHOUT_TOWER:
        return NO_TOWER
    # Gemma 4's has a window in its first layer alone, which leaves PyramidDrop its three
    too_few = family in HYBRID and (family, name) != ("gemma4", "pdrop")
    return TOO_FEW if name in STAGED and too_few else None


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", supported())
def test_a_method_runs_or_is_refused(family, name):
    policy = composed(name, family)
    model, inputs = inputs_of(family)
    if (sentence := refusal(name, family)) is not None:
        with pytest.raises(ValueError, match=sentence):
            bind(policy, family_named(family), model.config)
        return
    with prune(model, policy) as run, torch.no_grad():
        logits = model(**inputs).logits
    assert logits.isfinite().all()
    before, last = run.stats.n_visual[0], len(run.stats.kept[0])
    # nothing may be left of so little: 9 % of what an earlier stage left, 11 % of a tile of four
    keeps_all = name in KEEPS_ALL and family not in PADDED
    assert (last == before) == (run.stats.average_tokens == 1) == keeps_all
