"""How many examples a fuzz test draws: its share of CI, or many times as many in a long run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

IN_CI = 100
"""`max_examples` of the profile "ci": fuzz tests draw their own numbers times what it is in CI."""


def examples(in_ci: int) -> settings:
    """Settings of a fuzz test that draws `in_ci` examples in CI.

    With `HYPOTHESIS_PROFILE=long` (see `conftest.py`) it draws 42 times as many.
    """
    number = in_ci * settings().max_examples // IN_CI
    return settings(max_examples=number, suppress_health_check=list(HealthCheck))
