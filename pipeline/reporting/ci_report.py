"""How a pipeline run differs from another, as Markdown for a comment on a pull request."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Request
from pipeline.reporting.tables import format_number

MOST_LINES = 200  # of a text's differences
TEXTS = (".md", ".txt")  # outputs whose differences are shown line by line
Outputs = Mapping[str, Mapping[str, Path]]  # where they lie, by step and name


def ci_report(
    request: Request,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    notes: Mapping[str, str],
    differences: Mapping[str, Sequence[str]],
    places: tuple[Outputs, Outputs],
) -> str:
    """Markdown: how it ended, what each step says of its result, the metrics of both runs, what else differs.

    `old`, `new`: manifests. `notes`: what a step says of its result, by step. `differences`: a step's, a line each.
    `places`: of the outputs of both runs, as far as they are on this machine.
    """
    states = [step["state"] for step in new["steps"].values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    parts = [f"### Pipeline {new['status']}: {counts}"]
    for name, step in new["steps"].items():
        if step["state"] == "failed":
            parts.append(f"**{name} failed**: {escaped(step['reason'])}")
    parts += [f"**{name}**: {escaped(text)}" for name, text in notes.items()]
    parts.append(metrics_table(request, old, new))
    lines = [f"{name}: {line}" for name, found in differences.items() for line in found]
    parts.append(folded("What differs", lines) if lines else "No step differs.")
    for name in new["steps"]:
        before, now = (place.get(name, {}) for place in places)
        for text in sorted(before.keys() & now.keys()):
            if text.endswith(TEXTS) and (changed := text_differences(before[text], now[text])):
                parts.append(folded(f"{text} of {name}", changed, "diff"))
    return "\n\n".join(part for part in parts if part) + "\n"


def metrics_table(request: Request, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The metrics that the configuration names, of each step, before and now; "" where there are none."""
    rows = []
    for name, step in new["steps"].items():
        before = old["steps"].get(name, {"metrics": {}})["metrics"]
        for metric in request.steps[name].summary_metrics if name in request.steps else ():
            values = [metrics.get(metric) for metrics in (before, step["metrics"])]
            if values != [None, None]:
                was, now = ("" if value is None else format_number(float(value)) for value in values)
                mark = "" if values[0] == values[1] else " **changed**"
                rows.append(f"| {escaped(name)} | {escaped(metric)} | {was} | {now}{mark} |")
    return "\n".join(["| step | metric | before | now |", "| --- | --- | ---: | ---: |", *rows]) if rows else ""


def text_differences(before: Path, now: Path) -> list[str]:
    """The lines in which two texts differ, with some around them; the last of too many says how many are left out."""
    old, new = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (before, now))
    lines = list(difflib.unified_diff(old, new, "before", "now", lineterm="", n=1))
    left = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], f"… and {left} lines more"] if left > 0 else lines


def folded(title: str, lines: Sequence[str], language: str = "text") -> str:
    """Lines that are shown on request, in a fence that none of them ends."""
    longest = max((len(line) - len(line.lstrip("`")) for line in lines), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join([f"{fence}{language}", *lines, fence])
    return f"<details><summary>{escaped(title)}</summary>\n\n{body}\n\n</details>"


def escaped(text: str) -> str:
    """A text as one line that Markdown takes as it is."""
    marks = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]|~#"} | {"<": "&lt;", ">": "&gt;", "@": "@\u200b"})
    return " ".join(text.split()).translate(marks)
