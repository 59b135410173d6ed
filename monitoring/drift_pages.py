"""The verdict for people (HTML) and machines (JSON): the same bytes for the same verdict. No MLflow here."""

import html
import json
import math
from typing import Any

from drift import Finding, Verdict
from page import folded, page, table

EVIDENTLY = "evidently.html"


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


def drift_page(content: dict[str, Any], sentence: str) -> str:
    """The verdict as a page, what has drifted first; everything in it is escaped."""
    found = sorted(content["comparisons"], key=lambda row: not row["drifted"])
    parts = [
        f"""<p>{content["rows_current"]} current rows against {content["rows_reference"]} reference rows. Where nothing
has changed, any flag at all comes up in at most {content["alpha"]:.1%} of the runs (Holm's correction over all
comparisons, of which those weigh more that the model relies on). What is lasting is of all lists that were watched for
this model, and comes up in at most as many models' lives. The statistic, 0 (alike) to 1, says how much has changed;
below its least value a change does not count.</p>""",
        table(["compared", "test", "statistic", "least", "p", "p adjusted", ""], map(row_cells, found), range(2, 6)),
        "".join(f"<p>{html.escape(note)}</p>" for note in content["notes"]),
    ]
    if "evidently" in content:
        parts.append(
            f'<p><a href="{EVIDENTLY}">Evidently\'s pictures of the same columns</a>: its numbers are these; its '
            "sentence on the whole table, which counts columns alone, is not this verdict.</p>"
        )
    if content["figures"]:
        figures = ((name, figure(value)) for name, value in content["figures"].items())
        parts.append(folded("Figures", table(["figure", "value"], figures, [1])))
    return page(sentence, "\n".join(parts))


def row_cells(row: dict[str, Any]) -> list[str]:
    numbers = (row["statistic"], row["least"], row["p_value"], row["adjusted_p_value"])
    return [row["name"], row["test"], *map(figure, numbers), "drift" if row["drifted"] else ""]


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
