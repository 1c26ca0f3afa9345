"""What holds for every test: one thread, and no GPU or network unless a test asks for it."""

import os
import socket

import pytest
import torch
from hypothesis import settings

from fuzzing import IN_CI

# CI draws the same examples on every run; HYPOTHESIS_PROFILE=long draws new ones, and 42 times as
# many. How long one takes depends on the machine's other work.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=IN_CI)
settings.register_profile("long", deadline=None, max_examples=42 * IN_CI)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

torch.set_num_threads(1)  # the tensors are tiny: more threads only compete with each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests whose marker names something that this machine lacks."""
    if not torch.cuda.is_available():
        _skip(items, "gpu", "no CUDA device")
    if any(item.get_closest_marker("network") for item in items) and not _hub_answers():
        _skip(items, "network", "huggingface.co is not reachable")


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


def _hub_answers() -> bool:
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True
