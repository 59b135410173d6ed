"""The pipeline run as a page to look at: the graph in colours, and the table under it."""

import html
from collections.abc import Mapping
from typing import Any

from pipeline.config import Request
from pipeline.planning.graph import order

COLOURS = {"executed": "#2e7d32", "reused": "#1565c0", "failed": "#c62828", "skipped": "#9e9e9e", "": "#eceff1"}
WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 44, 50, 22  # pixels


def page(request: Request, manifest: Mapping[str, Any]) -> str:
    """One self-contained HTML page: no script, nothing fetched."""
    rows = "".join(row(name, step) for name, step in manifest["steps"].items())
    heading = f"Pipeline run {manifest['run_id']}: {manifest['status']}"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{html.escape(heading)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222 }}
table {{ border-collapse: collapse }}
td, th {{ text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #ddd; vertical-align: top }}
code {{ font-size: 13px }}
</style>
<h1>{html.escape(heading)}</h1>
<p>{manifest["started"]}, {manifest["seconds"]:.1f} s, environments: {manifest["env_manager"]}</p>
{graph(request, manifest["steps"])}
<table><tr><th>step<th>state<th>seconds<th>run<th>inputs<th>outputs (SHA-256)<th>metrics</tr>{rows}</table>
</html>
"""


def row(name: str, step: Mapping[str, Any]) -> str:
    def listed(pairs: Mapping[str, str]) -> str:
        return "<br>".join(f"{html.escape(k)} <code>{html.escape(v)}</code>" for k, v in pairs.items())

    cells = [
        html.escape(name),
        f'<span style="color:{COLOURS[step["state"]]}">{step["state"]}</span><br>{html.escape(step["reason"])}',
        f"{step['seconds']:.1f}",
        f"<code>{(step['run_id'] or '')[:8]}</code>",
        listed({k: v["uri"] for k, v in step["inputs"].items()}),
        listed({k: v[:12] for k, v in step["outputs"].items()}),
        listed({k: f"{float(v):g}" for k, v in step["metrics"].items()}),
    ]
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"


def graph(request: Request, steps: Mapping[str, Any]) -> str:
    """The graph as SVG, drawn from left to right: each step one column after the last that it reads from."""
    column: dict[str, int] = {}
    for name in order(request.steps):
        column[name] = 1 + max((column[u] for u in request.steps[name].upstream()), default=-1)
    place: dict[str, tuple[int, int]] = {}
    for name in column:
        above = sum(column[other] == column[name] for other in place)
        place[name] = (column[name] * (WIDTH + GAP_X) + 4, above * (HEIGHT + GAP_Y) + 4)
    width = max(x for x, _ in place.values()) + WIDTH + 8
    height = max(y for _, y in place.values()) + HEIGHT + 8
    drawn = []
    for name, (x, y) in place.items():
        for upstream in request.steps[name].upstream():
            ux, uy = place[upstream]
            start, end = f"{ux + WIDTH},{uy + HEIGHT / 2}", f"{x},{y + HEIGHT / 2}"
            bend = f"{ux + WIDTH + GAP_X / 2},{uy + HEIGHT / 2} {x - GAP_X / 2},{y + HEIGHT / 2}"
            drawn.append(f'<path d="M{start} C{bend} {end}" fill="none" stroke="#90a4ae" stroke-width="2"/>')
    for name, (x, y) in place.items():
        state = steps[name]["state"] if name in steps else ""
        ink = "#fff" if state else "#607d8b"
        drawn.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{COLOURS[state]}"/>'
            f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 5}" fill="{ink}" text-anchor="middle">'
            f"{html.escape(name)}</text>"
        )
    return f'<svg width="{width}" height="{height}" font-size="14" role="img">{"".join(drawn)}</svg>'
