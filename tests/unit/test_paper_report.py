"""Measured figures beside the paper's, from synthetic runs with known scores."""

from __future__ import annotations

import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from ivcprune.jobs.report import run as report
from ivcprune.metrics.intervals import wilson
from ivcprune.report.paper import latex, markdown
from ivcprune.report.paper.layout import PaperTable, TableRow, lay_out
from ivcprune.report.paper.measured import Measurements
from ivcprune.report.paper.page import Section, render_page
from ivcprune.report.paper.plots import TRADE_OFF, draw_layer_sweeps, draw_trade_offs
from ivcprune.report.paper.published import load_table
from ivcprune.report.paper.samples import draw_samples
from ivcprune.report.paper.significance import mcnemar, paired_bootstrap
from ivcprune.report.paper.transposed import transpose
from ivcprune.runs.read import load_runs

MODEL = "qwen2_5_vl_7b"
N = 200


def write_run(
    experiment: Path,
    policy: str,
    data: str,
    right: int,
    categories: dict[str, float] | None = None,
    layer: int | None = None,
) -> Path:
    """A finished run whose first `right` of 200 samples are right."""
    folder = experiment / f"{policy}-{MODEL}-{data}-{layer or 0:08d}"
    folder.mkdir(parents=True)
    rows = [
        {
            "sample_id": str(i),
            "task": "grounding",
            "category": "",
            "question": "",
            "prediction": "",
            "target": "",
            "score": float(i < right),
            "average_tokens": 0.5,
            "n_visual": 10,
            "n_kept": 5,
            "kept_by_stage": "{}",
            "kv_bytes": 20_000_000,
            "error": None,
        }
        for i in range(N)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")

    def score(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 1, "high": value + 1, "n": N}

    parts = {name: score(value) for name, value in (categories or {}).items()}
    metrics = {
        "policy": policy,
        "model": MODEL,
        "data": data,
        "n": N,
        "errors": 0,
        "average_tokens": 1.0 if policy == "none" else 0.5,
        "kv_bytes_per_sample": 20e6,
        "scores": {"grounding": score(100 * right / N)},
        "categories": {"grounding": parts},
        "headline": ["grounding"],
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    config = {
        "model": {"name": MODEL},
        "data": {"name": data},
        "policy": {"name": policy, "stages": {"select": {"layer": layer}}},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "env.json").write_text("{}")
    return folder


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """Table 17's columns; vanilla is no part of it, so Table 4 is shown."""
    folder = tmp_path / "tab4"
    for data, scores in {
        "refcoco_testa": {"none": 180, "fastv": 140, "ivc_prune": 178, "pdrop": 140},
        "refcoco_plus_testa": {"none": 160, "fastv": 120, "ivc_prune": 168},
    }.items():
        for policy, right in scores.items():
            write_run(folder, policy, data, right)
    return folder


def laid_out(experiment: Path, table: str = "tab4") -> PaperTable:
    return lay_out(load_table(table), Measurements(load_runs(experiment)))


def rows_of(table: PaperTable) -> dict[str, TableRow]:
    return {row.policy: row for row in table.rows}


class TestLayout:
    def test_measured_stands_beside_published(self, experiment: Path) -> None:
        cell = rows_of(laid_out(experiment))["fastv"].cells["refcoco_testa"]
        assert cell.measured.value == pytest.approx(70.0)
        assert cell.published.value == 74.4

    def test_ranks_are_among_pruned_policies(self, experiment: Path) -> None:
        rows = rows_of(laid_out(experiment))
        ranks = {name: row.cells["refcoco_testa"].measured.rank for name, row in rows.items()}
        assert ranks["none"] is None
        assert (ranks["ivc_prune"], ranks["fastv"], ranks["pdrop"]) == (1, 2, 2)

    def test_above_vanilla(self, experiment: Path) -> None:
        cells = rows_of(laid_out(experiment))["ivc_prune"].cells
        assert not cells["refcoco_testa"].measured.above_vanilla
        assert cells["refcoco_plus_testa"].measured.above_vanilla
        assert not cells["refcoco_plus_testa"].published.above_vanilla  # 87.4 to 88.0
        assert cells["mmbench_dev_en_v11"].published.above_vanilla  # 82.6 to 82.4

    def test_a_cell_without_a_run_is_empty(self, experiment: Path) -> None:
        cell = rows_of(laid_out(experiment))["fastv"].cells["seedbench_image"]
        assert cell.measured.value is None
        assert cell.difference is None
        assert cell.published.value == 72.9

    def test_differences_are_paired(self, experiment: Path) -> None:
        rows = rows_of(laid_out(experiment))
        fastv = rows["fastv"].cells["refcoco_testa"]
        assert fastv.difference is not None
        assert fastv.difference.value == pytest.approx(-20.0)
        assert fastv.difference.significant
        assert fastv.p == pytest.approx(2 * 0.5**40)
        close = rows["ivc_prune"].cells["refcoco_testa"]
        assert close.difference is not None
        assert close.difference.value == pytest.approx(-1.0)
        assert not close.difference.significant
        assert close.p == pytest.approx(0.5)
        assert rows["none"].cells["refcoco_testa"].difference is None

    def test_the_newest_of_two_runs_counts(self, experiment: Path, tmp_path: Path) -> None:
        old = experiment / f"fastv-{MODEL}-refcoco_testa-00000000"
        newer = write_run(tmp_path / "other", "fastv", "refcoco_testa", 100)
        newer.rename(experiment / f"fastv-{MODEL}-refcoco_testa-11111111")
        stamp = (old / "metrics.json").stat().st_mtime
        os.utime(old / "metrics.json", (stamp - 60, stamp - 60))
        cell = rows_of(laid_out(experiment))["fastv"].cells["refcoco_testa"]
        assert cell.measured.value == pytest.approx(50.0)

    def test_relative_average_needs_all_columns(self, tmp_path: Path) -> None:
        table = load_table("tab1")
        for i, column in enumerate(table.columns):
            write_run(tmp_path, "none", column.key, 100)
            if i < len(table.columns) - 1:
                write_run(tmp_path, "fastv", column.key, 80)
        rows = {r.policy: r for r in laid_out(tmp_path, "tab1").rows if r.model == MODEL}
        assert rows["none"].relative.measured.value == pytest.approx(100.0)
        assert rows["fastv"].relative.measured.value is None
        write_run(tmp_path, "fastv", table.columns[-1].key, 40)
        rows = {r.policy: r for r in laid_out(tmp_path, "tab1").rows if r.model == MODEL}
        assert rows["fastv"].relative.measured.value == pytest.approx((7 * 80 + 40) / 8)
        assert rows["fastv"].tokens.measured.value == pytest.approx(50.0)

    def test_columns_of_categories_costs_and_several_benchmarks(self, tmp_path: Path) -> None:
        write_run(tmp_path, "fastv", "ocrbench", 120, {"Text Recognition": 18.3})
        cells = rows_of(laid_out(tmp_path, "tab14"))["fastv"].cells
        assert cells["recognition"].measured.value == pytest.approx(18.3)
        assert cells["formula"].measured.value is None
        assert cells["final"].measured.value == pytest.approx(60.0)
        write_run(tmp_path, "fastv", "refcoco_testa", 100)
        cells = rows_of(laid_out(tmp_path, "tab3"))["fastv"].cells
        assert cells["kv_cache"].measured.value == pytest.approx(20.0)
        assert cells["prefill"].measured.value is None
        assert cells["prefill"].published.rank == 1  # 297 ms is the lowest
        for part, right in (("attr", 200), ("cat", 100), ("rel", 0)):
            assert (
                rows_of(laid_out(tmp_path, "tab6"))["none"].cells["gqa_choose"].measured.value
                is None
            )
            write_run(tmp_path, "none", f"gqa_choose_{part}", right)
        cell = rows_of(laid_out(tmp_path, "tab6"))["none"].cells["gqa_choose"]
        assert cell.measured.value == pytest.approx(50.0)
        low, high = wilson(0.5, 3 * N) or (0.0, 0.0)
        assert (cell.figure.low, cell.figure.high) == pytest.approx((100 * low, 100 * high))

    def test_the_best_layer_of_a_sweep_and_the_earliest_of_equal_ones(self, tmp_path: Path) -> None:
        for layer, right in ((14, 150), (15, 180), (16, 180), (17, 170)):
            write_run(tmp_path, "ivc_prune", "refcoco_testa", right, layer=layer)
        measurements = Measurements(load_runs(tmp_path))
        table = load_table("layer_sweep")
        rows = [row for row in lay_out(table, measurements).rows if row.model == MODEL]
        cell = rows[0].cells["refcoco_testa"]
        assert (cell.measured.value, cell.published.value) == (15, 16)
        assert cell.measured.rank is None
        assert set(rows[0].cells) == {"refcoco_testa"}
        (plot,) = draw_layer_sweeps(table, measurements)
        assert plot.title == "Qwen2.5-VL 7B, refcoco_testa"
        assert draw_layer_sweeps(load_table("tab4"), measurements) == []


class TestForms:
    def test_markdown(self, experiment: Path) -> None:
        lines = markdown.render(laid_out(experiment)).splitlines()
        fastv = next(line for line in lines if "| FastV |" in line)
        assert "<u>70.0</u>▼ (74.4)" in fastv
        assert "| (72.9) |" in fastv
        assert sum("p < 0.001" in line for line in lines) >= 1
        widths = {line.count("|") for line in lines if line.startswith("|")}
        assert len(widths) == 1

    def test_latex(self, experiment: Path) -> None:
        source = latex.render(laid_out(experiment))
        assert r"\underline{70.0}$^{\downarrow}$ (74.4)" in source
        assert source.count("{") == source.count("}")
        body = source[source.index(r"\midrule") : source.index(r"\bottomrule")]
        counts = {line.count("&") for line in body.splitlines() if line.endswith(r"\\")}
        assert counts == {5}
        assert r"IVC 5\%" in latex.render(laid_out(experiment, "tab17"))

    @pytest.mark.parametrize("table", ["tab1", "tab12_vqa", "tab9"])
    def test_latex_lines_fill_the_columns(self, tmp_path: Path, table: str) -> None:
        source = latex.render(laid_out(tmp_path, table))
        columns = len(re.search(r"\{(ll r*|llr*)\}", source)[1])  # type: ignore[index]
        for line in source.splitlines():
            if line.endswith(r"\\"):
                spans = sum(int(n) - 1 for n in re.findall(r"multicolumn\{(\d+)\}", line))
                assert line.count("&") + 1 + spans == columns

    def test_page_asks_for_nothing_and_is_well_formed(self, experiment: Path) -> None:
        tables = laid_out(experiment), laid_out(experiment, "tab1")
        sections = [Section(table, draw_trade_offs(table), TRADE_OFF) for table in tables]
        page = render_page("tab4", sections)
        parser = Elements(page)
        assert parser.addresses == []
        assert parser.open == []
        assert "IVC-Prune w/o IVC" in page
        assert page.count("<svg") == 3  # the models of Table 1
        assert "70.0" in page


class TestSamples:
    """Table 15."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        folder = write_run(tmp_path, "ivc_prune", "ocrbench", 1)
        rows = pq.read_table(folder / "samples.parquet").to_pylist()
        rows[0] |= {"question": "What is written  in the image?", "target": "centre | CENTER"}
        rows[0]["prediction"] = "<Centre>"
        rows[1] |= {"question": "what is written in the image?", "target": "EXIT"}
        pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
        Image.new("RGB", (112, 28), "white").save(folder / "0.png")
        maps = [{"image": 0, "kind": "image", "grid": [1, 4], "keep": [[1, 0, 1, 0]]}]
        empty = {"true_box": None, "predicted_box": None}
        entries = [{"sample_id": "0", "maps": maps, "image_file": "0.png", **empty}]
        (folder / "tokens.json").write_text(json.dumps(entries))
        return tmp_path

    def test_a_picture_is_found_by_question_and_answer(self, run: Path) -> None:
        measurements = Measurements(load_runs(run))
        (picture,) = draw_samples(load_table("tab15"), measurements)
        assert picture.caption == (
            "True answer: CENTRE. Kept: 5 of 10 tokens.",
            "Measured: ✓ <Centre>",
            "Published: ✗ century",
        )
        page = render_page("tab15", [], [picture])
        assert "&lt;Centre&gt;" in page
        assert Elements(page).open == []

    def test_without_overlays_there_is_none(self, run: Path) -> None:
        next(run.glob("*/tokens.json")).unlink()
        assert draw_samples(load_table("tab15"), Measurements(load_runs(run))) == []


class Elements(HTMLParser):
    """Addresses that a browser would load, and elements that are never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for name, v in attrs if name in ("src", "href")]
        self.addresses = [a for a in self.addresses if not a.startswith(("#", "data:"))]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_job_prints_the_table_and_writes_all_forms(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = OmegaConf.create(
        {
            "paths": {"output_dir": str(experiment.parent)},
            "experiment_name": "tab4",
            "paper": ["tab4"],
        }
    )
    report(cfg, gallery=0)
    printed = capsys.readouterr().out
    assert printed.count("Table 4: coordinates removed") == 1
    assert "70.0▼" in printed
    assert "qwen2_5_vl_7b on refcoco_testa" not in printed
    for name in ("paper.md", "paper.tex", "paper.html", "report.html"):
        assert (experiment / name).stat().st_size > 0


OCR = {
    "Scene Text-centric VQA": 18.0,
    "Doc-oriented VQA": 17.0,
    "Key Information Extraction": 18.0,
    "Text Recognition": 27.0,
    "Handwritten Mathematical Expression Recognition": 8.0,
}


def write_experiment(folder: Path, table: str, **job: object) -> None:
    cfg = OmegaConf.create(
        {
            "paths": {"output_dir": str(folder.parent)},
            "experiment_name": folder.name,
            "paper": [table],
        }
    )
    report(cfg, gallery=0, **job)


def test_tab14_has_methods_as_columns_and_percentages_of_vanilla(tmp_path: Path) -> None:
    experiment = tmp_path / "tab14"
    write_run(experiment, "none", "ocrbench", 176, OCR)
    write_run(experiment, "ivc_prune", "ocrbench", 132, {**OCR, "Text Recognition": 13.5})
    write_experiment(experiment, "tab14")
    lines = (experiment / "paper.md").read_text().splitlines()
    (head,) = [line for line in lines if line.startswith("| Model | Task |")][:1]
    assert head == "| Model | Task | Vanilla | IVC-Prune | FastV | PDrop |"
    (words,) = [line for line in lines if "Text Recognition" in line and "27.0" in line]
    cells = [cell.strip() for cell in words.split("|")[3:-1]]
    assert cells[0] == "27.0 (26.9)"
    assert cells[1] == "**13.5, 50.0 %** (14.0, 52.0 %)"
    assert cells[2] == "(**18.3, 68.0 %**)"  # not run: the paper's alone
    final, difference = [line for line in lines if "| Final Score |" in line]
    assert "66.0, 75.0 %" in final
    assert "22.0 [" in difference
    tex = (experiment / "paper.tex").read_text()
    assert r"50.0 \%" in tex
    page = (experiment / "paper.html").read_text()
    assert page.count("<svg") == 1
    assert "Handwritten" in page[page.index("<svg") :]


def test_only_a_table_of_one_model_can_be_turned() -> None:
    with pytest.raises(ValueError, match="one model and no averages"):
        transpose(lay_out(load_table("tab1"), Measurements([])))


def efficiency(model: str) -> dict[str, object]:
    def policy(prefill: float, decode: float | None) -> dict[str, object]:
        median = None if decode is None else {"median": decode}
        times = {"prefill_ms": {"median": prefill}, "decode_ms": median}
        return {"times": times, "readings": [{}] * 9}

    def cell(visual: int, new: int, factor: float) -> dict[str, object]:
        policies = {
            "none": policy(400 * factor, 60.0 if new > 1 else None),
            "ivc_prune": policy(320 * factor, 55.5 if new > 1 else None),
        }
        sizes = {"visual_tokens": visual, "text_tokens": 100, "batch": 1, "new_tokens": new}
        return {**sizes, "policies": policies}

    about = {"name": model, "dtype": "bfloat16", "attention": "sdpa"}
    cells = [cell(350, 1, 9), cell(2000, 8, 9), cell(400, 8, 1)]
    return {"model": about, "environment": {"device": "a GPU"}, "cells": cells}


@pytest.mark.parametrize("model", [MODEL, f"{MODEL}_random", "mid"])
def test_times_of_the_efficiency_job_join_tab3(tmp_path: Path, model: str) -> None:
    experiment, file = tmp_path / "tab3", tmp_path / "times.json"
    for policy in ("none", "ivc_prune"):
        write_run(experiment, policy, "refcoco_testa", 180)
    file.write_text(json.dumps(efficiency(model)))
    write_experiment(experiment, "tab3", efficiency=str(file))
    text = (experiment / "paper.md").read_text()
    (row,) = [line for line in text.splitlines() if "| IVC-Prune |" in line and "322" in line]
    cells = [cell.strip() for cell in row.split("|")[3:-1]]
    if model == "mid":  # times of another model are none of this table's
        assert cells[2:4] == ["(322⁺)", "(**60.2**⁺)"]
        assert "no times: they were measured of mid, which is not in this table" in text
        assert "medians over" not in text
    else:
        assert cells[2:4] == ["**320**⁺ (322⁺)", "**55.5**⁺ (**60.2**⁺)"]
        assert f"medians over 9 rounds of {model} (bfloat16, sdpa) on a GPU; 400 visual" in text
    # found by itself where it lies beside the runs
    (experiment / "efficiency.json").write_text(json.dumps(efficiency(model)))
    write_experiment(experiment, "tab3")
    assert (experiment / "paper.md").read_text() == text


def test_a_file_without_times_is_refused(tmp_path: Path) -> None:
    experiment = tmp_path / "tab3"
    write_run(experiment, "none", "refcoco_testa", 180)
    with pytest.raises(FileNotFoundError, match=r"job.efficiency=.*there is no such file"):
        write_experiment(experiment, "tab3", efficiency=str(tmp_path / "none.json"))
    (experiment / "efficiency.json").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=r"is no efficiency.json with times of decoding"):
        write_experiment(experiment, "tab3")


class TestSignificance:
    @pytest.mark.parametrize(
        ("differences", "p"),
        [
            ([1.0], 1.0),
            ([1.0] * 5, 2 / 32),
            ([1.0] * 9 + [-1.0], 2 * 11 / 1024),
            ([1.0] * 5 + [-1.0] * 5 + [0.0] * 90, 1.0),
            ([0.0] * 10, 1.0),
        ],
    )
    def test_mcnemar(self, differences: list[float], p: float) -> None:
        assert mcnemar(differences) == pytest.approx(p)

    def test_mcnemar_needs_right_or_wrong(self) -> None:
        assert mcnemar([0.5, 1.0]) is None

    def test_mcnemar_of_many_pairs(self) -> None:
        p = mcnemar([1.0] * 5200 + [-1.0] * 4800)
        z = (400 - 1) / math.sqrt(10_000)
        assert p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)

    def test_bootstrap_is_close_to_the_normal_interval(self) -> None:
        differences = [1.0] * 300 + [-1.0] * 200 + [0.0] * 500
        interval = paired_bootstrap(differences)
        half = 1.96 * math.sqrt((0.5 - 0.1**2) / 1000)
        assert interval.value == pytest.approx(10.0)
        assert interval.low == pytest.approx(100 * (0.1 - half), abs=0.3)
        assert interval.high == pytest.approx(100 * (0.1 + half), abs=0.3)

    @given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0]), min_size=1, max_size=40))
    def test_bootstrap_properties(self, differences: list[float]) -> None:
        interval = paired_bootstrap(differences, resamples=200)
        assert -100 <= interval.low <= interval.high <= 100
        assert paired_bootstrap(differences[::-1], resamples=200).value == pytest.approx(
            interval.value
        )
        mirrored = paired_bootstrap([-d for d in differences], resamples=200)
        assert mirrored.value == pytest.approx(-interval.value)
