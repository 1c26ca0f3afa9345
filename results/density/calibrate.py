"""Centre and width of each design for its average, from unlabelled validation samples.

python results/density/calibrate.py [SAMPLES A TASK]   # writes calibration.json
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
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
HIGH, LAYER = 1.0, 1


@dataclass(frozen=True)
class Design:
    """A measure with the bounds and the average of its budget, and the width of its ramp.

    Attributes:
        spread: the width in standard deviations of the measure.
    """

    measure: str
    low: float = 0.35
    average: float = 0.5
    spread: float = 2.0


DESIGNS = {path.stem: Design(path.stem) for path in sorted(MEASURES.glob("*.yaml"))} | {
    "asked_edges_floor": Design("asked_edges", low=0.42, spread=3.0),
    "asked_edges_floor_quarter": Design("asked_edges", low=0.21, average=0.25, spread=3.0),
    "dense_text": Design("dense_text", low=0.46, spread=1.0),
    "dense_text_quarter": Design("dense_text", low=0.23, average=0.25, spread=1.0),
}


@dataclass(frozen=True, eq=False)
class Recording(Selector):
    """Keeps everything and notes what each measure says."""

    measures: dict[str, Measure]
    notes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def select(self, tokens: VisualTokens) -> Tensor:
        for name, measure in self.measures.items():
            self.notes[name].append(measure.of(tokens))
        return tokens.valid


def measured(recording: Recording, n: int) -> dict[str, Tensor]:
    """Each measure of n validation samples of each content; answers and boxes are not read."""
    model: Any = AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32).eval()
    processor = ImageTextProcessor.from_pretrained(MODEL)
    policy = PruningPolicy({"select": Stage(LAYER, recording)}, cache="from_stage")
    for content in CONTENTS:
        samples = load_scenes("validation", 1200, 0, "outputs/cache", content)
        for sample in samples.select(range(n)):
            asked = ("locate " if sample["task"] == "grounding" else "") + sample["question"]
            message = [{"type": "image"}, {"type": "text", "text": asked}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": message}], add_generation_prompt=True, tokenize=False
            )
            inputs = processor(text=[prompt], images=[sample["images"]], return_tensors="pt")
            with torch.no_grad(), prune(model, policy):
                model(**inputs)
    return {name: torch.cat(said) for name, said in recording.notes.items()}


def solved(design: Design, measure: Measure, values: dict[str, Tensor]) -> dict[str, Any]:
    """Bounds, weights where there are several parts, centre and width of one design."""
    entry: dict[str, Any] = {"low": design.low, "high": HIGH, "average": design.average}
    total = next(iter(values.values()))
    if isinstance(measure, WeightedSum):
        relative = measure.weights.items()
        entry["weights"] = {part: round(w / float(values[part].std()), 4) for part, w in relative}
        weighted = [entry["weights"][part] * x for part, x in values.items()]
        total = torch.stack(weighted).sum(dim=0)
    ramp = ramp_for(total, design.low, HIGH, design.average, design.spread)
    means = total.view(len(CONTENTS), -1).mean(dim=1).tolist()
    by_content = dict(zip(CONTENTS, (round(x, 4) for x in means), strict=True))
    return entry | {
        "centre": round(ramp.centre, 4),
        "width": round(ramp.width, 4),
        "mean": by_content,
    }


def main() -> None:
    """Reads the measures once, then solves for each design's ramp."""
    torch.set_num_threads(1)  # more would only wait for each other in so small a model
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    names = sorted({design.measure for design in DESIGNS.values()})
    loaded = [OmegaConf.load(MEASURES / f"{name}.yaml") for name in names]
    measures = dict(zip(names, (instantiate(one, _convert_="all") for one in loaded), strict=True))
    parts = {
        (name, part): measure
        for name, whole in measures.items()
        for part, measure in (
            whole.parts if isinstance(whole, WeightedSum) else {name: whole}
        ).items()
    }
    said = measured(Recording({"/".join(key): m for key, m in parts.items()}), n)
    found: dict[str, Any] = {"samples": n * len(CONTENTS)}
    for name, design in DESIGNS.items():
        values = {part: said[f"{at}/{part}"] for at, part in parts if at == design.measure}
        found[name] = solved(design, measures[design.measure], values)
    text = json.dumps(found, indent=1) + "\n"
    (HERE / "calibration.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
