"""The hub is asked once; where it does not answer, nobody waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import httpx
import pytest
from huggingface_hub.errors import RepositoryNotFoundError

from ivcprune.data.hub import HubSource
from ivcprune.data.hub_access import without_waiting


def answer_with(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> list[Any]:
    """Lets the hub answer so; what it is asked."""
    asked: list[Any] = []

    def dataset_info(_: object, hub_id: str, revision: str | None, timeout: float) -> None:
        asked.append((hub_id, revision, timeout))
        if error is not None:
            raise error

    monkeypatch.setattr("ivcprune.data.hub_access.HfApi.dataset_info", dataset_info)
    return asked


def missing() -> RepositoryNotFoundError:
    response = httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid"))
    return RepositoryNotFoundError("no such repository", response=response)


@pytest.mark.parametrize(
    ("error", "offline"),
    [
        (None, False),
        (missing(), False),
        (httpx.ConnectError("Name or service not known"), True),
        (httpx.ReadTimeout("too slow"), True),
    ],
)
def test_datasets_is_offline_where_the_hub_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, offline: bool
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    asked = answer_with(monkeypatch, error)

    def fail_inside() -> None:
        with without_waiting("an/owner", "v1"):
            assert datasets.config.HF_HUB_OFFLINE is offline
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert datasets.config.HF_HUB_OFFLINE is False
    assert asked == [("an/owner", "v1", 10.0)]


def test_it_is_as_before_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    answer_with(monkeypatch, httpx.ConnectError("no network"))
    with pytest.raises(ZeroDivisionError), without_waiting("an/owner", None):
        _ = 1 / 0
    assert datasets.config.HF_HUB_OFFLINE is False


def test_nobody_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = answer_with(monkeypatch, None)
    with without_waiting(str(tmp_path), None):
        assert asked == []


def test_a_hub_that_does_not_answer_is_not_called_a_wish(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`datasets` says that its offline mode is enabled, which nobody asked for."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    answer_with(monkeypatch, httpx.ConnectError("no network"))
    source = HubSource(
        name="mine", task="vqa", columns={"question": "q"}, hub_ids=["an/owner"], split="test"
    )
    why = r"\(an/owner: the hub does not answer, and there is no copy in the cache\): check the net"
    with pytest.raises(FileNotFoundError, match=why):
        source.load(tmp_path)


def test_what_a_repository_lacks_is_no_matter_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "train.csv").write_text("q,a\n1,2\n")
    folder = str(tmp_path / "repository")
    source = HubSource(
        name="mine", task="vqa", columns={"question": "q"}, hub_ids=[folder], split="nope"
    )
    with pytest.raises(FileNotFoundError, match=r"Unknown split .*: check data.split, data.config"):
        source.load(tmp_path / "cache")
