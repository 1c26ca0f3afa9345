"""Which run a configuration stands for: the same key, the same results."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import __version__
from ..models.registry import family_named
from ..provenance.code import code_of, targets_in

SEMANTIC = ("model", "data", "policy", "generation", "seed", "attention")
"""Keys of the root configuration that results depend on; batch size and devices are not."""


MADE_OF = ("model", "data", "policy", "generation")
"""Those of them whose classes count as well, by their code."""


def run_key(cfg: DictConfig, fingerprint: str) -> str:
    """`<policy>-<model>-<data>-<hash>`, the hash covering all that results depend on.

    Args:
        cfg: the root configuration.
        fingerprint: of the model's weights, so that trained anew they make another run.
    """
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    content = {key: config[key] for key in SEMANTIC}
    if not config["policy"].get("stages"):
        # Vanilla is the same run whatever budget the other policies of a sweep are given.
        content["policy"] = config["policy"]["name"]
    if config["generation"]["do_sample"]:
        content["batch_size"] = config["batch_size"]  # a batch draws its tokens together
    content |= {"version": __version__, "weights": fingerprint, "code": code_of_run(cfg)}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    names = [config[key]["name"] for key in ("policy", "model", "data")]
    return "-".join([*(as_file_name(name.replace(" ", "-")) for name in names), digest[:8]])


def code_of_run(cfg: DictConfig) -> dict[str, str]:
    """A digest of each module that the run's policy, model, data and metrics are made of."""
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    family = type(family_named(config["model"]["family"]))
    targets = [target for key in MADE_OF for target in targets_in(config[key])]
    return code_of([*targets, f"{family.__module__}.{family.__qualname__}"])


def as_file_name(text: str) -> str:
    """`text` where it can name a file; else what is left of it, told apart by a hash."""
    safe = re.sub(r"[^\w.=+-]", "_", text)[:120]
    if safe == text and text[:1] not in ("", "."):
        return text
    return f"{safe.lstrip('.')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
