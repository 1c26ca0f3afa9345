"""A digest of code: of everything that a class is made of, and of nothing else."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivcprune.provenance.code import code_of
from ivcprune.provenance.modules import files_as_read, path_of
from ivcprune.provenance.syntax import plain

SELECTOR = '''
"""Docstring."""
from dataclasses import dataclass
from typing import TYPE_CHECKING
from ivcprune.selectors import Ranked
from provenance_helpers import sign
if TYPE_CHECKING:
    from provenance_unused import Nothing

@dataclass(frozen=True)
class Corner(Ranked):
    keep: float = 0.25
    def score(self, tokens):
        return sign() * tokens.xy.norm(dim=-1)
'''
HELPERS = "def sign():\n    return 1.0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules of a user: a selector, what it imports, and what it does not."""
    write(tmp_path, SELECTOR, HELPERS)
    (tmp_path / "provenance_unused.py").write_text("class Nothing: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget()
    yield tmp_path
    forget()


def write(folder: Path, selector: str, helpers: str) -> None:
    (folder / "provenance_corner.py").write_text(selector)
    (folder / "provenance_helpers.py").write_text(helpers)


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("provenance_")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def code(target: str = "provenance_corner.Corner") -> dict[str, str]:
    return code_of([target], modules=())


def test_what_a_class_imports_counts(folder: Path) -> None:
    before = code()
    own = {"provenance_corner", "provenance_helpers"}
    assert own == {name for name in before if not name.startswith("ivcprune")}
    assert {"ivcprune.selectors.base", "ivcprune.tokens.visual"} <= set(before)
    write(folder, SELECTOR, HELPERS.replace("1.0", "-1.0"))
    forget()
    after = code()
    assert {name for name in before if before[name] != after[name]} == {"provenance_helpers"}


def test_comments_layout_and_docstrings_do_not(folder: Path) -> None:
    before = code()
    selector = SELECTOR.replace('"""Docstring."""', '"""Another one."""  # and why')
    selector = selector.replace("return sign() * tokens", "return (\n            sign() * tokens")
    write(folder, selector.replace("dim=-1)", "dim=-1)\n        )"), f"'''New.'''\n\n{HELPERS}")
    forget()
    assert code() == before


def test_a_file_that_is_edited_is_not_what_a_process_runs(folder: Path) -> None:
    before = code()
    write(folder, SELECTOR.replace("0.25", "0.5"), HELPERS)
    assert code() == before
    importlib.reload(sys.modules["provenance_corner"])
    assert code() != before


def test_a_function_and_a_made_one_count_by_their_modules(folder: Path) -> None:
    (folder / "provenance_made.py").write_text(
        "from functools import partial\nfrom provenance_helpers import sign\nmade = partial(sign)\n"
    )
    assert set(code("provenance_made.made")) == {"provenance_made", "provenance_helpers"}


def test_a_package_that_only_passes_on_is_looked_through(folder: Path) -> None:
    package = folder / "provenance_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from .one import One\nfrom .two import Two\n__all__ = ['One', 'Two']\n"
    )
    (package / "one.py").write_text("from . import three\nclass One: ...\n")
    (package / "two.py").write_text("class Two: ...\n")
    (package / "three.py").write_text("import provenance_package.four\n")
    (package / "four.py").write_text("")
    names = {f"provenance_package.{name}" for name in ("one", "three", "four")}
    assert set(code("provenance_package.One")) == names
    (package / "__init__.py").write_text("from .one import One\nfrom .two import Two\nprint\n")
    forget()
    assert "provenance_package.two" in code("provenance_package.One")


def test_of_ours_what_matters_to_a_run() -> None:
    modules = code_of(["ivcprune.selectors.RandomSelector"])
    assert {
        "ivcprune.selectors.random",
        "ivcprune.pruning.pruner",
        "ivcprune.metrics.scoring",
        "ivcprune.models.qwen.processors",
        "ivcprune.models.deepseek_vl2.modeling",
    } <= set(modules)
    idle = ("ivcprune.selectors.divprune", "ivcprune.report", "ivcprune.jobs", "ivcprune.cli")
    assert not [name for name in modules if name.startswith(idle)]
    assert all(name.startswith("ivcprune") for name in modules)


def test_what_python_3_12_adds_to_a_format_is_no_code() -> None:
    tree = ast.parse("f'{x:>{w}}'")
    (spec,) = [node for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)][:1]
    assert isinstance(spec.format_spec, ast.JoinedStr)
    parts = spec.format_spec.values
    spec.format_spec.values = [part for part in parts if getattr(part, "value", None) != ""]
    without = plain(tree)
    spec.format_spec.values.append(ast.Constant(""))
    assert plain(tree) == without
    assert plain(ast.parse("['', x]")) != plain(ast.parse("[x]"))


def test_files_of_modules_are_told_as_long_as_they_are_what_was_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["ivcprune.selectors.base", "ivcprune.tokens.visual"]
    assert files_as_read(own) == [path_of(name) for name in own]
    assert files_as_read([*own, "provenance_corner"]) is None  # under another path, another one
    assert files_as_read(["ivcprune.no_such_module"]) is None
    monkeypatch.setattr("ivcprune.provenance.modules.source_of", lambda name: b"before an edit")
    assert files_as_read(own) is None
