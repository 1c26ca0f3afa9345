"""Centre and width of each measure for an average of 50 %, from unlabelled validation samples.

python results/density/calibrate.py [SAMPLES A TASK]   # writes calibration.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from transformers import AutoModelForImageTextToText

import ivcprune.assets
import ivcprune.conf
from ivcprune import PruningPolicy, Stage, prune
from ivcprune.data.scenes import load_scenes
from ivcprune.models.processors import ImageTextProcessor
from ivcprune.selectors import Measure, Selector, WeightedSum, ramp_for
from ivcprune.tokens import VisualTokens

HERE = Path(__file__).parent
MODEL = Path(ivcprune.assets.__file__).parent / "tiny_text"
MEASURES = Path(ivcprune.conf.__file__).parent / "selector" / "measure"
CONTENTS = ("scenes", "scenes_read", "scenes_lookup")
LOW, HIGH, AVERAGE, LAYER = 0.35, 1.0, 0.5, 1


@dataclass(frozen=True, eq=False)
class Recording(Selector):
    """Keeps everything and notes what a measure says."""

    measure: Measure
    notes: list[Tensor] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Tensor:
        self.notes.append(self.measure.of(tokens))
        return tokens.valid


def parts_of(name: str) -> dict[str, Measure]:
    """The measures that a file of `conf/selector/measure` adds up."""
    measure = instantiate(OmegaConf.load(MEASURES / f"{name}.yaml"), _convert_="all")
    return dict(measure.parts) if isinstance(measure, WeightedSum) else {name: measure}


def measured(recordings: dict[str, Recording], contents: list[str], n: int) -> None:
    """Each measure of n validation samples of each content; answers and boxes are not read."""
    model: Any = AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32).eval()
    processor = ImageTextProcessor.from_pretrained(MODEL)
    policies = [
        PruningPolicy({"select": Stage(LAYER, recording)}, cache="from_stage")
        for recording in recordings.values()
    ]
    for content in contents:
        samples = load_scenes("validation", 1200, 0, "outputs/cache", content)
        for sample in samples.select(range(n)):
            asked = ("locate " if sample["task"] == "grounding" else "") + sample["question"]
            message = [{"type": "image"}, {"type": "text", "text": asked}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
            )
            inputs = processor(text=[prompt], images=[sample["images"]], return_tensors="pt")
            for policy in policies:
                with torch.no_grad(), prune(model, policy):
                    model(**inputs)


def main() -> None:
    """Reads the measures once, then solves for each design's ramp."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    names = sorted(path.stem for path in MEASURES.glob("*.yaml"))
    parts = {f"{name}.{part}": m for name in names for part, m in parts_of(name).items()}
    recordings = {key: Recording(measure) for key, measure in parts.items()}
    measured(recordings, list(CONTENTS), n)
    found: dict[str, Any] = {"low": LOW, "high": HIGH, "average": AVERAGE, "samples": n * 3}
    for name in names:
        values = {
            key.partition(".")[2]: torch.cat(recording.notes)
            for key, recording in recordings.items()
            if key.partition(".")[0] == name
        }
        measure = instantiate(OmegaConf.load(MEASURES / f"{name}.yaml"), _convert_="all")
        entry: dict[str, Any] = {}
        total = next(iter(values.values()))
        if isinstance(measure, WeightedSum):
            entry["weights"] = {
                part: round(measure.weights[part] / float(x.std()), 4) for part, x in values.items()
            }
            total = torch.stack([entry["weights"][p] * x for p, x in values.items()]).sum(dim=0)
        ramp = ramp_for(total, LOW, HIGH, AVERAGE)
        entry |= {"centre": round(ramp.centre, 4), "width": round(ramp.width, 4)}
        by_content = total.view(len(CONTENTS), n).mean(dim=1).tolist()
        entry["mean"] = dict(zip(CONTENTS, (round(x, 4) for x in by_content), strict=True))
        found[name] = entry
    (HERE / "calibration.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
