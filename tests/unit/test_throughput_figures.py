"""Turns, ratios and differing answers of `job=throughput`, on figures worked out by hand."""

from __future__ import annotations

import pytest

from ivcprune.efficiency.passes import Pass, Setting, in_turns
from ivcprune.efficiency.throughput_results import draw, gain, n_different, rate, table_of
from ivcprune.policy import PruningPolicy

ONE, EIGHT = Setting("none", 1, 0), Setting("none", 8, 0)
APART = Setting("none", 8, 2)


def passed(seconds, **answers):
    return Pass(seconds, 0.25, answers, failed=0)


@pytest.fixture
def passes():
    """Two samples; the machine is twice as slow in the second round."""
    return {
        ONE: [passed(2.0, a="x", b="y"), passed(4.0, a="x", b="y")],
        EIGHT: [passed(1.0, a="x", b="z"), passed(2.0, a="x", b="z")],
        APART: [passed(0.5, a="x", b="z"), passed(1.0, a="x", b="z")],
    }


def test_ratios_are_paired_by_round(passes):
    assert rate(passes[ONE]).median == pytest.approx(0.75)
    assert gain(passes[EIGHT], passes[ONE]).low == pytest.approx(2.0)
    assert gain(passes[EIGHT], passes[ONE]).high == pytest.approx(2.0)


def test_failed_samples_went_through_the_loop_too():
    assert Pass(2.0, 0.0, {"a": "x"}, failed=3).samples_per_second == 2.0


def test_answers_that_differ_are_counted_also_where_one_is_missing(passes):
    assert n_different(passes[EIGHT], passes[ONE]) == 1
    assert n_different([passed(1.0, a="x")], passes[ONE]) == 1
    assert n_different(passes[ONE], passes[ONE]) == 0


def test_the_table_compares_settings_with_the_same_number_of_workers(passes):
    grid = table_of(passes)
    ratios = [row[grid.header.index("ratio")] for row in grid.rows]
    assert [ratio.split()[0] for ratio in ratios] == ["1.00", "2.00", "1.00"]
    assert [row[grid.header.index("padding")] for row in grid.rows] == ["25.0 %"] * 3
    (axes,) = draw(passes, "title").axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {"none, 0 workers": [0.75, 1.5], "none, 2 workers": [3.0]}


class Recorded:
    def __init__(self):
        self.order = []

    def run(self, policy, batch_size, num_workers):
        self.order.append((policy.name, batch_size, num_workers))
        return passed(float(len(self.order)))


def test_settings_take_turns_after_a_pass_that_does_not_count():
    loop = Recorded()
    policies = [PruningPolicy(name="a"), PruningPolicy(name="b")]
    passes = in_turns(loop, policies, [1, 4], [0], rounds=2)
    first = [("a", 1, 0), ("a", 4, 0), ("b", 1, 0), ("b", 4, 0)]
    assert loop.order == [("a", 4, 0), *first, *first[1:], first[0]]
    assert [one.seconds for one in passes[Setting("a", 1, 0)]] == [2.0, 9.0]
