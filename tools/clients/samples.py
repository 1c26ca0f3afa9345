"""The samples that clients are compared on, and the folder that a server loads the model from."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from ivcprune.data.scenes import load_scenes

BUNDLED = Path(str(files("ivcprune.assets") / "tiny"))


def scenes(n: int, cache: Path) -> list[tuple[str, Any]]:
    """Prompt text and picture of the first n test scenes."""
    rows = load_scenes("test", size=n, seed=0, cache_dir=cache)
    return [(_text(row), row["images"][0]) for row in rows]


def _text(row: Any) -> str:
    return f"locate {row['question']}" if row["boxes"] else str(row["question"])


def served_model(folder: Path) -> Path:
    """The bundled model with the names of processors that transformers itself knows."""
    target = folder / "tiny"
    if not target.exists():
        shutil.copytree(BUNDLED, target)
        with_stock_processors(target, "Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor")
    return target


def with_stock_processors(folder: Path, processor: str, video_processor: str) -> None:
    """Name transformers' own processors in a model's folder."""
    path = folder / "processor_config.json"
    config = json.loads(path.read_text())
    image = dict(config["image_processor"])
    image.pop("image_processor_type")
    config["processor_class"] = processor
    config["video_processor"] = image | {"video_processor_type": video_processor}
    path.write_text(json.dumps(config))


def messages(text: str, n_images: int = 1) -> list[dict[str, Any]]:
    """One turn of a user."""
    content = [{"type": "image"}] * n_images + [{"type": "text", "text": text}]
    return [{"role": "user", "content": content}]
