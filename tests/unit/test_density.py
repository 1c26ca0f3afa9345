"""Budgets that follow density: measures by hand, the ramp, its calibration, the contract."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ivcprune.selectors import (
    DensityTopUp,
    EdgeDensity,
    FirstTokenSelector,
    IVCSelector,
    LayerAgreement,
    Measure,
    Per,
    QueryEntropy,
    RandomSelector,
    RefineSelector,
    ScoreSpread,
    WeightedSum,
    ramp_for,
)
from ivcprune.selectors.base import signals_of
from ivcprune.selectors.contrast import contrast
from ivcprune.selectors.density import ramp
from ivcprune.testing import RecordedSample, check_selector, recorded_tokens
from ivcprune.testing.tokens import thinned, widened
from ivcprune.tokens.signals import Signal
from visual_tokens_helpers import Given, tokens_of

MEASURES = (
    ScoreSpread(),
    QueryEntropy(),
    EdgeDensity(),
    EdgeDensity(above=0.4),
    EdgeDensity(asked=RefineSelector()),
    LayerAgreement(),
    WeightedSum({"edges": EdgeDensity(), "words": QueryEntropy()}, {"edges": 2.0, "words": 1.0}),
)


@dataclass(frozen=True, eq=False)
class Said(Measure):
    """The same measure for every row."""

    value: float

    def of(self, tokens):
        return torch.full((tokens.shape[0],), self.value)


def states_of(picture):
    """Two orthogonal vectors, by the letter of each cell."""
    return torch.tensor([[[1.0, 0.0] if cell == "a" else [0.0, 1.0] for cell in picture]])


def density(value, centre=0.5, width=1.0, **bounds):
    then = RandomSelector()
    return DensityTopUp(
        FirstTokenSelector(1), then, measure=Said(value), centre=centre, width=width, **bounds
    )


def test_contrast_by_hand():
    """`aab / abb`: cell (0, 0) is as its two neighbours, (1, 1) differs from two of three."""
    found = contrast(tokens_of((2, 3)), states_of("aababb"))
    assert found[0].tolist() == pytest.approx([0.0, 2 / 3, 0.5, 0.5, 2 / 3, 0.0])


def test_neighbours_end_at_the_edge_of_their_grid_and_of_their_picture():
    assert contrast(tokens_of((1, 2)), states_of("ab"))[0].tolist() == [1.0, 1.0]
    video = tokens_of((1, 2), (1, 2)).regroup("sample")
    assert contrast(video, states_of("aabb"))[0].tolist() == [0.0] * 4
    # the last cell of a line and the first one of the next are no neighbours
    assert contrast(tokens_of((2, 2)), states_of("abab"))[0].tolist() == [0.5] * 4


def test_a_token_that_is_gone_is_no_neighbour():
    tokens = tokens_of((1, 3))
    left = thinned(tokens, tokens.ordinal == 1)
    assert contrast(left, states_of("ab"))[0].tolist() == [0.0, 0.0]
    assert EdgeDensity().of(left).tolist() == [0.0]


def test_spread_by_hand():
    """(4 + 2 + 2)^2 / (4 * 24) = 2/3; four equal scores: 1."""
    tokens = tokens_of((2, 2))
    assert ScoreSpread(Given(scores=(4.0, 2.0, 2.0, 0.0))).of(tokens)[0] == pytest.approx(2 / 3)
    assert ScoreSpread(Given(scores=(3.0,) * 4)).of(tokens)[0] == 1.0


def test_entropy_of_values_that_are_all_alike_is_1_and_of_a_single_match_near_0():
    alike = torch.ones(1, 3 + 4 + 6, 4)
    assert QueryEntropy().of(tokens_of((2, 2), values=alike))[0] == pytest.approx(1.0)
    matched = torch.zeros(1, 13, 4)
    matched[:, 3], matched[:, 7:] = 30.0, 30.0
    assert QueryEntropy().of(tokens_of((2, 2), values=matched))[0] == pytest.approx(0.0, abs=1e-6)


def test_agreement_by_hand():
    """The best two of four: tokens 0 and 1, tokens 1 and 2; one in common."""
    one, other = Given(scores=(4.0, 3.0, 2.0, 1.0)), Given(scores=(1.0, 4.0, 3.0, 2.0))
    found = LayerAgreement(0.5, before=one, after=other).of(tokens_of((2, 2)))
    assert found.tolist() == [0.5]


def test_edges_count_where_the_question_looks():
    """Half of a picture is striped; scores on its other half alone find no edge."""
    values = torch.ones(1, 3 + 8 + 6, 4)
    values[:, 3:11:2][:, :2] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    tokens = tokens_of((1, 8), values=values)
    left, right = ((1.0,) * 3 + (0.0,) * 5, (0.0,) * 5 + (1.0,) * 3)
    assert EdgeDensity(asked=Given(scores=left)).of(tokens)[0] == pytest.approx(1.0)
    assert EdgeDensity(asked=Given(scores=right)).of(tokens)[0] == pytest.approx(0.0)
    # cells 0 to 3 have a contrast of 1, but cell 3 (one neighbour of two) of a half
    assert EdgeDensity(above=0.4).of(tokens)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(-9.0, 4), (0.0, 4), (0.25, 7), (0.5, 10), (1.0, 16), (9.0, 16), (float("nan"), 10)],
)
def test_the_budget_follows_the_measure(value, kept):
    """From 4 of 16 at 0 to all at 1; what cannot be measured is taken for average."""
    assert density(value, low=0.25, high=1.0).select(tokens_of((4, 4))).sum() == kept


def test_calibration_by_hand():
    """Measures 0 and 1 have a deviation of 1/2, so a width of 1; symmetric about 0.5."""
    found = ramp_for(torch.tensor([0.0, 1.0]), 0.25, 0.75, 0.5)
    assert found.width == 1.0
    assert found.centre == pytest.approx(0.5)


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=40, unique=True), st.floats(0.3, 0.9)
)
def test_a_calibrated_set_has_its_average(values, average):
    measures = torch.tensor(values)
    centre, width = ramp_for(measures, 0.25, 1.0, average)
    shares = 0.25 + 0.75 * ramp(measures, centre, width)
    assert shares.mean() == pytest.approx(average, abs=1e-6)


@pytest.mark.parametrize(
    ("measures", "average", "message"),
    [
        ([0.0, 1.0], 0.2, r"average is 0\.2: it must lie between low=0\.25 and high=1\.0"),
        ([1.0, 1.0], 0.5, r"measures of 2 pictures have a spread of 0\.0"),
        ([0.0, float("nan")], 0.5, r"finite measures that differ"),
    ],
)
def test_what_cannot_be_calibrated(measures, average, message):
    with pytest.raises(ValueError, match=message):
        ramp_for(torch.tensor(measures), 0.25, 1.0, average)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: type(measure).__name__)
def test_padding_and_neighbours_in_the_batch_change_nothing(measure):
    samples = [RecordedSample(((4, 6),), seed=1), RecordedSample(((3, 3),), seed=2)]
    alone = torch.cat([measure.of(recorded_tokens([sample])) for sample in samples])
    together = recorded_tokens(samples)
    assert torch.allclose(measure.of(together), alone, atol=1e-6)
    assert torch.allclose(measure.of(widened(together, 3)), alone, atol=1e-6)


def test_signals_of_a_measure_are_asked_for():
    selector = DensityTopUp(
        IVCSelector(),
        RandomSelector(),
        measure=WeightedSum({"a": LayerAgreement()}, {"a": 1.0}),
        centre=0.5,
        width=1.0,
    )
    assert signals_of(Per("image", selector)) == {Signal.VALUES, Signal.VALUES_NEXT}


@pytest.mark.parametrize("measure", [MEASURES[-1], MEASURES[5]], ids=["sum", "agreement"])
def test_contract(measure):
    selector = DensityTopUp(
        IVCSelector(), RefineSelector(), measure=measure, centre=0.5, width=1.0, high=1.0
    )
    check_selector(Per("image", selector))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"width": 0.0}, ValueError, r"DensityTopUp\.width is 0\.0: it must be a number above 0"),
        ({"centre": float("inf")}, ValueError, r"DensityTopUp\.centre is inf"),
        ({"measure": RandomSelector()}, TypeError, r"measure is RandomSelector: it must be a"),
        ({"low": 0.8}, ValueError, r"DensityTopUp\.low is 0\.8, more than its high of 0\.75"),
    ],
)
def test_refusals(settings, error, message):
    usual = {"measure": EdgeDensity(), "centre": 0.5, "width": 1.0}
    with pytest.raises(error, match=message):
        DensityTopUp(IVCSelector(), RandomSelector(), **(usual | settings))


def test_weights_are_of_the_parts():
    with pytest.raises(ValueError, match=r"weights are of \['b'\], but parts are \['a'\]"):
        WeightedSum({"a": EdgeDensity()}, {"b": 1.0})


def test_no_share_can_be_asked_for():
    with pytest.raises(ValueError, match="move `centre`, or use TopUp"):
        density(0.5).with_keep(0.5)
