"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import logging
import os
import threading
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .base import Case, Verdict
from .cache import ReplyCache
from .client import ChatClient, JudgeError, JudgeRefusedError
from .rubrics import Rubric, rubric_of

log = logging.getLogger(__name__)

MAX_FAILURES = 5
"""Cases in a row that the endpoint fails on, all retries spent, before it counts as down."""


@dataclass(frozen=True)
class ChatJudge:
    """Asks a chat model; what it said once is not asked again.

    Attributes:
        name: what results call the judge.
        model: as the endpoint calls it.
        base_url: address of the endpoint, up to `/chat/completions`.
        api_key_variable: NAME of the environment variable that holds the key, so that no
            configuration holds it; None = the endpoint needs none.
        concurrency: requests at a time.
        timeout_seconds, retries, first_wait_seconds: see `ChatClient`.
        max_tokens: of one reply.
    """

    name: str
    model: str
    base_url: str
    api_key_variable: str | None = None
    concurrency: int = 8
    timeout_seconds: float = 60.0
    retries: int = 5
    first_wait_seconds: float = 1.0
    max_tokens: int = 128

    def __post_init__(self) -> None:
        url = urllib.parse.urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(
                f"judge.base_url is {self.base_url!r}: it must be an address such as "
                "https://api.openai.com/v1"
            )
        for name, lowest in (("concurrency", 1), ("retries", 0), ("max_tokens", 1)):
            if getattr(self, name) < lowest:
                raise ValueError(f"judge.{name}={getattr(self, name)}: allowed is {lowest} or more")

    def obstacle(self) -> str | None:
        if self.api_key_variable is not None and not os.environ.get(self.api_key_variable):
            return (
                f"the environment variable {self.api_key_variable}, which is to hold the key of "
                f"judge={self.name}, is not set"
            )
        return None

    def settle(self, cases: Sequence[Case], cache_dir: Path) -> list[Verdict | None]:
        key = os.environ.get(self.api_key_variable) if self.api_key_variable else None
        client = ChatClient(
            self.base_url, key, self.timeout_seconds, self.retries, self.first_wait_seconds
        )
        court = _Court(self, client, ReplyCache(cache_dir / "judge"))
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(court.decide, cases))


@dataclass
class _Court:
    """Decides cases in several threads, until the endpoint is found to be of no use."""

    judge: ChatJudge
    client: ChatClient
    cache: ReplyCache
    failures: int = 0
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, case: Case) -> Verdict | None:
        rubric = rubric_of(case)
        for attempt in range(rubric.tries):
            try:
                words = self._ask(rubric, attempt)
            except JudgeError as error:
                self._note(error)
                return None
            if words is None:
                return None
            verdict = rubric.read(words)
            if verdict is not None:
                return verdict
        return rubric.otherwise

    def _ask(self, rubric: Rubric, attempt: int) -> str | None:
        """The judge's words, from the cache where it said them before; None once closed."""
        request: dict[str, Any] = {
            "model": self.judge.model,
            "messages": [{"role": "user", "content": rubric.prompt}],
            "temperature": 0.5 * attempt,
            "max_tokens": self.judge.max_tokens,
        }
        asked = {"base_url": self.judge.base_url, **request}
        words = self.cache.get(asked)
        if words is None and not self.closed:
            words = self.client.complete(request)
            self.cache.put(asked, words)
            with self.lock:
                self.failures = 0
        return words

    def _note(self, error: JudgeError) -> None:
        with self.lock:
            self.failures += 1
            if self.closed:
                return
            self.closed = isinstance(error, JudgeRefusedError) or self.failures >= MAX_FAILURES
            log.warning(
                "the judge failed: %s%s",
                error,
                "; it is asked no more in this run" if self.closed else "",
            )
