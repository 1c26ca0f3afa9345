"""What single cells of a source's table mean: numbers, and lists that were written as text."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .texts import as_list, as_text, shortened

_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
_WRITTEN = re.compile(r"\s*(?:(?:\[\s*)+[{'\"]|\{\s*['\"]|array\(\[)")
"""How text begins that a list of texts or a struct was turned into."""

_ARRAY = "array("


def parse_list(cell: Any) -> list[Any]:
    """The members of a list that was written as text, `['a', 'b']`; other text is one member.

    Raises:
        ValueError: the text begins as a list and is none.
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "(")):
        return as_list(cell)
    for read in (_of_python, json.loads):
        try:
            return as_list(read(cell.strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if cell.lstrip().startswith("["):
        raise ValueError(f"{shortened(cell)} begins as a list and is none")
    return [cell]


def _of_python(text: str) -> Any:
    """The value of a Python literal.

    Raises:
        ValueError, SyntaxError, ...: it is none, or texts follow each other without a comma, as
            numpy writes an array of them; Python would read them as one.
    """
    value = ast.literal_eval(text)
    before = tokenize.NAME
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == before == tokenize.STRING:
            raise ValueError(f"{shortened(text)} has texts without a comma between them")
        if token.type != tokenize.NL:
            before = token.type
    return value


def whole_number(cell: Any) -> int:
    """A whole number, perhaps with the `.0` that gaps in its column gave it.

    Raises:
        ValueError: it is none.
    """
    text = as_text(cell).strip()
    match = _WHOLE.fullmatch(text)
    return int(match[1] if match else text)


def check_unwritten(text: str, what: str) -> None:
    """Fails where a text is the notation of a list of texts or of a struct.

    Raises:
        ValueError: it is; no reply would match it, and no model should read it.
    """
    if _WRITTEN.match(text) and (text.lstrip().startswith(_ARRAY) or _is_literal(text.strip())):
        raise ValueError(f"the {what} {shortened(text)} is a list or struct written as text")


def _is_literal(text: str) -> bool:
    readers: tuple[Callable[[str], Any], ...] = (ast.literal_eval, json.loads)
    for read in readers:
        try:
            return isinstance(read(text), list | dict | set)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return False


def stamp_of(path: Path) -> str:
    """Changes when a file, or a file in a folder, is replaced; "" where there is none."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    about = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(about).encode()).hexdigest() if about else ""


def file_in(folder: str | None, name: str) -> str:
    """`name` below `folder`; as it is without one."""
    return str(Path(folder).expanduser() / name) if folder else name
