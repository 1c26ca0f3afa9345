"""What a syntax tree says, however it is written down."""

from __future__ import annotations

import ast
from typing import Any

NOT_CODE = frozenset({"kind", "type_comment"})
"""Fields of a syntax tree that say how something is written."""


def plain(node: Any) -> Any:
    """A syntax tree as lists, without what differs between versions of Python and is no code."""
    if isinstance(node, ast.JoinedStr):  # to which Python 3.12 adds a text without a character
        return ["JoinedStr", *(plain(part) for part in node.values if not _is_empty(part))]
    if isinstance(node, ast.AST):
        fields = [
            [field, plain(value)]
            for field, value in ast.iter_fields(node)
            if field not in NOT_CODE and value is not None and value != []
        ]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        return [plain(item) for item in node if not is_text_alone(item)]
    return repr(node)


def _is_empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def is_text_alone(node: Any) -> bool:
    """A docstring, of whatever: a statement without effect."""
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)
