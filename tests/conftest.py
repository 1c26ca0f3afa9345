"""What holds for every test: one thread, and no GPU or network unless a test asks for it."""

import socket

import pytest
import torch
from hypothesis import settings

# how long an example takes depends on the machine's other work
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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
