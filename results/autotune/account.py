"""Held to account: is the layer that `job=autotune` chooses without labels as good as the best?

    python results/autotune/account.py --samples 300 --output outputs/autotune_account

For each bundled model and benchmark, `job=autotune` compares the layers of `ivc_prune` at half of
the tokens by agreement with the unpruned model, and `job=select_layer` scores the same layers on
the labels of the same validation samples. The choice holds where the chosen layer's score is
within one point of the best layer's. Both jobs resume; models that are not bundled are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ivcprune.autotune.candidates import drafts_of
from ivcprune.autotune.choice import chosen_of, outcomes_of
from ivcprune.autotune.rows import FILE, Agreement
from ivcprune.autotune.target import Target
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.jobs import autotune, select_layer
from ivcprune.runs.samples import read_lines

PAIRS = (
    *((model, "scenes") for model in ("tiny", "tiny_llava", "tiny_internvl")),
    *(
        (model, data)
        for model in ("tiny_text", "tiny_llava_text", "tiny_internvl_text")
        for data in ("scenes_read", "scenes_lookup")
    ),
)
METHOD, SHARE, POINT = "ivc_prune", 0.5, 1.0


@dataclass(frozen=True)
class Verdict:
    """One model and task.

    Attributes:
        chosen, agrees: the layer that is chosen, and the one whose divergence is smallest; they
            differ where a cheaper layer ties with it.
        score, best_score: by labels, in percent.
        divergences, scores: by layer, in nats a token and in percent.
    """

    model: str
    data: str
    task: str
    n: int
    chosen: int
    agrees: int
    best: int
    score: float
    best_score: float
    divergences: Mapping[int, float]
    scores: Mapping[int, float]

    @property
    def holds(self) -> bool:
        return self.best_score - self.score <= POINT


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=300, help="of the validation split")
    parser.add_argument("--output", type=Path, default=Path("outputs/autotune_account"))
    parser.add_argument("--models", nargs="*", help="these alone")
    parser.add_argument("overrides", nargs="*", help="settings such as threads=1")
    given = parser.parse_args()
    verdicts: list[Verdict] = []
    for model, data in PAIRS:
        if given.models and model not in given.models:
            continue
        try:
            verdicts += account(model, data, given.samples, given.output, given.overrides)
        except FileNotFoundError as error:
            print(f"left out: {model} on {data}: {error}")
    given.output.mkdir(parents=True, exist_ok=True)
    content = [{**asdict(verdict), "holds": verdict.holds} for verdict in verdicts]
    (given.output / "account.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    table = table_of(verdicts)
    (given.output / "account.md").write_text(table, "utf-8")
    print(table)


def account(
    model: str, data: str, samples: int, output: Path, overrides: Sequence[str]
) -> Iterator[Verdict]:
    """A verdict for the whole, where it has several tasks, and for each task.

    Raises:
        FileNotFoundError: the model is not bundled.
    """
    common = [
        f"model={model}",
        f"data={data}",
        "data.split=validation",
        f"data.size={samples}",
        f"data.limit={samples}",
        "data.subset_seed=0",
        f"paths.output_dir={output}",
        f"experiment_name={model}-{data}",
        "overlays=0",
        *overrides,
    ]
    spec = build_model_spec(compose(common))
    spec.check()
    tuning = compose(["job=autotune", *common])
    folder = output / "autotune" / f"{model}-{data}"
    target = Target(kv=SHARE)
    autotune.run(tuning, asdict(target), [METHOD], str(folder))
    (file,) = folder.glob(f"*/{FILE}")
    scoring = compose(
        ["job=select_layer", f"policy={METHOD}", f"policy.average_tokens={SHARE}", *common]
    )
    select_layer.run(scoring)
    (choice,) = (output / f"{model}-{data}").glob("select_layer/*/layer_choice.json")
    layers = {item["layer"]: item for item in json.loads(choice.read_text("utf-8"))["layers"]}
    candidates = [draft.candidate(SHARE) for draft in drafts_of([METHOD], None, spec)[0]]
    rows = read_lines(file, Agreement)
    tasks = sorted({row.task for row in rows})
    for task in [None, *tasks] if len(tasks) > 1 else tasks:
        own = [row for row in rows if task is None or row.task == task]
        by_key = {c.key: [row for row in own if row.candidate == c.key] for c in candidates}
        outcomes = outcomes_of(candidates, by_key, target)
        chosen = chosen_of(outcomes)
        assert chosen is not None
        scores = {k: item["score" if task is None else "scores"] for k, item in layers.items()}
        yield _verdict(model, data, task, outcomes, chosen, scores)


def _verdict(
    model: str, data: str, task: str | None, outcomes: Any, chosen: Any, found: Mapping[int, Any]
) -> Verdict:
    scores = {
        k: s if task is None or not isinstance(s, dict) else _of_task(s, task)
        for k, s in found.items()
    }
    best = max(scores, key=lambda layer: (scores[layer], -layer))
    layer = chosen.candidate.layers["select"]
    return Verdict(
        model=model,
        data=data,
        task=task or "mean over tasks",
        n=chosen.n,
        chosen=layer,
        agrees=outcomes[0].candidate.layers["select"],
        best=best,
        score=scores[layer],
        best_score=scores[best],
        divergences={o.candidate.layers["select"]: o.kl.value for o in outcomes},
        scores=scores,
    )


def _of_task(scores: Mapping[str, float], task: str) -> float:
    """Of one task; benchmarks with metrics of their own have the mean over these."""
    return scores[task] if task in scores else sum(scores.values()) / len(scores)


def table_of(verdicts: Sequence[Verdict]) -> str:
    """Markdown."""
    lines = [
        "| Model | Task | n | Chosen layer | Its score | Best layer | Its score | Within a point |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for v in verdicts:
        holds = "yes" if v.holds else f"no, {v.best_score - v.score:.1f}"
        lines.append(
            f"| `{v.model}` | {v.data}, {v.task} | {v.n} | {v.chosen} | {v.score:.1f} | {v.best} | "
            f"{v.best_score:.1f} | {holds} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
