"""A hook of MkDocs: pages that mkdocs.yml does not name come last in the menu, so that none is left out of it."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> None:
    """Add the decisions, and below them all others, to the configuration's `nav`."""
    pages = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    more = [page for page in pages if page not in str(config.nav)]
    decisions = [page for page in more if "/decisions/" in page]
    others = [page for page in more if page not in decisions]
    config.nav += [{title: found} for title, found in (("Decisions", decisions), ("More", others)) if found]
