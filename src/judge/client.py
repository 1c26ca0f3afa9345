"""Asks an OpenAI-compatible chat endpoint, patiently."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be different next time."""

REFUSED = frozenset({401, 403, 404})
"""HTTP statuses that every request will get: a wrong key, model or address."""


class JudgeError(RuntimeError):
    """The endpoint gave no usable reply to a request."""


class JudgeRefusedError(JudgeError):
    """The endpoint refuses all requests: a wrong key, model or address."""


@dataclass(frozen=True)
class ChatClient:
    """An endpoint `<base_url>/chat/completions`.

    Attributes:
        base_url: for example "https://api.openai.com/v1".
        key: sent as bearer token; None = none is sent.
        timeout_seconds: of one request.
        retries: after the first attempt.
        first_wait_seconds: before the first retry; every further one waits twice as long, with up
            to a quarter more at random, so that parallel requests do not return all at once.
        max_wait_seconds: no wait is longer, not even one that the endpoint asks for.
        sleep: how to wait.
    """

    base_url: str
    key: str | None
    timeout_seconds: float = 60.0
    retries: int = 5
    first_wait_seconds: float = 1.0
    max_wait_seconds: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def complete(self, request: Mapping[str, Any]) -> str:
        """The text of the reply to `request`, the body of a chat completion.

        Raises:
            JudgeRefusedError: any other request would fail as well.
            JudgeError: all attempts failed, or another one would.
        """
        for attempt in range(self.retries + 1):
            try:
                return _text_of(self._post(request))
            except urllib.error.HTTPError as error:
                with error:
                    problem, asked = (
                        f"HTTP {error.code}",
                        _retry_after(error.headers.get("Retry-After", "")),
                    )
                if error.code not in RETRIED:
                    refusal = JudgeRefusedError if error.code in REFUSED else JudgeError
                    raise refusal(f"{self.base_url} answers {problem}") from error
            # URLError, timeouts and resets are OSErrors; a reply that is not what the protocol
            # says is a ValueError.
            except (OSError, HTTPException, ValueError) as error:
                problem, asked = f"{type(error).__name__}: {error}", None
            if attempt < self.retries:
                self.sleep(self._wait(attempt, asked))
        raise JudgeError(f"{self.base_url} failed {self.retries + 1} times, at last by {problem}")

    def _post(self, request: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        body = json.dumps(request).encode()
        message = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(message, timeout=self.timeout_seconds) as response:
            content: bytes = response.read()
        return content

    def _wait(self, attempt: int, asked: float | None) -> float:
        wait = self.first_wait_seconds * 2**attempt * random.uniform(1.0, 1.25)
        return min(max(wait, asked or 0.0), self.max_wait_seconds)


def _text_of(content: bytes) -> str:
    """The first choice's text.

    Raises:
        ValueError: the reply has none.
    """
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"a reply without choices[0].message.content ({error!r})") from error
    if not isinstance(text, str):
        raise ValueError(f"a reply whose content is {type(text).__name__}, not text")
    return text


def _retry_after(text: str) -> float | None:
    """Seconds that the header asks to wait: it may give a number or a date."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
