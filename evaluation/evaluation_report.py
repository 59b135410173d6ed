"""The evaluation as a page to read. No MLflow here; matplotlib only where pictures are wanted."""

import base64
import html
import io
from typing import Any

import numpy as np
import pandas as pd

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .7rem;text-align:right}
td:first-child,th:first-child,td:nth-child(2){text-align:left}.small{color:#999}img{max-width:48%}"""


def page(verdict: dict[str, Any], table: pd.DataFrame, pictures: dict[str, bytes]) -> str:
    """The whole report as one HTML file; the same verdict gives the same text."""
    champion = verdict["champion"]
    metrics = [
        [name, f"{value:.4f}", f"{champion['metrics'][name]:.4f}" if champion and champion["metrics"] else ""]
        for name, value in verdict["challenger"]["metrics"].items()
    ]
    small = verdict["gate"]["min_slice_size"]
    parts = [
        f"<h1>Verdict: {escape(verdict['verdict'])}</h1><p>{escape(verdict['summary'])}</p>",
        html_list("Reasons", verdict["reasons"]) + html_list("Notes", verdict["notes"]),
        f"<h2>On the {verdict['holdout']['rows']} held-out passengers</h2>",
        html_table(["metric", "challenger", "champion"], metrics),
        comparison_text(verdict["difference"]),
        "".join(
            f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
            for name, data in pictures.items()
        ),
        f"<h2>Slices</h2><p>Grey: under {small} passengers, which say little; the gate ignores them.</p>",
        slice_table(table, small),
        "<h2>Largest gaps</h2>",
        html_table(
            ["by", "accuracy", "share predicted to survive"],
            [[by, f"{gap['accuracy']:.3f}", f"{gap['selected']:.3f}"] for by, gap in verdict["largest_gaps"].items()],
        ),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
        + "\n".join(parts)
        + "</html>\n"
    )


def comparison_text(found: dict[str, Any] | None) -> str:
    if not found:
        return "<p>There is no champion to compare with on passengers that neither has seen.</p>"
    return (
        f"<p>Challenger minus champion on the {found['rows']} passengers that neither has seen: accuracy "
        f"{found['accuracy']:+.3f} (95 % bootstrap interval {found['accuracy_low']:+.3f} to "
        f"{found['accuracy_high']:+.3f}), ROC AUC {found['roc_auc']:+.3f} ({found['roc_auc_low']:+.3f} to "
        f"{found['roc_auc_high']:+.3f}). Only the challenger is right on {found['only_challenger_right']}, only the "
        f"champion on {found['only_champion_right']}: McNemar's exact p = {found['mcnemar_p']:.3g}.</p>"
    )


def slice_table(table: pd.DataFrame, small: int) -> str:
    """The slices as an HTML table; those of fewer than `small` passengers are grey."""
    header = ["by", "slice", "passengers", "survived", "predicted to survive", "accuracy"]
    body = "".join(
        f"<tr{' class=small' if row['count'] < small else ''}><td>{escape(row['by'])}</td>"
        f"<td>{escape(row['slice'])}</td><td>{row['count']}</td><td>{row['survived']:.2f}</td>"
        f"<td>{row['selected']:.2f}</td><td>{row['accuracy']:.3f}</td></tr>"
        for row in table.to_dict("records")
    )
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in header)}</tr>{body}</table>"


def html_table(header: list[str], rows: list[list[str]]) -> str:
    cells = [[f"<th>{escape(name)}</th>" for name in header]]
    cells += [[f"<td>{escape(cell)}</td>" for cell in row] for row in rows]
    return "<table>" + "".join(f"<tr>{''.join(row)}</tr>" for row in cells) + "</table>"


def html_list(title: str, texts: list[str]) -> str:
    if not texts:
        return ""
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def escape(text: str) -> str:
    return html.escape(str(text))


def draw(survived: np.ndarray, probabilities: dict[str, np.ndarray]) -> dict[str, bytes]:
    """ROC, precision-recall and calibration of each model in one picture each, and the confusion matrices, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import precision_recall_curve, roc_curve

    pictures = {}
    for title, x, y in (
        ("ROC", "false positive rate", "true positive rate"),
        ("Precision and recall", "recall", "precision"),
        ("Calibration", "predicted probability", "share that survived"),
    ):
        figure = Figure(figsize=(4.5, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
        for name, probability in probabilities.items():
            if title == "ROC":
                axes.plot(*roc_curve(survived, probability)[:2], label=name)
            elif title == "Calibration":
                observed, predicted = calibration_curve(survived, probability, n_bins=5, strategy="quantile")
                axes.plot(predicted, observed, "o-", label=name)
            else:
                precision, recall, _ = precision_recall_curve(survived, probability)
                axes.step(recall, precision, where="post", label=name)
        if title != "Precision and recall":
            axes.plot([0, 1], [0, 1], "k:", lw=1)
        axes.legend()
        FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
        pictures[title] = buffer.getvalue()
    return pictures
