"""The plots of a training. No MLflow here; matplotlib is imported when this is."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from predictions import PROBABILITY, probability_columns
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, confusion_matrix, precision_recall_curve, roc_curve
from table import BINARY, REGRESSION, Table

MOST_COLUMNS = 25  # in the picture of their importance
MOST_COUNTED = 15  # classes: with more, the numbers of a confusion matrix would overlap
mpl.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True})


def draw(table: Table, holdout: pd.DataFrame, said: pd.DataFrame, importance: pd.DataFrame, folder: Path) -> None:
    """Write the task's pictures into the folder: `said` is what `predict` gives for the holdout."""
    truth = holdout[table.target.name]
    pictures = {"permutation_importance": importances(importance)}
    if table.task == REGRESSION:
        pictures |= {"predicted_against_true": against(table, truth, said), "residuals": residuals(table, truth, said)}
    else:
        pictures |= {"roc": roc(table, truth, said), "confusion_matrix": confusion(table, truth, said)}
    if table.task == BINARY:
        outcome, probability = (truth == table.positive).to_numpy(), said[PROBABILITY].to_numpy()
        pictures["precision_recall"] = precision_recall(outcome, probability)
        pictures["calibration"] = calibration(table, outcome, probability)
    folder.mkdir()
    for name, picture in pictures.items():
        # Without metadata, so that the same picture is the same bytes.
        FigureCanvasAgg(picture)
        picture.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})


def new_axes(title: str, x: str, y: str, size: tuple[float, float] = (5, 4.5)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    axes = figure.add_subplot()
    axes.set(title=plain(title), xlabel=plain(x), ylabel=plain(y))
    return figure, axes


def plain(text: str) -> str:
    """Text as it is, where matplotlib would read what is between two dollars as a formula."""
    return text[:60].replace("$", r"\$")


def quantity(table: Table) -> str:
    return table.target.name + (f" ({table.target.unit})" if table.target.unit else "")


def roc(table: Table, truth: pd.Series, said: pd.DataFrame) -> Figure:
    """The curve; of several classes, one for each against the rest."""
    figure, axes = new_axes(f"ROC, {table.target.name}", "false positive rate", "true positive rate")
    for column, value in probability_columns(table).items():
        if 0 < (truth == value).mean() < 1:
            false, true, _ = roc_curve(truth == value, said[column])
            axes.plot(false, true, label=plain(f"{table.class_label(value)}, area {auc(false, true):.3f}"))
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.legend(loc="lower right")
    return figure


def precision_recall(outcome: np.ndarray, probability: np.ndarray) -> Figure:
    precision, recall, _ = precision_recall_curve(outcome, probability)
    figure, axes = new_axes("Precision and recall", "recall", "precision")
    axes.step(recall, precision, where="post")
    axes.axhline(outcome.mean(), color="k", ls=":", lw=1)
    return figure


def calibration(table: Table, outcome: np.ndarray, probability: np.ndarray) -> Figure:
    observed, predicted = calibration_curve(outcome, probability, n_bins=8, strategy="quantile")
    share = f"{table.target.name}: share of {table.class_label(table.positive)}"
    figure, axes = new_axes("Calibration, eight equal groups", "predicted probability", share)
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.plot(predicted, observed, "o-")
    return figure


def confusion(table: Table, truth: pd.Series, said: pd.DataFrame) -> Figure:
    counts = confusion_matrix(truth, said[table.target.name], labels=list(table.classes))
    side = 4.5 + 0.25 * len(counts)
    name = table.target.name
    figure, axes = new_axes("Confusion matrix", f"predicted {name}", f"true {name}", (side, side - 0.5))
    axes.imshow(counts, cmap="Blues")
    axes.grid(False)
    places, labels = range(len(counts)), [plain(table.class_label(value)) for value in table.classes]
    axes.set(xticks=places, yticks=places, yticklabels=labels)
    axes.set_xticks(places, labels, rotation=0 if len(labels) == 2 else 45)
    for (row, column), count in np.ndenumerate(counts if len(counts) <= MOST_COUNTED else counts[:0]):
        axes.text(column, row, str(count), ha="center", color="white" if count > counts.max() / 2 else "black")
    return figure


def against(table: Table, truth: pd.Series, said: pd.DataFrame) -> Figure:
    figure, axes = new_axes("Predicted against true", f"true {quantity(table)}", "predicted")
    ends = [truth.min(), truth.max()]
    axes.plot(ends, ends, "k:", lw=1)
    axes.plot(truth, said[table.target.name], "o", ms=3, alpha=0.5)
    return figure


def residuals(table: Table, truth: pd.Series, said: pd.DataFrame) -> Figure:
    figure, axes = new_axes("Residuals", f"predicted {quantity(table)}", "true less predicted")
    axes.axhline(0, color="k", ls=":", lw=1)
    axes.plot(said[table.target.name], truth - said[table.target.name], "o", ms=3, alpha=0.5)
    return figure


def importances(found: pd.DataFrame) -> Figure:
    """What `importance.measure` found."""
    shown = found.head(MOST_COLUMNS)[::-1]
    word = {"r2": "R²", "roc_auc": "ROC AUC"}[shown["metric"].iloc[0]]
    figure, axes = new_axes("Permutation importance", f"loss of {word} when the column is shuffled", "")
    axes.barh([plain(name) for name in shown["column"]], shown["mean"], xerr=shown["std"], alpha=0.8)
    return figure
