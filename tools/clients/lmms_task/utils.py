"""What lmms-eval asks a task for."""

from typing import Any


def visual(doc: dict[str, Any]) -> list[Any]:
    return [doc["image"].convert("RGB")]


def text(doc: dict[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    return str(doc["text"])


def process(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    return {"exact": float(results[0].strip() == doc["answer"])}
