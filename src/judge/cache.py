"""Replies that were paid for once, by what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ReplyCache:
    """One file for each request; processes and threads may share the folder."""

    folder: Path

    def get(self, request: Mapping[str, Any]) -> str | None:
        """The reply; None where there is none, or its file is damaged."""
        try:
            entry = json.loads(self._path(request).read_text(encoding="utf-8"))
            reply = entry["reply"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return reply if isinstance(reply, str) else None

    def put(self, request: Mapping[str, Any], reply: str) -> None:
        path = self._path(request)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.draft")
        entry = {"request": request, "reply": reply}
        draft.write_text(json.dumps(entry, ensure_ascii=False, indent=2), encoding="utf-8")
        draft.replace(path)

    def _path(self, request: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"
