"""Which samples a harness's own model has just read: the order of its batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

DocId = str | int


@dataclass
class DocOrder:
    """Samples in the order in which they were looked up, since `take` was called last."""

    _seen: dict[tuple[str, DocId], Any] = field(default_factory=dict)

    def note(self, task: str, doc_id: DocId, doc: Any) -> None:
        self._seen.setdefault((task, doc_id), doc)

    def take(self) -> dict[tuple[str, DocId], Any]:
        """The samples by (task, doc_id), in order; forgets them."""
        seen, self._seen = self._seen, {}
        return seen


@dataclass(frozen=True)
class NotedTasks(Mapping[str, Any]):
    """`task_dict[task][split][doc_id]`, which enters every look-up into a `DocOrder`."""

    tasks: Mapping[str, Any]
    order: DocOrder

    def __getitem__(self, task: str) -> _NotedSplits:
        return _NotedSplits(task, self.tasks[task], self.order)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True)
class _NotedSplits:
    task: str
    splits: Any
    order: DocOrder

    def __getitem__(self, split: str) -> _NotedDocs:
        return _NotedDocs(self.task, self.splits[split], self.order)


@dataclass(frozen=True)
class _NotedDocs:
    task: str
    docs: Any
    order: DocOrder

    def __getitem__(self, doc_id: DocId) -> Any:
        doc = self.docs[doc_id]
        self.order.note(self.task, doc_id, doc)
        return doc

    def __len__(self) -> int:
        return len(self.docs)
