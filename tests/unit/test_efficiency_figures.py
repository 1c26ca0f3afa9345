"""Clocks, ratios, tables and turns of `job=efficiency`, on figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ivcprune.configuration.build import compose
from ivcprune.efficiency import measure
from ivcprune.efficiency.clocks import FlopClock, Flops, WallClock, clock_of, flop_counter
from ivcprune.efficiency.measure import Count, Reading, take_turns
from ivcprune.efficiency.paper import paper_cells
from ivcprune.efficiency.plots import draw_share, draw_time
from ivcprune.efficiency.result import Cell, PolicyResult, Spread
from ivcprune.efficiency.subjects import RandomModel, Subject, grid_of
from ivcprune.efficiency.tables import Grid, tables_of
from ivcprune.jobs.efficiency import run
from ivcprune.policy import PruningPolicy


def reading(language=10.0, pruning=0.0, decode=2.0, kv_bytes=1000, peak_bytes=None):
    return Reading(
        prefill_ms=language + 10,
        vision_ms=5.0,
        language_ms=language,
        pruning_ms=pruning,
        decode_ms=decode,
        total_ms=language + 30,
        kv_bytes=kv_bytes,
        peak_bytes=peak_bytes,
    )


def counted(language, attention, average_tokens=1.0):
    return Count(Flops(10), Flops(language, attention), Flops(), average_tokens, 400, (500,) * 4)


@pytest.fixture
def cell():
    """Vanilla takes 10, 20 and 40 ms, the policy 5, 10 and 10 ms in the same rounds."""
    vanilla = [reading(ms) for ms in (10.0, 20.0, 40.0)]
    pruned = [reading(ms, pruning=1.0, kv_bytes=400) for ms in (5.0, 10.0, 10.0)]
    return Cell(
        visual_tokens=400,
        text_tokens=100,
        batch=2,
        new_tokens=8,
        policies={
            "none": PolicyResult({}, counted(3000, 1000), vanilla),
            "ivc_prune": PolicyResult({"select": 2}, counted(1500, 250, 0.5), pruned),
        },
    )


def test_the_share_of_bare_is_paired_by_round(cell):
    readings = [replace(reading(ms), bare_ms=bare) for ms, bare in ((5, 4), (10, 9), (10, 10))]
    policies = {
        **cell.policies,
        "ivc_prune": replace(cell.policies["ivc_prune"], readings=readings),
    }
    measured = replace(cell, policies=policies)
    assert measured.share_of_bare("ivc_prune").median == pytest.approx(0.9)
    assert measured.share_of_bare("ivc_prune").low == pytest.approx(0.85)
    assert measured.share_of_bare("none") is None
    assert measured.as_json()["policies"]["ivc_prune"]["times"]["bare_ms"]["median"] == 9


# Clocks --------------------------------------------------------------------------------------


def test_the_counter_counts_products_and_the_fused_attention_of_the_cpu():
    query, key = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 7, 8)
    with flop_counter() as counter:
        clock = FlopClock(counter)
        start = clock.read()
        torch.randn(3, 4) @ torch.randn(4, 5)
        middle = clock.read()
        torch.nn.functional.scaled_dot_product_attention(query, key, key)
        end = clock.read()
    assert clock.between(start, middle) == Flops(total=2 * 3 * 4 * 5, attention=0)
    both_products = 2 * (2 * 2 * 5 * 7 * 8)
    assert clock.between(middle, end) == Flops(total=both_products, attention=both_products)


def test_a_causal_kernel_skips_half_of_the_attention():
    assert Flops(total=100, attention=40).causal == 80
    assert Flops(5, 2) + Flops(1, 1) - Flops(2, 2) == Flops(4, 1)


def test_milliseconds_on_a_cpu():
    assert isinstance(clock_of(torch.device("cpu")), WallClock)
    assert WallClock().between(1.0, 1.25) == 250.0


# Figures -------------------------------------------------------------------------------------


def test_speed_up_is_paired_by_round(cell):
    assert cell.speed_up("ivc_prune", "language_ms") == Spread(median=2.0, low=2.0, high=3.0)
    assert cell.speed_up("none", "language_ms") == Spread(1.0, 1.0, 1.0)


def test_limit_and_share_of_it(cell):
    assert cell.limit("ivc_prune") == 2.0
    assert cell.causal_limit("ivc_prune") == pytest.approx(2500 / 1375)
    assert cell.share_of_limit("ivc_prune") == Spread(median=1.0, low=1.0, high=1.5)
    causal = cell.share_of_limit("ivc_prune", causal=True)
    assert causal.median == pytest.approx(2.0 * 1375 / 2500)


def test_overhead_is_a_share_of_vanillas_prefill(cell):
    shares = [1 / 20, 1 / 30, 1 / 50]
    assert cell.overhead("ivc_prune") == Spread.of(shares)
    assert cell.overhead("none").high == 0.0


def test_kv_cache_of_a_sample(cell):
    assert cell.kv_bytes("none") == 500
    assert cell.kv_saving("ivc_prune") == 2.5


def test_no_decoding_gives_no_figure(cell):
    alone = {
        name: PolicyResult(result.layers, result.count, [reading(decode=None)])
        for name, result in cell.policies.items()
    }
    short = Cell(400, 100, 1, 1, alone)
    assert short.speed_up("ivc_prune", "decode_ms") is None
    assert short.as_json()["policies"]["none"]["times"]["decode_ms"] is None


def test_json_holds_every_reading_and_is_finite(cell):
    content = json.loads(json.dumps(cell.as_json(), allow_nan=False))
    pruned = content["policies"]["ivc_prune"]
    assert [entry["language_ms"] for entry in pruned["readings"]] == [5.0, 10.0, 10.0]
    assert pruned["limit"] == 2.0
    assert pruned["speed_up"]["language_ms"] == {"median": 2.0, "low": 2.0, "high": 3.0}


def test_the_papers_rows_are_those_of_its_table_3():
    assert paper_cells() == {
        "none": ["100 %", "26.0 (1.0x)", "408 (1.00x)", "65.3 (1.00x)", "60'17 (1.00x)"],
        "fastv": ["54 %", "16.1 (1.6x)", "297 (1.37x)", "62.7 (1.04x)", "51'51 (1.16x)"],
        "pdrop": ["61 %", "16.4 (1.6x)", "315 (1.30x)", "62.8 (1.04x)", "52'23 (1.15x)"],
        "ivc_prune": ["50 %", "15.9 (1.6x)", "322 (1.27x)", "60.2 (1.08x)", "47'47 (1.26x)"],
    }


# Tables and plots ----------------------------------------------------------------------------


def test_tables_show_the_papers_row_below_the_measured_one(cell):
    first = tables_of(cell)[0]
    names = [row[0].strip() for row in first.rows]
    assert names == ["`none`", "paper", "`ivc_prune`", "paper"]
    assert first.rows[2][1:4] == ["50.0 %", "0.0 (2.50x)", "20.00 (1.50x)"]
    assert first.rows[3][1:4] == ["50 %", "15.9 (1.6x)", "322 (1.27x)"]


def test_every_row_has_a_cell_for_every_column(cell):
    for grid in tables_of(cell):
        assert {len(row) for row in grid.rows} == {len(grid.header)}
        assert grid.rich().row_count == len(grid.rows)


def test_markdown():
    text = Grid("Title", ["name", "ms"], [["a", "1"]]).markdown()
    assert text == "### Title\n\n| name | ms |\n| --- | --: |\n| a | 1 |\n"


def test_plots_have_a_line_for_each_policy_and_vanilla_only_in_time(cell):
    def names(figure):
        return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

    assert names(draw_time([cell], "title")) == ["none", "ivc_prune"]
    assert names(draw_share([cell], "title")) == ["ivc_prune"]


# Turns ---------------------------------------------------------------------------------------


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch):
    """The policies in the order in which they were measured."""
    order: list[str] = []

    def take(model, inputs, policy, new_tokens):
        order.append(policy.name)
        return reading(float(len(order)))

    monkeypatch.setattr(measure, "take_reading", take)
    return order


POLICIES = [PruningPolicy(name=name) for name in "abc"]


def test_policies_take_turns_and_each_round_begins_with_another(turns):
    readings = take_turns(None, {}, POLICIES, 1, warm_up=1, rounds=3, seconds=1e6)
    assert "".join(turns) == "cababcbcacab"
    assert {name: len(taken) for name, taken in readings.items()} == {"a": 3, "b": 3, "c": 3}
    assert readings["a"][0].language_ms == 4.0  # the first after the round of warm-up


def test_one_round_is_taken_however_short_the_time(turns):
    readings = take_turns(None, {}, POLICIES, 1, warm_up=0, rounds=9, seconds=0.0)
    assert [len(taken) for taken in readings.values()] == [1, 1, 1]


# What is measured ----------------------------------------------------------------------------


@given(st.integers(1, 20_000))
def test_grids_are_nearly_square_and_of_nearly_that_size(n):
    rows, columns = grid_of(n)
    assert abs(rows * columns - n) <= rows / 2
    assert max(rows, columns) <= 2 * min(rows, columns)


def test_random_models_name_the_types_that_they_can_be():
    with pytest.raises(ValueError, match="model_type is 'llava': random models are offered for"):
        RandomModel("x", {"model_type": "llava"})


def test_random_models_refuse_an_unknown_dtype():
    with pytest.raises(ValueError, match="dtype is 'half-ish'"):
        RandomModel("x", {"model_type": "qwen2_5_vl"}, dtype="half-ish")


class Unloadable(Subject):
    name, family = "never", "qwen2_5_vl"

    def load(self, attention):
        raise AssertionError("the model was made before its job was checked")

    def inputs(self, visual_tokens, text_tokens, batch):
        raise AssertionError("inputs were made")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("visual_tokens", [], r"job.visual_tokens is \[\]: give a list"),
        ("visual_tokens", [0], "job.visual_tokens is 0: it must be a whole number, at least 1"),
        ("batch_sizes", 4, "job.batch_sizes is 4: give a list"),
        ("new_tokens", [-1], "job.new_tokens is -1"),
        ("text_tokens", 0, "job.text_tokens is 0"),
        ("rounds", 0, "job.rounds is 0"),
        ("warm_up", -1, "job.warm_up is -1"),
        ("policies", ["fastw"], "fastw"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_made(tmp_path, option, value, message):
    options = {
        "policies": ["fastv"],
        "visual_tokens": [4],
        "text_tokens": 30,
        "batch_sizes": [1],
        "new_tokens": [1],
        "warm_up": 0,
        "rounds": 1,
        "seconds": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        run(compose([]), Unloadable(), str(tmp_path), **options | {option: value})
