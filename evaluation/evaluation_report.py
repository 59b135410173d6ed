"""The evaluation as a page to read. No MLflow here; matplotlib only where pictures are wanted."""

import base64
import contextlib
import html
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from comparison import figure, word
from page import page as html_page
from page import table as html_table
from predictions import PROBABILITY
from table import BINARY, REGRESSION, Table


def page(verdict: dict[str, Any], table: Table, slices: pd.DataFrame, pictures: dict[str, bytes]) -> str:
    """The whole report as one HTML file; the same verdict gives the same text."""
    champion = verdict["champion"]
    metrics = [
        [name, figure(name, value), figure(name, champion["metrics"][name]) if champion else ""]
        for name, value in verdict["challenger"]["metrics"].items()
    ]
    parts = [
        f"<p>{escape(verdict['summary'])}</p>",
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
    return html_page(f"Verdict: {verdict['verdict']}", "\n".join(parts))


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
    shown = slices.apply(lambda one: [figure(one.name, x) for x in one] if one.dtype == float else one.astype(str))
    gaps = verdict["largest_gaps"]
    compared = list(next(iter(gaps.values()), {}))
    return [
        f"<p>Grey: under {small} {escape(table.rows)}, which say little; the gate ignores them.</p>",
        html_table(
            [headers.get(name, name) for name in map(str, slices)],
            shown.to_numpy().tolist(),
            small=np.flatnonzero(slices["count"] < small).tolist(),
        ),
        "<h2>Largest gaps</h2>",
        html_table(
            ["by", *(headers.get(name, name) for name in compared)],
            [[by, *(figure(name, value) for name, value in gap.items())] for by, gap in gaps.items()],
        ),
    ]


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
    from sklearn import metrics
    from sklearn.calibration import CalibrationDisplay

    pictures: dict[str, bytes] = {}
    if table.task == BINARY:
        share = f"share of {table.class_label(table.positive)}"
        for title, x, y, display, options in (
            ("ROC", "false positive rate", "true positive rate", metrics.RocCurveDisplay, {}),
            ("Precision and recall", "recall", "precision", metrics.PrecisionRecallDisplay, {}),
            ("Calibration", "predicted probability", share, CalibrationDisplay, {"n_bins": 5, "strategy": "quantile"}),
        ):
            with picture(pictures, title, x, y) as axes:
                for name, predicted in predictions.items():
                    outcome, probability = truth == table.positive, predicted[PROBABILITY].to_numpy()
                    display.from_predictions(outcome, probability, name=name, ax=axes, **options)
        return pictures
    for name, predicted in predictions.items():
        said = predicted[table.target.name].to_numpy()
        if table.task == REGRESSION:
            unit = f" ({table.target.unit})" if table.target.unit else ""
            with picture(pictures, f"Predicted and true: {name}", f"predicted{unit}", table.target.name + unit) as axes:
                metrics.PredictionErrorDisplay.from_predictions(
                    truth, said, kind="actual_vs_predicted", random_state=0, scatter_kwargs={"s": 8}, ax=axes
                )
        else:
            labels = [plain(table.class_label(value)) for value in table.classes]
            with picture(pictures, f"Confusion matrix: {name}", "predicted", table.target.name) as axes:
                metrics.ConfusionMatrixDisplay.from_predictions(
                    truth,
                    said,
                    labels=list(table.classes),
                    display_labels=labels,
                    cmap="Blues",
                    colorbar=False,
                    ax=axes,
                )
    return pictures


@contextlib.contextmanager
def picture(pictures: dict[str, bytes], title: str, x: str, y: str) -> Iterator[Any]:
    """Axes to draw on; what was drawn is then added to `pictures`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.add_subplot()
    yield axes
    axes.set(title=title, xlabel=plain(x), ylabel=plain(y))
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    pictures[title] = buffer.getvalue()


def plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")
