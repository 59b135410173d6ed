"""The verdict for people (HTML) and machines (JSON): the same bytes for the same verdict. No MLflow here."""

import html
import json
import math
from typing import Any

from drift import Finding, Verdict

STYLE = """<style>
.verdict { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
.verdict table { border-collapse: collapse } .verdict td, .verdict th { padding: .2em .8em; text-align: left }
.verdict th { border-bottom: 2px solid #888 } .verdict .drifted { background: #fde0dc }
.verdict .number { text-align: right; font-variant-numeric: tabular-nums }
</style>"""


def as_dict(verdict: Verdict, figures: dict[str, float], notes: list[str], alpha: float) -> dict[str, Any]:
    """What drift.json holds: the decision first, then each comparison."""
    return {
        "drift_detected": verdict.drift_detected,
        "drifted": verdict.drifted,
        "drifted_share": rounded(verdict.drifted_share),
        "too_few": verdict.too_few,
        "rows_reference": verdict.rows_reference,
        "rows_current": verdict.rows_current,
        "alpha": alpha,
        "figures": {name: rounded(value) for name, value in sorted(figures.items())},
        "notes": notes,
        "comparisons": [as_row(finding) for finding in verdict.findings],
    }


def as_row(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "test": finding.test,
        "statistic": rounded(finding.statistic),
        "least": finding.min_effect,
        "p_value": rounded(finding.p_value),
        "adjusted_p_value": rounded(finding.adjusted_p_value),
        "drifted": finding.drifted,
    }


def rounded(value: float) -> float | None:
    """Ten significant digits: what a library's order of summation cannot reach. JSON knows no NaN."""
    return float(f"{value:.10g}") if math.isfinite(value) else None


def as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def headline(verdict: Verdict) -> str:
    """The decision in one sentence."""
    if verdict.drifted:
        return f"Drift: {', '.join(verdict.drifted)}."
    if verdict.too_few:
        return f"Not judged: {verdict.too_few}."
    return "No drift."


def summary(content: dict[str, Any], sentence: str) -> str:
    """The verdict as an HTML fragment; everything in it is escaped."""
    rows = "".join(row_html(row) for row in content["comparisons"])
    figures = "".join(
        f"<tr><td>{html.escape(name)}</td><td class=number>{figure(value)}</td></tr>"
        for name, value in content["figures"].items()
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in content["notes"])
    return f"""{STYLE}
<div class=verdict>
<h1>{html.escape(sentence)}</h1>
<p>{content["rows_current"]} current rows against {content["rows_reference"]} reference rows. Where nothing has changed,
any flag at all comes up in at most {content["alpha"]:.1%} of the runs (Holm's correction over all comparisons, of which
those weigh more that the model relies on). What is lasting is of all lists that were watched for this model, and comes
up in at most as many models' lives. The statistic, 0 (alike) to 1, says how much has changed; below its least value a
change does not count.</p>
<table><tr><th>compared</th><th>test</th><th>statistic</th><th>least</th><th>p</th><th>p adjusted</th><th></th></tr>
{rows}</table>
{f"<ul>{notes}</ul>" if notes else ""}
{f"<h2>Figures</h2><table>{figures}</table>" if figures else ""}
</div>
"""


def row_html(row: dict[str, Any]) -> str:
    numbers = (row["statistic"], row["least"], row["p_value"], row["adjusted_p_value"])
    cells = "".join(f"<td class=number>{figure(value)}</td>" for value in numbers)
    mark = ' class="drifted"' if row["drifted"] else ""
    name, test = html.escape(row["name"]), html.escape(row["test"])
    return f"<tr{mark}><td>{name}</td><td>{test}</td>{cells}<td>{'drift' if row['drifted'] else ''}</td></tr>\n"


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def page(body: str) -> str:
    """A whole page around `body`, where Evidently's is not wanted."""
    return f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Drift</title><body>\n{body}</body></html>\n'
