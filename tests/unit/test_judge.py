"""The judge: what it is asked, how its words count, and how it bears a failing endpoint."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.judge import Case, ChatJudge, NoJudge, Verdict
from ivcprune.judge.cache import ReplyCache
from ivcprune.judge.client import ChatClient, JudgeError, JudgeRefusedError, _retry_after
from ivcprune.judge.rubrics import RUBRICS, rubric_of
from judge_endpoint import Reply, completion, endpoint

LETTER = Case("1", "multiple_choice", "What is it?", ["cat", "dog"], ["B"], "a hound")
YES_NO = Case("2", "yes_no", "Is it a dog?", [], ["Yes"], "it surely seems so")
SCENE = Case(
    "3", "open_answer", "What happens?", [], [], "He runs.", {"scoring_points": ["a man", "runs"]}
)
SUMMARY = Case("4", "open_answer", "Summarise.", [], ["A man runs away."], "He runs.")


def client(url: str, waits: list[float], **options: Any) -> ChatClient:
    return ChatClient(url, None, sleep=waits.append, **{"timeout_seconds": 5.0, **options})


def judge(url: str, **options: Any) -> ChatJudge:
    defaults = {"retries": 1, "first_wait_seconds": 0.001, "timeout_seconds": 5.0}
    return ChatJudge("stub", "stub-1", url, **{**defaults, **options})


def test_every_fault_is_retried_and_the_wait_doubles() -> None:
    faults: list[Reply] = [
        (500, {}, b"oops"),
        (200, {}, b"not JSON"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": null}}]}'),
        (429, {"Retry-After": "30"}, b""),
    ]
    waits: list[float] = []
    with endpoint(lambda n, _: faults[n] if n < len(faults) else completion("B")) as server:
        assert client(server.url, waits).complete({"model": "m"}) == "B"
    assert len(server.requests) == 6
    for wait, least in zip(waits[:4], (1, 2, 4, 8), strict=True):
        assert least <= wait <= 1.25 * least
    assert waits[4] == 30  # the endpoint asked for more than 16 to 20
    assert server.requests[0] == {"path": "/v1/chat/completions", "model": "m"}


def test_no_wait_is_longer_than_the_limit() -> None:
    waits: list[float] = []
    with endpoint(lambda n, _: (429, {"Retry-After": "9999"}, b"")) as server:
        patient = client(server.url, waits, retries=2, max_wait_seconds=7.0)
        with pytest.raises(JudgeError, match="failed 3 times, at last by HTTP 429"):
            patient.complete({})
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(status: int) -> None:
    waits: list[float] = []
    with (
        endpoint(lambda n, _: (status, {}, b"")) as server,
        pytest.raises(JudgeRefusedError, match=f"HTTP {status}"),
    ):
        client(server.url, waits).complete({})
    assert (len(server.requests), waits) == (1, [])


def test_a_request_that_is_refused_for_its_content_is_not_repeated() -> None:
    with endpoint(lambda n, _: (400, {}, b"")) as server, pytest.raises(JudgeError) as caught:
        client(server.url, []).complete({})
    assert not isinstance(caught.value, JudgeRefusedError)
    assert len(server.requests) == 1


def test_a_slow_endpoint_and_a_missing_one_are_retried() -> None:
    release = threading.Event()

    def slow_at_first(number: int, body: dict[str, Any]) -> Reply:
        if number == 0:
            release.wait(5)
        return completion("A")

    waits: list[float] = []
    with endpoint(slow_at_first) as server:
        assert client(server.url, waits, timeout_seconds=0.2).complete({}) == "A"
        release.set()
    assert len(waits) == 1
    with pytest.raises(JudgeError, match="failed 2 times"):  # the server is gone by now
        client(server.url, waits, retries=1).complete({})


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert _retry_after(format_datetime(later, usegmt=True)) == pytest.approx(100, abs=5)
    assert _retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0
    assert _retry_after("7") == 7
    assert _retry_after("-7") == 0
    assert _retry_after("") is None
    assert _retry_after("soon") is None


def test_verdicts_and_the_cache(tmp_path: Path) -> None:
    with endpoint(lambda n, body: completion(_words(body))) as server:
        asked = judge(server.url)
        verdicts = asked.settle([LETTER, YES_NO, SCENE, SUMMARY], tmp_path)
        assert verdicts == [
            Verdict("B", 1.0),
            Verdict("yes", 1.0),
            Verdict('{"accuracy": 3.5, "relevance": 4.0}', 0.7),
            Verdict('{"completeness": 2.0, "reliability": 5.0}', 0.7),
        ]
        assert len(server.requests) == 4
        assert asked.settle([LETTER, YES_NO, SCENE, SUMMARY], tmp_path) == verdicts
        assert len(server.requests) == 4
        # Another model is another judge.
        replace(asked, model="stub-2").settle([LETTER], tmp_path)
        assert len(server.requests) == 5
    assert asked.settle([LETTER], tmp_path) == verdicts[:1]  # even with the endpoint gone
    assert server.keys == [None] * 5


def _words(body: dict[str, Any]) -> str:
    prompt = body["messages"][0]["content"]
    for sign, words in {
        "Scoring points": 'Marks: {"accuracy": 3.5, "relevance": 4}',
        "Reference": '```json\n{"completeness": "2", "reliability": 5}\n```',
        "There are several options": "Your output: B",
    }.items():
        if sign in prompt:
            return words
    return "Yes"


def test_the_key_is_sent_and_stored_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_KEY", "secret-1")
    with endpoint(lambda n, _: completion("B")) as server:
        asked = judge(server.url, api_key_variable="STUB_KEY")
        assert asked.obstacle() is None
        asked.settle([LETTER], tmp_path)
    assert server.keys == ["Bearer secret-1"]
    assert "secret-1" not in repr(asked)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 1
    assert "secret-1" not in files[0].read_text(encoding="utf-8")


def test_a_missing_key_is_an_obstacle_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUB_KEY", raising=False)
    obstacle = judge("http://localhost/v1", api_key_variable="STUB_KEY").obstacle()
    assert obstacle is not None
    assert "STUB_KEY" in obstacle
    assert NoJudge().obstacle() is None


@pytest.mark.parametrize(
    ("case", "words", "temperatures", "verdict"),
    [
        # Two letters, twice; then a clear one.
        (LETTER, ["A or B", "B or A", "A"], [0, 0.5, 1.0], Verdict("A", 0.0)),
        (LETTER, ["?"] * 3, [0, 0.5, 1.0], Verdict("Z", 0.0)),
        (LETTER, ["Z"], [0], Verdict("Z", 0.0)),
        (YES_NO, ["yes or no", "Unknown"], [0, 0.5], Verdict("unknown", 0.0)),
        (YES_NO, ["I do not know"] * 5, [0, 0.5, 1.0, 1.5, 2.0], Verdict("unknown", 0.0)),
        (SCENE, ["good", '{"accuracy": 9, "relevance": 1}', "{}"], [0, 0.5, 1.0], None),
    ],
)
def test_unclear_words_are_asked_for_again(
    case: Case,
    words: list[str],
    temperatures: list[float],
    verdict: Verdict | None,
    tmp_path: Path,
) -> None:
    with endpoint(lambda n, _: completion(words[n])) as server:
        assert judge(server.url).settle([case], tmp_path) == [verdict]
    assert [request["temperature"] for request in server.requests] == temperatures


def test_an_endpoint_that_fails_costs_no_verdict_that_it_gave(tmp_path: Path) -> None:
    cases = [replace(LETTER, id=str(i), reply=f"reply {i}") for i in range(20)]

    is_down = threading.Event()

    def until_down(number: int, body: dict[str, Any]) -> Reply:
        if number == 3:
            is_down.set()
        return (503, {}, b"") if is_down.is_set() else completion("B")

    with endpoint(until_down) as server:
        asked = judge(server.url, concurrency=1, retries=0)
        verdicts = asked.settle(cases, tmp_path)
        assert [verdict is not None for verdict in verdicts] == [True] * 3 + [False] * 17
        # Five failures in a row, then it counts as down: the other cases are not tried.
        assert len(server.requests) == 3 + 5
        is_down.clear()
        assert asked.settle(cases, tmp_path) == [Verdict("B", 1.0)] * 20
        assert len(server.requests) == 3 + 5 + 17


def test_a_wrong_key_is_tried_once(tmp_path: Path) -> None:
    cases = [replace(LETTER, id=str(i), reply=f"reply {i}") for i in range(5)]
    with endpoint(lambda n, _: (401, {}, b"")) as server:
        assert judge(server.url, concurrency=1).settle(cases, tmp_path) == [None] * 5
    assert len(server.requests) == 1


def test_no_more_requests_at_a_time_than_allowed(tmp_path: Path) -> None:
    def slowly(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return completion("B")

    cases = [replace(LETTER, id=str(i), reply=f"reply {i}") for i in range(12)]
    with endpoint(slowly) as server:
        judge(server.url, concurrency=3).settle(cases, tmp_path)
    assert len(server.requests) == 12
    assert 1 < server.busiest <= 3


def test_the_judge_sees_what_the_protocol_names() -> None:
    prompt = rubric_of(LETTER).prompt
    assert "A. cat\nB. dog\n" in prompt
    assert "What is it?" in prompt
    assert "a hound" in prompt
    assert "单选题" in rubric_of(replace(LETTER, question="这是什么?")).prompt
    assert "- a man\n- runs\n" in rubric_of(SCENE).prompt
    assert "A man runs away." in rubric_of(SUMMARY).prompt
    braces = replace(LETTER, question="{x} {}", reply="{reply}")
    assert "{x} {}" in rubric_of(braces).prompt
    with pytest.raises(ValueError, match=r"'grounding'.*'multiple_choice'"):
        rubric_of(replace(LETTER, task="grounding"))


@settings(deadline=None)
@given(words=st.text(), task=st.sampled_from(sorted(RUBRICS)))
def test_any_words_give_a_verdict_or_none(words: str, task: str) -> None:
    verdict = rubric_of(replace(LETTER, task=task)).read(words)
    assert verdict is None or 0 <= verdict.score <= 1


def test_damaged_cache_files_are_ignored(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path)
    request = {"model": "m"}
    assert cache.get(request) is None
    cache.put(request, "B")
    assert cache.get(request) == "B"
    (path,) = tmp_path.rglob("*.json")
    for content in ("", "[]", '{"reply": 3}', "{"):
        path.write_text(content)
        assert cache.get(request) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "api.openai.com"}, "judge.base_url is 'api.openai.com'"),
        ({"url": "file:///etc/hosts"}, "judge.base_url"),
        ({"concurrency": 0}, "judge.concurrency=0: allowed is 1 or more"),
        ({"retries": -1}, "judge.retries=-1: allowed is 0 or more"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(**{"url": "http://localhost/v1", **options})
