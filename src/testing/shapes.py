"""The rule that what a selector returns has one entry per token, told with the line at fault."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor

from ..selectors import Per, Ranked, Selector
from ..selectors.base import children
from ..selectors.selection import Selection
from ..tokens.visual import VisualTokens
from .rules import SAMPLES
from .tokens import recorded_tokens

OTHERS = (Path(__file__).parents[1], Path(torch.__file__).parent)
"""Folders whose code is not that of a selector's author: this package and PyTorch."""


def result_shape(selector: Selector) -> str | None:
    """`score` and `select` return one entry per token, `[R, N]`; parts of a composition too."""
    for part, tokens in _parts(selector, recorded_tokens(SAMPLES)):
        if isinstance(part, Ranked) and (wrong := _wrong(part.score, part.score(tokens), tokens)):
            return wrong
        chosen = part.select(tokens)
        keep = chosen.keep if isinstance(chosen, Selection) else chosen
        if wrong := _wrong(part.select, keep, tokens):
            return wrong
    return None


def line_of(error: BaseException) -> str:
    """Where an exception left the code of a selector's author, as " (at FILE:LINE)", or ""."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in OTHERS)
    ]
    return f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _parts(selector: Selector, tokens: VisualTokens) -> Iterator[tuple[Selector, VisualTokens]]:
    """Every selector in a composition, innermost first, with the tokens that it sees."""
    seen = tokens.regroup(selector.scope) if isinstance(selector, Per) else tokens
    for child in children(selector):
        yield from _parts(child, seen)
    yield selector, tokens


def _wrong(method: Callable[..., Any], result: object, tokens: VisualTokens) -> str | None:
    """How the result of a method has another shape than `[R, N]`; its type is another rule's."""
    if not isinstance(result, Tensor) or tuple(result.shape) == tokens.shape:
        return None
    return (
        f"{method.__qualname__} returned shape {tuple(result.shape)}: {tokens.shape}, one entry "
        f"per token, is expected{_source(method)}"
    )


def _source(method: Callable[..., Any]) -> str:
    """Where a method returns, as " (at FILE:LINE)"; of several returns, where it begins."""
    try:
        lines, first = inspect.getsourcelines(method)
        file = inspect.getsourcefile(method)
    except (OSError, TypeError):  # made in an interpreter, whose lines are not kept
        return ""
    tree = ast.parse(textwrap.dedent("".join(lines)))
    returns = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Return)]
    line = first + returns[0] - 1 if len(returns) == 1 else first
    return f" (at {file}:{line})"
