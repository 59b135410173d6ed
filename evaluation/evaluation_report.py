"""The evaluation as a page to read. No MLflow here; matplotlib only where pictures are wanted."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from comparison import figure, word
from declaration import BINARY, REGRESSION, Table
from predictions import PROBABILITY

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.25rem .7rem;text-align:right}
td:first-child,th:first-child,td:nth-child(2){text-align:left}.small{color:#999}img{max-width:48%}"""


def page(verdict: dict[str, Any], table: Table, slices: pd.DataFrame, pictures: dict[str, bytes]) -> str:
    """The whole report as one HTML file; the same verdict gives the same text."""
    champion = verdict["champion"]
    metrics = [
        [name, figure(name, value), figure(name, champion["metrics"][name]) if champion else ""]
        for name, value in verdict["challenger"]["metrics"].items()
    ]
    parts = [
        f"<h1>Verdict: {escape(verdict['verdict'])}</h1><p>{escape(verdict['summary'])}</p>",
        html_list("Reasons", verdict["reasons"]) + html_list("Notes", verdict["notes"]),
        f"<h2>{escape(table.target.name)} of the {verdict['holdout']['rows']} held-out {escape(table.rows)}</h2>",
        html_table(["metric", "challenger", "champion"], metrics),
        comparison_text(verdict["difference"], table),
        "".join(
            f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
            for name, data in pictures.items()
        ),
        "<h2>Slices</h2>",
    ]
    if slices.empty:
        parts.append("<p>The declaration has no slices: give fields the key `slice` to judge models by them, too.</p>")
    else:
        parts += slice_tables(verdict, table, slices)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
        + "\n".join(parts)
        + "</html>\n"
    )


def comparison_text(found: dict[str, Any] | None, table: Table) -> str:
    if not found:
        return f"<p>There is no champion to compare with on {escape(table.rows)} that neither has seen.</p>"
    compared = "; ".join(
        f"{word(name)} {figure(name, found[name], '+')} (95 % bootstrap interval "
        f"{figure(name, found[f'{name}_low'], '+')} to {figure(name, found[f'{name}_high'], '+')})"
        for name in found
        if f"{name}_low" in found
    )
    if "mcnemar_p" in found:
        test = (
            f"Only the challenger is right on {found['only_challenger_right']}, only the champion on "
            f"{found['only_champion_right']}: McNemar's exact p = {found['mcnemar_p']:.3g}."
        )
    else:
        test = f"Wilcoxon's signed-rank test of the absolute errors: p = {found['wilcoxon_p']:.3g}."
    return (
        f"<p>Challenger minus champion on the {found['rows']} {escape(table.rows)} that neither has seen: "
        f"{compared}. {test}</p>"
    )


def slice_tables(verdict: dict[str, Any], table: Table, slices: pd.DataFrame) -> list[str]:
    """The slices, those of few rows in grey, and the largest gaps between them."""
    small, unit = verdict["gate"]["min_slice_size"], f" ({table.target.unit})" if table.target.unit else ""
    headers = {"count": table.rows, "mean": f"mean {table.target.name}{unit}", "mae": f"MAE{unit}"}
    headers["mean_error"] = f"mean error{unit}"
    if table.task == BINARY:
        label = table.class_label(table.positive)
        headers |= {"positive": f"{table.target.name}: {label}", "selected": f"predicted: {label}"}
    body = [[figure_of(str(name), value) for name, value in row.items()] for row in slices.to_dict("records")]
    gaps = verdict["largest_gaps"]
    compared = list(next(iter(gaps.values()), {}))
    return [
        f"<p>Grey: under {small} {escape(table.rows)}, which say little; the gate ignores them.</p>",
        html_table([headers.get(name, name) for name in map(str, slices)], body, (slices["count"] < small).tolist()),
        "<h2>Largest gaps</h2>",
        html_table(
            ["by", *(headers.get(name, name) for name in compared)],
            [[by, *(figure(name, value) for name, value in gap.items())] for by, gap in gaps.items()],
        ),
    ]


def figure_of(name: str, value: Any) -> str:
    return figure(name, value) if isinstance(value, float) else str(value)


def html_table(header: list[str], rows: list[list[str]], grey: Sequence[bool] = ()) -> str:
    """Rows of texts; those that are `grey` are drawn so."""
    lines = [f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in header)}</tr>"]
    for row, small in zip(rows, grey or [False] * len(rows), strict=True):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f"<tr{' class=small' if small else ''}>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def html_list(title: str, texts: list[str]) -> str:
    if not texts:
        return ""
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def escape(text: str) -> str:
    return html.escape(str(text))


def draw(table: Table, truth: np.ndarray, predictions: dict[str, pd.DataFrame]) -> dict[str, bytes]:
    """PNG pictures by title, for each model's predictions.

    Of two classes ROC, precision and recall, and calibration; of several a confusion matrix; of a number what was
    predicted against what is true.
    """
    if table.task == BINARY:
        return draw_curves(table, truth == table.positive, predictions)
    pictures = {}
    for name, predicted in predictions.items():
        said = predicted[table.target.name].to_numpy()
        if table.task == REGRESSION:
            title, data = f"Predicted and true: {name}", draw_scatter(table, truth, said, name)
        else:
            title, data = f"Confusion matrix: {name}", draw_confusion(table, truth, said, name)
        pictures[title] = data
    return pictures


def draw_curves(table: Table, outcome: np.ndarray, predictions: dict[str, pd.DataFrame]) -> dict[str, bytes]:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import precision_recall_curve, roc_curve

    pictures = {}
    for title, x, y in (
        ("ROC", "false positive rate", "true positive rate"),
        ("Precision and recall", "recall", "precision"),
        ("Calibration", "predicted probability", f"share of {table.class_label(table.positive)}"),
    ):
        picture, axes = new_picture(title, x, y)
        for name, predicted in predictions.items():
            probability = predicted[PROBABILITY].to_numpy()
            if title == "ROC":
                axes.plot(*roc_curve(outcome, probability)[:2], label=name)
            elif title == "Calibration":
                observed, expected = calibration_curve(outcome, probability, n_bins=5, strategy="quantile")
                axes.plot(expected, observed, "o-", label=name)
            else:
                precision, recall, _ = precision_recall_curve(outcome, probability)
                axes.step(recall, precision, where="post", label=name)
        if title != "Precision and recall":
            axes.plot([0, 1], [0, 1], "k:", lw=1)
        axes.legend()
        pictures[title] = png(picture)
    return pictures


def draw_confusion(table: Table, truth: np.ndarray, said: np.ndarray, model: str) -> bytes:
    picture, axes = new_picture(f"Confusion matrix: {model}", "predicted", table.target.name)
    counts = np.array(
        [[((truth == true) & (said == other)).sum() for other in table.classes] for true in table.classes]
    )
    axes.imshow(counts / counts.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    labels = [plain(table.class_label(value)) for value in table.classes]
    axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 3 else 0)
    axes.set_yticks(range(len(labels)), labels)
    axes.grid(visible=False)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts[row].sum() / 2
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    return png(picture)


def draw_scatter(table: Table, truth: np.ndarray, said: np.ndarray, model: str) -> bytes:
    unit = f" ({table.target.unit})" if table.target.unit else ""
    picture, axes = new_picture(f"Predicted and true: {model}", f"{table.target.name}{unit}", f"predicted{unit}")
    axes.scatter(truth, said, s=8, alpha=0.5)
    axes.axline((float(truth.mean()), float(truth.mean())), slope=1, color="k", ls=":", lw=1)
    return png(picture)


def new_picture(title: str, x: str, y: str) -> tuple[Any, Any]:
    """A matplotlib figure and its axes."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(4.5, 4), layout="constrained")
    axes = picture.add_subplot()
    axes.set(title=title, xlabel=plain(x), ylabel=plain(y))
    axes.grid(alpha=0.3)
    return picture, axes


def plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def png(picture: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(picture)
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
