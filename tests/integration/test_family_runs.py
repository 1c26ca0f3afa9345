"""Every family on the command line: budgets, caches and boxes, on saved tiny checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import published_rules as rules
from family_run import DEPTH, FamilyRun, Reply, Seen, run_family, save_tiny
from ivcprune.configuration.build import compose
from ivcprune.data.batch import Batch
from ivcprune.evaluation.module import PredictModule
from ivcprune.models.registry import supported
from ivcprune.pruning.statistics import PrefillStatistics


@dataclass(frozen=True)
class Expected:
    """How a family of the tiny models does under `policy=ivc_prune`.

    Attributes:
        model: its file of `conf/model/`.
        budget: tokens that the published rule keeps of what it saw.
        reply: a true box in the family's own words.
        spared: layers whose cache stays full.
        layer: where a model of `DEPTH` layers selects.
        overrides: where the tiny model needs other settings than the file.
    """

    model: str
    budget: Callable[[Seen], int]
    reply: Reply
    spared: tuple[int, ...] = ()
    layer: int = 2
    overrides: tuple[str, ...] = ()


def half(seen: Seen) -> int:
    """Coordinates and seeds are filled to exactly round(N / 2)."""
    return round(0.5 * len(seen.image.visual))


def llava_budget(seen: Seen) -> int:
    """A plain union: how much its parts overlap depends on the values."""
    return len(rules.llava(seen.image))


def onevision_budget(seen: Seen) -> int:
    """Half, and beyond it the newlines that are no coordinates."""
    image, n = seen.image, len(seen.image.visual)
    coordinates = image.coordinates(round(0.1 * n), range(n))
    newlines = set(np.flatnonzero(seen.special).tolist())
    return round(0.5 * n) + len(newlines - coordinates)


def internvl_budget(seen: Seen) -> int:
    """Half where the thumbnail can fill it up; more where what it shows of the tiles is more."""
    tiles = seen.heights[:-16:16]  # of the first token of each, the thumbnail left out
    columns = int((tiles == tiles[0]).sum()) if len(tiles) else 1
    return len(rules.internvl(seen.image, 4, columns))


def deepseek_vl2_budget(seen: Seen) -> int:
    """What the thumbnail carries over may be coordinates of the lines as well."""
    n = len(seen.image.visual)
    grids = [(w, h) for w in range(1, 5) for h in range(1, 5) if w * h <= 4]
    (tiles,) = [(w, h) for w, h in grids if n == 13 + 3 * h * (3 * w + 1)]
    eligible = np.flatnonzero(seen.eligible[:12]).tolist()
    return len(rules.deepseek_vl2(seen.image, 3, tiles, eligible))


def llava_reply(box, original, _) -> str:
    side = min(original)
    left, top = ((length - side) / 2 for length in original)
    fractions = [(x - offset) / side for x, offset in zip(box, (left, top) * 2, strict=True)]
    return "[{:.3f}, {:.3f}, {:.3f}, {:.3f}]".format(*fractions)


def onevision_reply(box, original, _) -> str:
    fractions = [x / length for x, length in zip(box, original * 2, strict=True)]
    return "[{:.3f}, {:.3f}, {:.3f}, {:.3f}]".format(*fractions)


def qwen2_5_vl_reply(box, original, seen) -> str:
    pixels = [round(x * s / o) for x, s, o in zip(box, seen * 2, original * 2, strict=True)]
    return json.dumps([{"bbox_2d": pixels, "label": "thing"}])


def thousandths(box, original) -> list[int]:
    return [round(1000 * x / o) for x, o in zip(box, original * 2, strict=True)]


def internvl_reply(box, original, _) -> str:
    return f"<box>[{thousandths(box, original)}]</box>"


def deepseek_vl2_reply(box, original, _) -> str:
    corners = [round(999 * x / o) for x, o in zip(box, original * 2, strict=True)]
    return f"<|ref|>thing<|/ref|><|det|>[{corners}]<|/det|>"


def qwen2_vl_reply(box, original, _) -> str:
    return "<|box_start|>({},{}),({},{})<|box_end|>".format(*thousandths(box, original))


def qwen3_vl_reply(box, original, _) -> str:
    return json.dumps([{"bbox_2d": thousandths(box, original), "label": "thing"}])


EXPECTED = {
    "deepseek_vl2": Expected(
        "deepseek_vl2_small", deepseek_vl2_budget, deepseek_vl2_reply, spared=(0,), layer=3
    ),
    "internvl": Expected("internvl2_5_8b", internvl_budget, internvl_reply),
    "llava": Expected("llava_1_5_7b", llava_budget, llava_reply, spared=(0,)),
    "llava_onevision": Expected("llava_onevision_7b", onevision_budget, onevision_reply),
    "qwen2_5_vl": Expected("qwen2_5_vl_3b", half, qwen2_5_vl_reply),
    "qwen2_vl": Expected("qwen2_vl_7b", half, qwen2_vl_reply),
    "qwen3_vl": Expected("qwen3_vl_8b", half, qwen3_vl_reply),
}
"""A family is added by one line here."""


@pytest.fixture(params=[name for name in supported() if name in EXPECTED], scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def ran(family: str, tmp_path_factory: pytest.TempPathFactory) -> FamilyRun:
    folder = tmp_path_factory.mktemp(family)
    expected = EXPECTED[family]
    with pytest.MonkeyPatch.context() as patch:
        return run_family(
            expected.model,
            save_tiny(family, folder / "checkpoint"),
            folder / "outputs",
            patch,
            "policy=ivc_prune",
            *expected.overrides,
            reply=expected.reply,
        )


def test_every_image_is_cut_to_the_published_budget(family: str, ran: FamilyRun) -> None:
    assert len(ran.rows) == 8
    for row in ran.rows:
        assert row["error"] is None
        seen = ran.chosen_from[row["sample_id"]]
        assert row["n_visual"] == len(seen.image.visual)
        assert row["n_kept"] == EXPECTED[family].budget(seen) < row["n_visual"]


def test_every_layer_caches_what_was_kept(family: str, ran: FamilyRun) -> None:
    for row in ran.rows:
        full, kept = row["n_visual"], row["n_kept"]
        layers = [full if i in EXPECTED[family].spared else kept for i in range(DEPTH)]
        assert ran.per_layer[row["sample_id"]] == layers
        assert row["average_tokens"] == pytest.approx(sum(layers) / DEPTH / full)


def test_true_boxes_in_the_words_of_the_family_are_hits(family: str, ran: FamilyRun) -> None:
    grounding = [row for row in ran.rows if row["task"] == "grounding"]
    assert grounding
    for row in grounding:
        for read, true in zip(json.loads(row["parsed"]), json.loads(row["target"]), strict=True):
            assert read == pytest.approx(true, abs=1)
    assert ran.metrics["scores"]["grounding"]["value"] == 100


def test_the_run_is_named_after_model_and_policy(family: str, ran: FamilyRun) -> None:
    names = (ran.metrics["model"], ran.metrics["policy"], ran.metrics["data"])
    assert names == (EXPECTED[family].model, "ivc_prune", "scenes")
    assert ran.metrics["layers"] == {"select": EXPECTED[family].layer}


def test_vanilla_keeps_everything(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_tiny(family, tmp_path / "checkpoint")
    model = EXPECTED[family].model
    arguments = ("policy=none", "data.limit=2", *EXPECTED[family].overrides)
    run = run_family(model, checkpoint, tmp_path / "outputs", monkeypatch, *arguments)
    assert all(row["n_kept"] == row["n_visual"] > 0 for row in run.rows)
    assert run.metrics["average_tokens"] == 1


@pytest.mark.parametrize(("stated", "score"), [("true", 100), ("false", 0)])
def test_a_model_may_have_its_final_stops_stripped(
    stated: str, score: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true answers of `scenes` are words: exact matching counts a stop, a person does not."""

    def generated(module: PredictModule, batch: Batch) -> tuple[list[str], PrefillStatistics]:
        _, stats = generate(module, batch)
        return [f"{' '.join(sample.answers)}." for sample in batch.samples], stats

    generate = PredictModule._generate
    checkpoint = save_tiny("deepseek_vl2", tmp_path / "checkpoint")
    monkeypatch.setattr(PredictModule, "_generate", generated)
    arguments = ("policy=none", "data.limit=4", f"model.strip_final_stop={stated}")
    run = run_family("deepseek_vl2_small", checkpoint, tmp_path / "out", monkeypatch, *arguments)
    assert run.metrics["published"]["scores"]["vqa"]["value"] == score
    assert run.metrics["scores"]["vqa"]["value"] == 100


def test_final_stops_are_stripped_where_the_published_evaluation_does() -> None:
    stripping = [
        e.model
        for e in EXPECTED.values()
        if compose([f"model={e.model}"]).model.get("strip_final_stop")
    ]
    assert stripping == ["deepseek_vl2_small"]
