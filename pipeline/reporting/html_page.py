"""The pipeline run as a page to look at: what came of it, the graph in colours, and each step."""

import base64
import html
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Request
from pipeline.planning.graph import order
from pipeline.reporting.page import cards, folded, html_table, page, table
from pipeline.reporting.tables import counts, format_duration, format_number
from pipeline.states import State

FILLS = {"executed": "#1a7f37", "reused": "#0a5fb4", "failed": "#b4231a", "skipped": "#6e7781"}
WORDS = {"executed": "good", "reused": "calm", "failed": "bad", "skipped": "small"}  # the classes of the style sheet
WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 48, 24, 36  # pixels
BARS_FROM, BARS_WIDTH, BAR_HEIGHT = 150, 560, 22  # pixels
PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}
PAGES = (".html", ".md")  # what people look at
MOST_PICTURES, MOST_BYTES = 6, 300_000  # of a step; of a picture


def run_page(
    request: Request,
    manifest: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Mapping[str, Path]] | None = None,
    server: str = "",
) -> str:
    """One self-contained HTML page: no script, nothing fetched.

    `before` is the manifest of the run before, to tell what differs; `outputs` are each step's artifacts on this
    machine by name, which are linked, and whose pictures are shown; `server` is the address that leads to a run when
    its ID is put behind.
    """
    steps = manifest["steps"]
    states = [State(step["state"]) for step in steps.values()]
    failed = [name for name, step in steps.items() if step["state"] == State.FAILED]
    what = f"{', '.join(failed)} failed" if failed else counts(states) or "nothing ran"
    run = manifest["run_id"]
    body = [
        f"<p>{html.escape(manifest['started'])}, pipeline run {link(server, run)}.</p>",
        cards(
            [
                ("status", manifest["status"], what),
                ("time", format_duration(manifest["seconds"]), f"environments: {manifest['env_manager']}"),
                ("commit", str(manifest.get("commit") or "none")[:8], "with changes" if manifest.get("dirty") else ""),
            ]
        ),
        *(note(name, step["note"]) for name, step in steps.items() if step.get("note")),
        f"<h2>The graph</h2>{graph(request, steps)}",
    ]
    if drawn := timeline(steps, manifest["seconds"]):
        body.append(f"<h2>The time</h2>{drawn}")
    differences = [
        [name, text]
        for name, step in steps.items()
        for text in manifest_differences((before or {"steps": {}})["steps"].get(name), step)
    ]
    if differences:
        body.append(f"<h2>What differs from the run before</h2>{table(['step', 'difference'], differences)}")
    body.append("<h2>The steps</h2>")
    for name, step in steps.items():
        body.append(section(name, step, request, (outputs or {}).get(name, {}), server))
    return page(f"Pipeline run: {what}", "\n".join(body))


def manifest_differences(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """How a step's outputs and metrics differ between two manifests, a line each."""
    if old is None:
        return []
    lines = []
    for name in sorted({**old["outputs"], **new["outputs"]}):
        if old["outputs"].get(name) != new["outputs"].get(name):
            verb = "changed" if name in old["outputs"] and name in new["outputs"] else "is new"
            lines.append(f"output {name} {verb if name in new['outputs'] else 'is no longer made'}")
    for name in sorted({**old["metrics"], **new["metrics"]}):
        values = [step["metrics"].get(name) for step in (old, new)]
        if values[0] != values[1]:
            texts = ["none" if value is None else format_number(float(value)) for value in values]
            texts = texts if texts[0] != texts[1] else [str(value) for value in values]  # they differ further behind
            lines.append(f"{name} {' → '.join(texts)}")
    return lines


def note(name: str, text: str) -> str:
    return f"<p><b>{html.escape(name)}</b>: {html.escape(text)}</p>"


def link(server: str, run_id: str | None) -> str:
    """A run's ID, as a link where a server shows it."""
    if not run_id:
        return "none"
    shown = f'<code title="{html.escape(run_id)}">{html.escape(run_id[:8])}</code>'
    return f'<a href="{html.escape(server + run_id)}">{shown}</a>' if server else shown


def section(name: str, step: Mapping[str, Any], request: Request, outputs: Mapping[str, Path], server: str) -> str:
    """What came of a step: its state and why, the figures that people want, its pictures; the rest folded."""
    asked = request.steps[name].summary_metrics if name in request.steps else ()
    metrics = {metric: format_number(float(value)) for metric, value in step["metrics"].items()}
    first = {metric: metrics[metric] for metric in asked if metric in metrics} or dict(list(metrics.items())[:3])
    rest = [[metric, value] for metric, value in metrics.items() if metric not in first]
    took = f", {format_duration(step['seconds'])}" if step["seconds"] else ""
    made = {n: f"{server}{step['run_id']}/artifacts/{n}" if server else place.as_uri() for n, place in outputs.items()}
    pages = ", ".join(anchor(name, address) for name, address in made.items() if name.endswith(PAGES))
    parts = [
        f"<h3>{html.escape(name)} <small class={WORDS[step['state']]}>{step['state']}{took}</small></h3>",
        f"<p>{html.escape(step['reason'])}{'; ' if step['reason'] else ''}run {link(server, step['run_id'])}</p>",
        cards((metric, value, "") for metric, value in first.items()) if first else "",
        f"<p>pages: {pages}</p>" if pages else "",
        *(picture(path) for path in list(pictures(outputs.values()))[:MOST_PICTURES]),
        folded(f"{len(rest)} more metrics", table(["metric", "value"], rest, numbers=[1])) if rest else "",
    ]
    files = [["reads", html.escape(n), html.escape(i["uri"]), code(i["sha256"])] for n, i in step["inputs"].items()]
    files += [["makes", anchor(n, made.get(n)), "", code(sha256)] for n, sha256 in step["outputs"].items()]
    files += [["log", anchor(n, made[n]), "", ""] for n in made if n not in step["outputs"]]
    if files:
        parts.append(folded("inputs and outputs", html_table(["", "name", "from", "SHA-256"], files)))
    return "\n".join(part for part in parts if part)


def anchor(text: str, address: str | None) -> str:
    """A text, as a link where there is something to lead to."""
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>' if address else html.escape(text)


def code(sha256: str) -> str:
    return f"<code>{html.escape(sha256[:12])}</code>"


def pictures(outputs: Iterable[Path]) -> Iterable[Path]:
    """The pictures among artifacts and in the folders among them, as far as they are small."""
    for output in outputs:
        for path in sorted(output.rglob("*")) if output.is_dir() else [output]:
            if path.suffix in PICTURES and path.is_file() and path.stat().st_size <= MOST_BYTES:
                yield path


def picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.stem)}" width=460 src="data:{PICTURES[path.suffix]};base64,{data}">'


def timeline(steps: Mapping[str, Any], seconds: float) -> str:
    """When each step ran, of the `seconds` that the run took, as SVG; "" where none did."""
    ran = {name: step for name, step in steps.items() if step.get("start") is not None}
    if not ran or seconds <= 0:
        return ""
    drawn, height = [], len(ran) * BAR_HEIGHT
    for number, (name, step) in enumerate(ran.items()):
        x = BARS_FROM + step["start"] / seconds * BARS_WIDTH
        width = max(2.0, step["seconds"] / seconds * BARS_WIDTH)
        left = x + width + 6 < BARS_FROM + BARS_WIDTH
        at, anchored = (x + width + 6, "start") if left else (x - 6, "end")
        y = number * BAR_HEIGHT
        drawn.append(
            f'<text x="{BARS_FROM - 8}" y="{y + 15}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{BAR_HEIGHT - 6}" rx="3" '
            f'fill="{FILLS[step["state"]]}"/>'
            f'<text x="{at:.1f}" y="{y + 15}" text-anchor="{anchored}">{format_duration(step["seconds"])}</text>'
        )
    width = BARS_FROM + BARS_WIDTH + 60
    label = f"When each step ran, of {format_duration(seconds)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{label}">{"".join(drawn)}</svg>'
    )


def graph(request: Request, steps: Mapping[str, Any]) -> str:
    """The graph as SVG, drawn from top to bottom: each step one row below the last that it reads from.

    What runs on request alone is drawn where it ran, or where nothing did.
    """
    row: dict[str, int] = {}
    for name in order(request.steps):
        if name in steps or not steps or not request.steps[name].manual:
            row[name] = 1 + max((row[u] for u in request.steps[name].upstream() if u in row), default=-1)
    place: dict[str, tuple[int, int]] = {}
    beside: Counter[int] = Counter()  # steps in each row so far
    for name in row:
        place[name] = (beside[row[name]] * (WIDTH + GAP_X) + 4, row[name] * (HEIGHT + GAP_Y) + 4)
        beside[row[name]] += 1
    width = max(x for x, _ in place.values()) + WIDTH + 8
    height = max(y for _, y in place.values()) + HEIGHT + 8
    drawn = []
    for name, (x, y) in place.items():
        for upstream in (u for u in request.steps[name].upstream() if u in place):
            ux, uy = place[upstream]
            start, end = f"{ux + WIDTH / 2},{uy + HEIGHT}", f"{x + WIDTH / 2},{y}"
            bend = f"{ux + WIDTH / 2},{uy + HEIGHT + GAP_Y / 2} {x + WIDTH / 2},{y - GAP_Y / 2}"
            drawn.append(f'<path d="M{start} C{bend} {end}" fill="none" stroke="#8b949e" stroke-width="2"/>')
    for name, (x, y) in place.items():
        step = steps.get(name)
        fill, ink = (FILLS[step["state"]], "#fff") if step else ("#d1d9e0", "#1f2328")
        took = format_duration(step["seconds"]) if step and step["seconds"] else step["state"] if step else ""
        drawn.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}"/>'
            f'<text x="{x + WIDTH / 2}" y="{y + (20 if took else 29)}" style="fill:{ink}" text-anchor="middle">'
            f'{html.escape(name)}<tspan x="{x + WIDTH / 2}" dy="18" font-size="12">{took}</tspan></text>'
        )
    label = "The steps, each below those that it reads from"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" class="graph" '
        f'font-family="system-ui,sans-serif" role="img" aria-label="{label}">{"".join(drawn)}</svg>'
    )
