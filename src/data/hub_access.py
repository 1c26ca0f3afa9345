"""Whether the Hugging Face Hub answers, asked once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

TIMEOUT = 10.0  # seconds


@contextmanager
def without_waiting(hub_id: str, revision: str | None) -> Iterator[bool]:
    """Within, `datasets` takes `hub_id` from its cache or fails, where the hub does not answer.

    By itself it would try each file for half a minute.

    Args:
        hub_id: a repository, or a folder, for which nobody is asked.

    Yields:
        False where the hub was asked and did not answer.
    """
    own = datasets.config.HF_HUB_OFFLINE
    is_there = Path(hub_id).is_dir() or own or _answers(hub_id, revision)
    datasets.config.HF_HUB_OFFLINE = own or not is_there
    try:
        yield is_there
    finally:
        datasets.config.HF_HUB_OFFLINE = own


def _answers(hub_id: str, revision: str | None) -> bool:
    try:
        HfApi().dataset_info(hub_id, revision=revision, timeout=TIMEOUT)
    except HfHubHTTPError:
        return True  # that there is no such repository, say, which `datasets` explains
    # No network or no name server: what is raised depends on the HTTP library of huggingface_hub.
    except Exception:
        return False
    return True
