"""Which run a configuration stands for: the same key, the same results."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import __version__

SEMANTIC = ("model", "data", "policy", "generation", "seed", "attention")
"""Keys of the root configuration that results depend on; batch size and devices are not."""


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
    content |= {"version": __version__, "weights": fingerprint}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    names = [config[key]["name"] for key in ("policy", "model", "data")]
    return "-".join([*map(as_file_name, names), digest[:8]])


def as_file_name(text: str) -> str:
    """`text` where it can name a file; else what is left of it, told apart by a hash."""
    safe = re.sub(r"[^\w.=+-]", "_", text)[:120]
    if safe == text and text[:1] not in ("", "."):
        return text
    return f"{safe.lstrip('.')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
