"""Hooks of MkDocs: pages that mkdocs.yml does not name come last in the menu, and no page fetches anything."""

import logging
import re
from pathlib import Path
from typing import Any

LOG = logging.getLogger("mkdocs.plugins.site_pages")  # a warning there ends a strict build
FETCHED = re.compile(r"""<(?:script|img|link)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'> ]+)""")


def on_config(config: Any) -> None:
    """Add the decisions, and below them all others, to the configuration's `nav`."""
    pages = sorted(path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md"))
    more = [page for page in pages if page not in str(config.nav)]
    decisions = [page for page in more if "/decisions/" in page]
    others = [page for page in more if page not in decisions]
    config.nav += [{title: found} for title, found in (("Decisions", decisions), ("More", others)) if found]


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Warn where a browser would fetch something from elsewhere for the page."""
    if fetched := FETCHED.findall(output):
        LOG.warning("%s would have a browser fetch %s; see mkdocs.yml", page.file.src_uri, ", ".join(fetched))
