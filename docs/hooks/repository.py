"""What mkdocs has to know about this repository.

The package `ivcprune` lies in `src/`, and mkdocstrings looks for a folder of the package's name: it
gets a link of that name. Links that lead out of `docs/`, such as ../README.md, lead to files in the
repository; the site has only the pages of `docs/`, so there the file is named instead.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "docs"  # `paths` of mkdocs.yml
OUTSIDE = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]+)\)")


def on_startup(**_: Any) -> None:
    """Before mkdocstrings looks which of its paths exist."""
    link = PACKAGES / "ivcprune"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(ROOT / "src", target_is_directory=True)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    def named(match: re.Match[str]) -> str:
        text, link = match.groups()
        target = posixpath.normpath(posixpath.join("docs", page.file.src_uri, "..", link))
        outside = not target.startswith("docs/") and (ROOT / target.partition("#")[0]).exists()
        return f"{text} (`{target}`)" if outside else match[0]

    return OUTSIDE.sub(named, markdown)
