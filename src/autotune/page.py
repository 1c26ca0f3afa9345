"""What came of `job=autotune`: a page that sorts, JSON, a picture, and the policy as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..report import formats
from ..report.templates import rendered
from ..runs.directory import RunDirectory
from ..runs.key import as_file_name
from . import plot
from .candidates import Refusal
from .choice import Interval, Outcome
from .target import Target

COLUMNS = ("Candidate", "Asked", "Average tokens", "KV cache / sample", "Prefill", "KL (10⁻³)",
           "Δ to best", "Same answers", "Frontier", "Target")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """All that was found for one question.

    Attributes:
        outcomes: of candidates that were compared on all samples, the best agreement first.
        chosen: among them; None where nothing is within the target.
        noise: divergence of the unpruned model from itself: decoding step by step against its
            answer in one piece. No smaller difference means anything.
        refused: what was not tried.
        failed: why candidates stopped.
        unread: samples that could not be asked, and why.
    """

    model: str
    data: str
    target: Target
    outcomes: Sequence[Outcome]
    chosen: Outcome | None
    noise: Interval
    refused: Sequence[Refusal]
    failed: Mapping[str, str]
    unread: Mapping[str, str]
    ids: Sequence[str]
    seconds: float

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.chosen is None:
            return f"Nothing is within the target ({self.target})."
        return (
            f"Chosen for {self.target}: {self.chosen.candidate.label}, at "
            f"{formats.share(self.chosen.average_tokens)} of the visual tokens and "
            f"{formats.share(self.chosen.prefill)} of the prefill."
        )


def write(folder: Path, result: Result) -> Path | None:
    """`autotune.html`, `.json` and `.png`, and the chosen policy.

    Returns:
        the policy's file; None where nothing was chosen.
    """
    run_dir = RunDirectory(folder)
    for earlier in (folder / "policy").glob("*.yaml"):  # of an earlier choice for this target
        earlier.unlink()
    file = None
    if result.chosen is not None:
        name = policy_name(result)
        run_dir.write_text(f"policy/{name}.yaml", policy_yaml(result))
        file = folder / "policy" / f"{name}.yaml"
    run_dir.write_json("autotune.json", _as_json(result, file))
    run_dir.write_text("autotune.html", _html(result))
    plot.png(result.outcomes, result.chosen, folder / "autotune.png")
    return file


def policy_name(result: Result) -> str:
    """Of the chosen policy and its file."""
    assert result.chosen is not None
    parts = (result.chosen.candidate.method, result.target.file_name, result.model, result.data)
    return as_file_name("_".join(parts).replace(" ", "_"))


def policy_yaml(result: Result) -> str:
    """The chosen policy as a file of `conf/policy` has it, with all of its settings."""
    assert result.chosen is not None
    config = {**result.chosen.candidate.config, "name": policy_name(result)}
    about = (
        f"{result.chosen.candidate.label}: by job=autotune for {result.target}, "
        f"{result.model} on {result.chosen.n} samples of {result.data}"
    )
    return f"# {about}\n{OmegaConf.to_yaml(OmegaConf.create(config))}"


def cells_of(one: Outcome) -> list[str]:
    """The cells of a candidate as text, in the order of `COLUMNS`."""
    return [
        one.candidate.label,
        formats.share(one.candidate.average_tokens),
        formats.share(one.average_tokens),
        formats.size(one.kv_bytes),
        formats.share(one.prefill),
        _thousandths(one.kl),
        formats.MISSING if one.to_best is None else _thousandths(one.to_best),
        formats.share(one.same),
        "yes" if one.on_frontier else "",
        "tie" if one.ties else "within" if one.within else "missed",
    ]


def _keys_of(one: Outcome) -> list[str]:
    numbers = (
        one.candidate.average_tokens,
        one.average_tokens,
        one.kv_bytes,
        one.prefill,
        one.kl.value,
        None if one.to_best is None else one.to_best.value,
        one.same,
        float(one.on_frontier),
        float(one.ties) + float(one.within),
    )
    return [one.candidate.label, *("" if n is None else f"{n:.9f}" for n in numbers)]


def _thousandths(interval: Interval) -> str:
    value, low, high = (1e3 * x for x in (interval.value, interval.low, interval.high))
    return f"{value:.2f} ({low:.2f}{formats.DASH}{high:.2f})"


def _html(result: Result) -> str:
    outcomes, chosen = result.outcomes, result.chosen
    cells = [list(zip(cells_of(one), _keys_of(one), strict=True)) for one in outcomes]
    kinds = ["best" if one is chosen else "" for one in outcomes]
    return rendered(
        "autotune.html.jinja",
        title=f"{result.model} tuned on {result.data}",
        verdict=result.verdict,
        columns=COLUMNS,
        table=list(zip(kinds, cells, strict=True)),
        facts=facts_of(result),
        svg=plot.svg(outcomes, chosen),
        lists={
            "Not tried": [(one.label, one.reason) for one in result.refused],
            "Failed": list(result.failed.items()),
            "Samples that could not be asked": list(result.unread.items()),
        },
    )


def facts_of(result: Result) -> dict[str, str]:
    """What the candidates share, by name."""
    n = result.outcomes[0].n if result.outcomes else 0
    return {
        "Target": str(result.target),
        "Samples": f"{n} of {result.data}, labels not read",
        "The unpruned model against itself": f"KL {_thousandths(result.noise)} · 10⁻³",
    }


def _as_json(result: Result, file: Path | None) -> dict[str, Any]:
    return {
        "model": result.model,
        "data": result.data,
        "target": asdict(result.target),
        "n": len(result.ids),
        "ids": list(result.ids),
        "seconds": result.seconds,
        "noise": asdict(result.noise),
        "chosen": None if result.chosen is None else result.chosen.candidate.label,
        "policy": None if file is None else str(file.relative_to(file.parents[1])),
        "candidates": [_outcome_as_json(one) for one in result.outcomes],
        "refused": [asdict(one) for one in result.refused],
        "failed": dict(result.failed),
        "unread": dict(result.unread),
    }


def _outcome_as_json(one: Outcome) -> dict[str, Any]:
    candidate = one.candidate
    return {
        "label": candidate.label,
        "key": candidate.key,
        "method": candidate.method,
        "layers": dict(candidate.layers),
        "asked_average_tokens": candidate.average_tokens,
        "average_tokens": one.average_tokens,
        "prefill": one.prefill,
        "kv_bytes": one.kv_bytes,
        "kl": asdict(one.kl),
        "to_best": None if one.to_best is None else asdict(one.to_best),
        "same_answers": one.same,
        "within": one.within,
        "ties": one.ties,
        "on_frontier": one.on_frontier,
        "n": one.n,
    }
