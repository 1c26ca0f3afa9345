"""What runs are called, and where they stand in plots: by what differs between them."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from ivcprune.report.comparison import Comparison, compare
from ivcprune.report.formats import kept
from ivcprune.report.labels import describe_selector, short_names
from ivcprune.report.panels import Panel, panels_of
from ivcprune.report.plots import draw_plots, scored
from ivcprune.report.spread import shifts_of
from ivcprune.runs.read import Run
from ivcprune.runs.swaps import named_by_swaps

MakeRun = Callable[..., Run]
SWAP = "selector@policy.stages.select.selector=border"


def stages(layer: int | None = None, target: str = "RandomSelector", **numbers: float) -> dict:
    selector = {"_target_": f"ivcprune.selectors.{target}", "keep": 0.5} | numbers
    return {"average_tokens": None, "stages": {"select": {"layer": layer, "selector": selector}}}


def sweep(make_run: MakeRun, **settings: object) -> Comparison:
    """The README's: one policy at four layers."""
    runs = [
        make_run("ivc_prune", settings=stages(layer), layers={"select": layer}, **settings)
        for layer in (1, 2, 3, 4)
    ]
    (comparison,) = compare(runs)
    return comparison


def places(panel: Panel) -> dict[str, list[float]]:
    return {line.label: [point.x for point in line.points] for line in panel.lines}


def test_a_layer_sweep_is_drawn_over_its_layers(make_run: MakeRun) -> None:
    comparison = sweep(make_run)
    assert {e.label for e in comparison.entries} == {f"ivc_prune (layer={n})" for n in (1, 2, 3, 4)}
    (panel,) = panels_of(comparison.entries)
    assert (panel.setting, places(panel)) == ("layer", {"ivc_prune": [1, 2, 3, 4]})
    plots = draw_plots(comparison)
    assert [plot.title for plot in plots] == ["grounding by layer", "vqa by layer"]
    words = list(ElementTree.fromstring(plots[0].svg).itertext())
    assert {"1", "2", "3", "4", "layer", "ivc_prune", "score (%)"} <= set(words)


def test_beside_a_sweep_stand_single_runs_of_the_same_cost(make_run: MakeRun) -> None:
    others = [
        make_run("random", settings=stages(), layers={"select": 3}),
        make_run("border", share=0.1, settings=stages(), layers={"select": 3}),
        make_run("none"),
    ]
    (comparison,) = compare([e.run for e in sweep(make_run).entries] + others)
    over_tokens, over_layers = panels_of(comparison.entries)
    assert places(over_tokens) == {"random": [50], "border": [10]}
    assert places(over_layers) == {"ivc_prune": [1, 2, 3, 4], "random": [3]}


def test_a_sweep_of_the_budget_is_a_line_over_the_tokens(make_run: MakeRun) -> None:
    runs = [make_run("fastv", share=share) for share in (0.5, 0.25, 0.75)]
    (comparison,) = compare([*runs, make_run("pdrop")])
    (panel,) = panels_of(comparison.entries)
    assert places(panel) == {"fastv": [25, 50, 75], "pdrop": [50]}
    assert panel.common_tokens is None


def test_a_grid_of_layers_and_budgets_has_a_line_for_each(make_run: MakeRun) -> None:
    runs = [
        make_run(
            "fastv", share=share, layers={"select": n},
            settings=stages(n) | {"average_tokens": share},
        )
        for n in (1, 2)
        for share in (0.25, 0.5)
    ]  # fmt: skip
    (comparison,) = compare(runs)
    over_tokens, over_layers = panels_of(comparison.entries)
    assert places(over_tokens) == {"fastv (layer=1)": [25, 50], "fastv (layer=2)": [25, 50]}
    assert places(over_layers) == {
        "fastv (average_tokens=0.25)": [1, 2],
        "fastv (average_tokens=0.5)": [1, 2],
    }


def test_runs_that_choose_at_one_layer_do_not_differ_in_it(make_run: MakeRun) -> None:
    """One policy names the layer, the other leaves it to the model: both chose at layer 2."""
    runs = [
        make_run("fastv", settings=stages(layer, keep=keep), layers={"select": 2})
        for layer, keep in ((2, 0.5), (None, 0.25))
    ]
    (comparison,) = compare(runs)
    assert {e.label for e in comparison.entries} == {"fastv (keep=0.5)", "fastv (keep=0.25)"}


def test_seeds_are_names_and_no_scale(make_run: MakeRun) -> None:
    runs = [make_run("random", settings=stages(seed=seed)) for seed in (0, 1)]
    (comparison,) = compare(runs)
    (panel,) = panels_of(comparison.entries)
    assert panel.setting is None
    assert places(panel) == {"random (seed=0)": [50], "random (seed=1)": [50]}


def test_runs_of_one_cost_have_a_row_each(make_run: MakeRun) -> None:
    names = ("fastv", "pdrop", "random")
    (comparison,) = compare([make_run(name) for name in (*names, "none")])
    (panel,) = panels_of(comparison.entries)
    assert panel.common_tokens == pytest.approx(50)
    words = set(ElementTree.fromstring(draw_plots(comparison)[0].svg).itertext())
    assert {*names, "score (%) at 50 % average tokens", "dashed: vanilla"} <= words


def test_no_point_hides_another_and_lonely_ones_stay(make_run: MakeRun) -> None:
    panel = Panel(None, ())
    shifts = shifts_of(panel, [[50.0], [10.0], [51.0, 90.0]])
    assert shifts == [-2.0, 0.0, 2.0]
    (over_layers,) = panels_of(sweep(make_run).entries)
    assert shifts_of(over_layers, [[1, 2], [2], [3]]) == pytest.approx([-1 / 12, 1 / 12, 0])
    assert [x for x, _ in scored(over_layers.lines[0], "vqa")] == [1, 2, 3, 4]


def test_a_swapped_selector_is_named(make_run: MakeRun) -> None:
    runs = [
        make_run("random", settings=stages()),
        make_run("random", settings=stages(target="BorderSelector"), overrides=[SWAP]),
    ]
    assert [run.policy for run in runs] == ["random", "border in random"]
    (comparison,) = compare(runs)
    assert {entry.label for entry in comparison.entries} == {"random", "border in random"}


@pytest.mark.parametrize(
    ("overrides", "names", "expected"),
    [
        ([SWAP], ["select"], "border in random"),
        ([f"+{SWAP}", "policy.stages.select.selector.keep=0.2"], ["select"], "border in random"),
        ([SWAP], ["select", "late"], "random with select=border"),
        (["selector@policy.stages.select.selector.then=ivc"], ["select"],
         "random with select.then=ivc"),
        (["policy=random"], ["select"], "random"),
    ],
)  # fmt: skip
def test_names_of_swaps(overrides: list[str], names: list[str], expected: str) -> None:
    config = {"policy": {"name": "random", "stages": dict.fromkeys(names)}}
    assert named_by_swaps("random", config, overrides) == expected
    assert named_by_swaps("border", config, overrides) == "border"  # the run says so itself


def test_other_classes_are_one_difference(make_run: MakeRun) -> None:
    """Swapped by a file, of which the command line tells nothing: classes, not six settings."""
    nested = stages()
    nested["stages"]["select"]["selector"] = {
        "_target_": "ivcprune.selectors.Per",
        "scope": "image",
        "selector": {
            "_target_": "ivcprune.selectors.TopUp",
            "first": {"_target_": "ivcprune.selectors.SeedSelector"},
            "then": {"_target_": "ivcprune.selectors.RefineSelector"},
        },
    }
    (comparison,) = compare([make_run("mine", settings=s) for s in (stages(), nested)])
    assert {entry.label for entry in comparison.entries} == {
        "mine (selector=Random)",
        "mine (selector=TopUp(Seed, Refine))",
    }


def test_runs_that_nothing_tells_apart_show_their_keys(make_run: MakeRun) -> None:
    runs = [make_run("mine", overrides=[f"batch_size={n}"]) for n in (1, 2)]
    (comparison,) = compare(runs)
    ends = {run.key.rpartition("-")[2] for run in runs}
    assert {e.label for e in comparison.entries} == {f"mine (run={end})" for end in ends}


def test_union_members_are_described() -> None:
    members = {"a": {"_target_": "x.IVCSelector"}, "b": {"_target_": "x.Own"}}
    assert describe_selector({"_target_": "x.Union", "members": members}) == "Union(IVC, Own)"


def test_names_are_as_short_as_they_tell_settings_apart() -> None:
    one = ["stages.select.layer", "stages.select.selector.selector.keep", "cache"]
    assert short_names(one, 1) == dict(zip(one, ["layer", "keep", "cache"], strict=True))
    assert short_names(["stages.early.layer"], 3) == {"stages.early.layer": "early.layer"}
    two = ["stages.early.layer", "stages.late.layer"]
    assert list(short_names(two, 2).values()) == ["early.layer", "late.layer"]


def test_settings_list_what_was_set_for_all(make_run: MakeRun) -> None:
    shared = ["model.max_new_tokens=12", "data.limit=10", "experiment_name=x"]
    runs = [
        make_run("none", limit=10, overrides=["policy=none", *shared]),
        make_run("fastv", limit=10, overrides=["policy=fastv", "seed=1", *shared]),
    ]
    (comparison,) = compare(runs)
    assert comparison.setting == (
        "split=test, limit=10, policy.average_tokens=0.5, model.max_new_tokens=12"
    )


def test_several_stages_are_said_to_show_the_last() -> None:
    row = {"n_kept": 4, "n_visual": 54, "average_tokens": 0.497, "kept_by_stage": "{}"}
    assert kept(row) == "4 of 54 tokens; 49.7 % on average over layers"
    assert kept(row | {"n_kept": 27}) == "27 of 54 tokens"  # 0.497 * 54 = 26.8
    row["kept_by_stage"] = '{"early": 19, "middle": 9, "late": 4}'
    assert kept(row) == (
        "4 of 54 tokens after the last of 3 stages (early 19, middle 9, late 4); "
        "49.7 % on average over layers"
    )
