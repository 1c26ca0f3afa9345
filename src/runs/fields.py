"""Content of JSON files against the types of `schema`; a mistake is told by the field's name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints, is_typeddict

T = TypeVar("T")

WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    NoneType: "null",
    dict: "a mapping",
    list: "a list",
}
"""What JSON calls the types."""


def read_json(path: Path, kind: type[T]) -> T:
    """The content of a JSON file, which is a `kind`: a TypedDict or a dataclass of `schema`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no JSON, or a field is missing or of another type; names both.
    """
    try:
        return typed(kind, json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def typed(kind: type[T], content: object) -> T:
    """`content` as a `kind`; a mapping is itself one where its fields are right.

    Raises:
        ValueError: a field is missing or of another type, or a dataclass has no such field.
    """
    check(kind, content, "")
    # `content` is a mapping with the fields of `kind` now.
    return kind(**cast(dict[str, Any], content)) if is_dataclass(kind) else cast(T, content)


def check(kind: Any, content: object, name: str) -> None:
    """Raises unless `content` is a `kind`.

    Args:
        name: of the field, dotted; "" for the whole.

    Raises:
        ValueError: naming the field, its value and what it must be.
    """
    origin = get_origin(kind)
    if is_typeddict(kind) or is_dataclass(kind):
        _check_fields(kind, content, name)
    elif origin is UnionType:
        if content is not None or NoneType not in get_args(kind):
            (alone,) = (part for part in get_args(kind) if part is not NoneType)
            check(alone, content, name)
    elif origin is Literal:
        if content not in get_args(kind):
            raise _mistake(name, content, f"one of {', '.join(get_args(kind))}")
    elif origin is dict:
        for key, value in _mapping(content, name).items():
            check(get_args(kind)[1], value, _dotted(name, key))
    elif origin is list:
        if not isinstance(content, list):
            raise _mistake(name, content, WORDS[list])
        for number, value in enumerate(content):
            check(get_args(kind)[0], value, _dotted(name, str(number)))
    elif not _is_plain(kind, content):
        raise _mistake(name, content, WORDS[kind])


def _check_fields(kind: Any, content: object, name: str) -> None:
    """Of a TypedDict unknown fields are let be: a newer version's, which this one does not need."""
    found, (known, needed) = _mapping(content, name), _fields_of(kind)
    for field in known:
        if field in found:
            check(known[field], found[field], _dotted(name, field))
        elif field in needed:
            raise ValueError(f"`{_dotted(name, field)}` is missing")
    if is_dataclass(kind) and (unknown := [field for field in found if field not in known]):
        raise ValueError(f"`{_dotted(name, unknown[0])}` is no field that this version knows")


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """The types of the fields by name, and the names of those that must be there."""
    known = get_type_hints(kind)
    if is_typeddict(kind):
        return known, frozenset(kind.__required_keys__)
    needed = (f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)
    return known, frozenset(needed)


def _is_plain(kind: type, content: object) -> bool:
    if isinstance(content, bool) or kind is bool:
        return isinstance(content, bool) and kind is bool
    return isinstance(content, int | float if kind is float else kind)


def _mapping(content: object, name: str) -> Mapping[str, object]:
    if not isinstance(content, dict):
        raise _mistake(name, content, WORDS[dict])
    return content


def _dotted(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field


def _mistake(name: str, content: object, expected: str) -> ValueError:
    shown = repr(content)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return ValueError(f"`{name}` is {shown}: it must be {expected}" if name else f"no {expected}")
