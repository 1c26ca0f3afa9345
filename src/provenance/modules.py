"""Modules as files: where they are, what they say, and what they import."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from .syntax import is_text_alone

PACKAGE = __package__.partition(".")[0]


def followed(importer: str) -> Iterator[str]:
    """What a module imports of its own package, of the folder that it lies in, and of ours."""
    for name in [*_packages_of(importer), *_imported(importer)]:
        if source_of(name) is not None:
            yield name


def _packages_of(name: str) -> list[str]:
    """The packages around a module whose own files do something when it is imported."""
    parts = name.split(".")
    around = [".".join(parts[:length]) for length in range(1, len(parts))]
    return [package for package in around if does_something(package)]


@cache
def does_something(name: str) -> bool:
    """Whether the file of a module has more than imports, docstrings and `__all__`."""
    tree = tree_of(name)
    return tree is not None and not all(_passes_on(node) for node in tree.body)


def _passes_on(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(name, ast.Name) and name.id == "__all__" for name in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom) or is_text_alone(node)


def _is_own(imported: str, importer: str) -> bool:
    top, importing = imported.partition(".")[0], importer.partition(".")[0]
    return top in (importing, PACKAGE) or _lies_beside(top, importing)


@cache
def _lies_beside(top: str, other: str) -> bool:
    """Whether two modules lie in one folder of the user's, not in one of installed packages."""
    places = [path_of(top), path_of(other)]
    folders = {
        place.resolve().parents[1] if place.name == "__init__.py" else place.resolve().parent
        for place in places
        if place is not None
    }
    installed = {Path(path).resolve() for path in sysconfig.get_paths().values()}
    return None not in places and len(folders) == 1 and folders.isdisjoint(installed)


def _imported(importer: str) -> Iterator[str]:
    for node in _import_statements(source_of(importer) or b""):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_own(alias.name, importer):
                    yield alias.name
        elif _is_own(o := _origin(node, importer), importer):
            for alias in node.names:
                yield from _home(o, alias.name, frozenset())


@cache
def _import_statements(source: bytes) -> list[ast.Import | ast.ImportFrom]:
    """Those of a module; the runs of a sweep ask for them again and again."""
    tree = parsed(source)
    nodes = _statements(tree) if tree is not None else ()
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements, and what holds some, but those that are for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):  # holds none, and is most of a tree
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _statements(other)
            continue
        yield child
        yield from _statements(child)


def _origin(node: ast.ImportFrom, importer: str) -> str:
    """The absolute name of what `from ... import` speaks of."""
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    parts = parts[: len(parts) - node.level + int(_is_package(importer))]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _is_package(name: str) -> bool:
    spec = _spec(name)
    return spec is not None and spec.submodule_search_locations is not None


def _home(origin: str, member: str, seen: frozenset[str]) -> Iterator[str]:
    """Where a name that is imported from `origin` is defined, through packages that pass it on."""
    own = f"{origin}.{member}"
    if source_of(own) is not None:
        yield own
        return
    passed = None if origin in seen else _passed_on(origin).get(member)
    if passed is None:
        yield origin
        return
    yield from _home(*passed, seen | {origin})


@cache
def _passed_on(package: str) -> dict[str, tuple[str, str]]:
    """By name, what the file of a package imports itself: from where, as what."""
    tree = tree_of(package)
    if tree is None or not _is_package(package):
        return {}
    return {
        alias.asname or alias.name: (_origin(node, package), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def source_of(name: str) -> bytes | None:
    """What the file of a module held when it was first asked for; None without one.

    Read anew only when the module is imported anew: a file that is edited while this process runs
    is not what the process runs.
    """
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if name not in _READ or _READ[name][0] is not loaded:
        path = path_of(name)
        _READ[name] = (loaded, path.read_bytes() if path is not None and path.is_file() else None)
    return _READ[name][1]


def files_as_read(names: Iterable[str]) -> list[Path] | None:
    """The files of modules of this package.

    None where a module is of another one, or where its file is no longer what this process read:
    somebody edited it since.
    """
    files = []
    for name in names:
        path = path_of(name)
        if name.partition(".")[0] != PACKAGE or path is None or not path.is_file():
            return None
        if path.read_bytes() != source_of(name):
            return None
        files.append(path)
    return files


_READ: dict[str, tuple[object, bytes | None]] = {}
"""By module, how it was imported and what its file held."""


def tree_of(name: str) -> ast.Module | None:
    """The syntax tree of a module; None of one that is not written in Python."""
    return parsed(source_of(name) or b"")


@cache
def parsed(source: bytes) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def path_of(name: str) -> Path | None:
    """The file of a module; None where it has none, or there is no such module."""
    spec = _spec(name)
    has_file = spec is not None and spec.has_location and spec.origin is not None
    return Path(str(spec.origin)) if spec is not None and has_file else None


@cache
def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):  # a name of no module, or __main__
        return None


def forget_places() -> None:
    """Looks for modules anew: the search path, or what lies there, may have changed."""
    for function in (_spec, _passed_on, _lies_beside, does_something):
        function.cache_clear()
