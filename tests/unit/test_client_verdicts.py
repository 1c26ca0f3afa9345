"""What of a record of the clients counts as a problem."""

import pytest
from tools.clients.verdicts import NEGATIVE, problems_of

GOOD = {
    "first": {"answers_equal": "24 of 24", "largest_log_prob_difference": 2e-5},
    "again": {"answers_equal": "24 of 24", "cached_tokens": 32},
}


def test_what_is_as_promised_is_no_problem():
    assert problems_of({"layer 1": GOOD, "refusals": {"not_refused": []}}) == []


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (GOOD | {"first": {"answers_equal": "23 of 24"}}, "x: first answers_equal: 23 of 24"),
        ({"largest_log_prob_difference": 2e-4}, "0.0002 is more than"),
        ({"again": {"cached_tokens": 0}}, "no prefix was taken"),
        ({"not_refused": ["pdrop"]}, "not refused: pdrop"),
        ({"refused": {"blind": "NOT REFUSED"}}, "refused blind: not refused"),
        ({"refused": "NOT REFUSED: ImportError"}, "refused: not refused: ImportError"),
        ({"computed_on_second_run": 3}, "the cache was not used"),
        ({"error": "first\nlast line\n"}, "ended early: last line"),
    ],
)
def test_what_is_not_is_named(check, problem):
    found = problems_of({"x": check})
    assert len(found) == 1
    assert problem in found[0]


def test_the_negative_control_must_fail_and_not_merely_end():
    assert "did not fail" in problems_of({NEGATIVE: GOOD})[0]
    assert problems_of({NEGATIVE: {"other questions": {"answers_equal": "21 of 24"}}}) == []
    assert "ended early" in problems_of({NEGATIVE: {"error": "no memory"}})[0]
