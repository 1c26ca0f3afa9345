"""Times of Tab. 3, which the job `efficiency` takes: accuracy runs are no place for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURES = ("prefill_ms", "decode_ms")
"""What it measures of the paper's columns; its total is one generation, no whole benchmark."""
NEAR = 350
"""Visual tokens of a sample of the paper's Tab. 3 (inferred, see `docs/performance.md`)."""


@dataclass(frozen=True)
class Timings:
    """Medians of one size that was measured.

    Attributes:
        model: name of the model.
        medians: by policy and figure, in milliseconds.
        where: model, machine, size and protocol, as a sentence.
    """

    model: str
    medians: Mapping[str, Mapping[str, float | None]]
    where: str

    def figure(self, model: str, policy: str, name: str) -> float | None:
        """None where it was not measured, or of another model."""
        return self.medians.get(policy, {}).get(name) if self._is_of(model) else None

    def note(self, models: Iterable[str]) -> str:
        """Where the times of a table of these models come from, or why there are none."""
        if any(map(self._is_of, models)):
            return self.where
        return f"no times: they were measured of {self.model}, which is not in this table"

    def _is_of(self, model: str) -> bool:
        return self.model in (model, f"{model}_random")  # random weights take the same time


def find_timings(experiment: Path, file: str | None) -> Timings | None:
    """Those of `file`, else of `efficiency.json` in the experiment's folder; None without any.

    Raises:
        FileNotFoundError: `file` does not exist.
        ValueError: it holds no measurement of times.
    """
    path = experiment / "efficiency.json" if file is None else Path(file).expanduser()
    if not path.is_file():
        if file is None:
            return None
        raise FileNotFoundError(f"job.efficiency={file}: there is no such file")
    try:
        return _read(json.loads(path.read_text("utf-8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no efficiency.json with times of decoding ({error!r}): make one with "
            "`ivcprune job=efficiency`"
        ) from None


def _read(content: Mapping[str, Any]) -> Timings:
    """Of several sizes the one nearest to the paper's."""
    decoding = [cell for cell in content["cells"] if cell["new_tokens"] > 1]
    cell = min(decoding, key=lambda cell: (abs(cell["visual_tokens"] - NEAR), cell["batch"]))
    medians = {policy: _medians(result["times"]) for policy, result in cell["policies"].items()}
    model, machine = content["model"], content["environment"]["device"]
    rounds = max(len(result["readings"]) for result in cell["policies"].values())
    where = (
        f"Times: medians over {rounds} rounds of {model['name']} ({model['dtype']}, "
        f"{model['attention']}) on {machine}; {cell['visual_tokens']} visual and "
        f"{cell['text_tokens']} text tokens, batch {cell['batch']}. The paper's are of 8 x A100 on "
        "RefCOCO testA; the total of a whole benchmark is not measured."
    )
    return Timings(model["name"], medians, where)


def _medians(times: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if times[name] is None else times[name]["median"] for name in FIGURES}
