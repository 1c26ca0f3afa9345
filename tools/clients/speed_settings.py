"""What the figures of the vLLM plugin are measured on, and under which policies."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .samples import served_model

HEAD = 64


@dataclass(frozen=True)
class Setting:
    """A random language model behind the bundled vision tower, and the load on it.

    Attributes:
        depth, hidden: decoder layers and their width.
        side: pixels of the square pictures; one visual token for 28 x 28 of them.
        cache_mib: memory of the KV cache, the same under all policies.
        singles: requests alone, for the time to the first token.
        batches: measurements under load.
        requests: at once in each of these.
        new_tokens: of each of them.
    """

    depth: int
    hidden: int
    side: int
    cache_mib: int
    singles: int
    batches: int
    requests: int
    new_tokens: int

    @property
    def visual_tokens(self) -> int:
        return (self.side // 28) ** 2

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence: a picture, its question and the answer."""
        return self.visual_tokens + 256

    @property
    def cache_bytes(self) -> int:
        return self.cache_mib * 2**20

    def cases(self) -> list[dict[str, Any]]:
        """Settings for the engine; the first one twice, so that drift of the machine is seen."""
        shares = (0.5, 0.25)
        layers = sorted({2, 4, self.depth // 2})
        return [
            {"policy": "none"},
            *({"policy": "divprune", "average_tokens": share} for share in shares),
            *(
                {"policy": "ivc_prune", "average_tokens": share, "layer": layer}
                for share in shares
                for layer in layers
            ),
            {"policy": "none"},
        ]

    def write(self, folder: Path) -> Path:
        """The model's folder, without weights: the engine makes random ones."""
        target = folder / f"random-{self.depth}-{self.hidden}-{self.side}"
        shutil.copytree(served_model(folder), target, dirs_exist_ok=True)
        (target / "model.safetensors").unlink(missing_ok=True)
        _change(target / "config.json", self._sizes)
        _change(target / "processor_config.json", self._pixels)
        return target

    def _sizes(self, config: dict[str, Any]) -> None:
        heads = self.hidden // HEAD
        text = config["text_config"]
        text |= {"hidden_size": self.hidden, "intermediate_size": 3 * self.hidden}
        text |= {"num_attention_heads": heads, "num_key_value_heads": heads // 3}
        text |= {"num_hidden_layers": self.depth, "max_position_embeddings": 4096}
        text["layer_types"] = ["full_attention"] * self.depth
        text["rope_parameters"]["mrope_section"] = [8, 12, 12]
        config["vision_config"]["out_hidden_size"] = self.hidden

    def _pixels(self, processor: dict[str, Any]) -> None:
        for part in ("image_processor", "video_processor"):
            processor[part]["size"]["longest_edge"] = self.side**2


def _change(path: Path, change: Any) -> None:
    settings = json.loads(path.read_text())
    change(settings)
    path.write_text(json.dumps(settings))


FULL = Setting(
    depth=12, hidden=768, side=896, cache_mib=105, singles=9, batches=3, requests=24, new_tokens=32
)
"""1,024 visual tokens; the cache holds 4,480 tokens: four requests with all of theirs."""

SMALL = Setting(
    depth=6, hidden=192, side=224, cache_mib=2, singles=3, batches=2, requests=12, new_tokens=8
)
"""To try the script: its figures mean nothing."""
