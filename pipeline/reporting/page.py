"""A page to look at, with one look for all pages: light and dark, wide and narrow; no script, nothing fetched.

This file is of kit/, which `make kit` copies to those that use it: edit it there.
"""

import html
from collections.abc import Iterable, Sequence

STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--paper:#fff;--card:#f6f8fa;--link:#0a5fb4;
--good:#1a7f37;--bad:#b4231a;--note:#7a4d00;--calm:#0a5fb4}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b3;--line:#3d444d;--paper:#0d1117;--card:#161b22;
--link:#79b8ff;--good:#57d364;--bad:#ff8a80;--note:#e3b341;--calm:#79b8ff}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:64rem;margin:0 auto;
padding:1rem;overflow-wrap:anywhere}
a{color:var(--link)}h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.2rem;margin-top:2rem}
.small,small{color:var(--soft);font-size:.875rem}
.good{color:var(--good)}.bad{color:var(--bad)}.note{color:var(--note)}.calm{color:var(--calm)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;margin:1rem 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.card b{display:block;font-size:1.25rem}
.wide{overflow-x:auto}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
.grid>div{min-width:0}svg text{fill:currentColor;font:11px system-ui,sans-serif}
table{border-collapse:collapse;margin:.75rem 0;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}
.number{text-align:right}
details{margin:.5rem 0}summary{cursor:pointer}
code,pre{font-size:.85rem}pre{white-space:pre-wrap}
img,svg{max-width:100%;height:auto}svg.graph text{font-size:14px}svg.graph tspan{font-size:12px}
"""


def page(title: str, body: str) -> str:
    """A whole HTML file; the same title and body give the same text. `body` is HTML, the title is text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f"<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n</body></html>\n"
    )


def cards(found: Iterable[tuple[str, str, str]]) -> str:
    """A row of cards, each of a label, a value and a few words, all of them text."""
    texts = ([html.escape(text) for text in one] for one in found)
    drawn = (f'<div class="card"><small>{label}</small><b>{value}</b>{words}</div>' for label, value, words in texts)
    return f'<div class="cards">{"".join(drawn)}</div>'


def table(
    header: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = (), small: Iterable[int] = ()
) -> str:
    """A table of text; the columns `numbers` are set to the right, the rows `small` are drawn small and in grey."""
    return html_table(header, ([html.escape(str(cell)) for cell in row] for row in rows), numbers, small)


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), small: Iterable[int] = ()
) -> str:
    """A table whose cells are HTML already."""
    right, grey = set(numbers), set(small)

    def line(cells: Sequence[str], kind: str, marks: str = "") -> str:
        marked = (
            f"<{kind}{' class=number' if place in right else ''}>{cell}</{kind}>" for place, cell in enumerate(cells)
        )
        return f"<tr{marks}>{''.join(marked)}</tr>"

    lines = [line([html.escape(name) for name in header], "th")]
    lines += [line(row, "td", " class=small" * (place in grey)) for place, row in enumerate(rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def folded(title: str, body: str) -> str:
    """HTML that a click unfolds."""
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"
