"""The plots of a training. No MLflow here; matplotlib is imported when this is."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.base import ClassifierMixin
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.metrics import auc, confusion_matrix, precision_recall_curve, roc_curve
from training_data import FEATURES, TARGET

mpl.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True})


def draw(model: ClassifierMixin, holdout: pd.DataFrame, probability: np.ndarray, folder: Path, seed: int) -> None:
    """Write roc.png, precision_recall.png, calibration.png, confusion_matrix.png and permutation_importance.png."""
    survived = holdout[TARGET].to_numpy()
    folder.mkdir()
    for name, picture in {
        "roc": roc(survived, probability),
        "precision_recall": precision_recall(survived, probability),
        "calibration": calibration(survived, probability),
        "confusion_matrix": confusion(survived, probability),
        "permutation_importance": importance(model, holdout, seed),
    }.items():
        # Without metadata, so that the same picture is the same bytes.
        FigureCanvasAgg(picture)
        picture.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})


def new_axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4.5))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def roc(survived: np.ndarray, probability: np.ndarray) -> Figure:
    false, true, _ = roc_curve(survived, probability)
    figure, axes = new_axes(f"ROC, area {auc(false, true):.3f}", "false positive rate", "true positive rate")
    axes.plot(false, true)
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    return figure


def precision_recall(survived: np.ndarray, probability: np.ndarray) -> Figure:
    precision, recall, _ = precision_recall_curve(survived, probability)
    figure, axes = new_axes("Precision and recall", "recall", "precision")
    axes.step(recall, precision, where="post")
    axes.axhline(survived.mean(), color="k", ls=":", lw=1)
    return figure


def calibration(survived: np.ndarray, probability: np.ndarray) -> Figure:
    observed, predicted = calibration_curve(survived, probability, n_bins=8, strategy="quantile")
    figure, axes = new_axes("Calibration, eight equal groups", "predicted probability", "share that survived")
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.plot(predicted, observed, "o-")
    return figure


def confusion(survived: np.ndarray, probability: np.ndarray) -> Figure:
    counts = confusion_matrix(survived, probability >= 0.5, labels=[0, 1])
    figure, axes = new_axes("Confusion matrix", "predicted", "true")
    axes.imshow(counts, cmap="Blues")
    axes.grid(False)
    axes.set(xticks=[0, 1], xticklabels=["died", "survived"], yticks=[0, 1], yticklabels=["died", "survived"])
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", color="white" if count > counts.max() / 2 else "black")
    return figure


def importance(model: ClassifierMixin, holdout: pd.DataFrame, seed: int) -> Figure:
    """What shuffling a raw column costs in ROC AUC on the holdout, five times over."""
    result = permutation_importance(
        model, holdout[FEATURES], holdout[TARGET], scoring="roc_auc", n_repeats=5, random_state=seed
    )
    order = np.argsort(result.importances_mean)
    figure, axes = new_axes("Permutation importance", "loss of ROC AUC when the column is shuffled", "")
    axes.barh(
        [FEATURES[i] for i in order], result.importances_mean[order], xerr=result.importances_std[order], alpha=0.8
    )
    return figure
