"""What a fitted model says of rows, and how good that is: alike in every step. No MLflow here.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

from typing import Any

import numpy as np
import pandas as pd
from table import BINARY, MULTICLASS, REGRESSION, Table

DIGITS = 10  # of a prediction: how a library sums, over one row or many, shows only after the 15th
PROBABILITY = "probability"
# Classifiers whose predict() is the class with the largest probability, so that one pass gives both.
BY_PROBABILITY = {
    "ExtraTreesClassifier",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
    "VotingClassifier",
}
HIGHER_IS_BETTER = {"accuracy", "balanced_accuracy", "roc_auc", "r2"}
METRICS = {  # task -> what `score` gives, the first being what the task is judged by first
    BINARY: ("accuracy", "roc_auc", "log_loss", "brier"),
    MULTICLASS: ("accuracy", "balanced_accuracy", "roc_auc", "log_loss"),
    REGRESSION: ("r2", "rmse", "mae"),
}


def probability_columns(table: Table) -> dict[str, Any]:
    """The columns of probabilities, each with the class that it is of: one for two classes, none for a number."""
    if table.task == BINARY:
        return {PROBABILITY: table.positive}
    return {f"{PROBABILITY}_{table.class_text(value)}": value for value in table.classes}


def predict(estimator: Any, table: Table, rows: pd.DataFrame) -> pd.DataFrame:
    """The target's column and those of `probability_columns` for rows of the model's columns; index as `rows` has it.

    The prediction is the estimator's own: of two classes the one with the larger probability.
    """
    if table.task == REGRESSION:
        values = np.round(np.asarray(estimator.predict(rows), float), DIGITS)
        return pd.DataFrame({table.target.name: values}, index=rows.index)
    probabilities = estimator.predict_proba(rows)
    classes = np.asarray(estimator.classes_)
    predicted = classes[probabilities.argmax(axis=1)]
    final_estimator = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    # Near a tie, and for classifiers with a rule of their own, the model's own predict() decides.
    ordered = np.sort(probabilities, axis=1)
    undecided = ordered[:, -1] - ordered[:, -2] < 2e-9
    if type(final_estimator).__name__ not in BY_PROBABILITY:
        undecided[:] = True
    if undecided.any():
        predicted[undecided] = estimator.predict(rows[undecided])
    places = {value: place for place, value in enumerate(classes.tolist())}
    found = {table.target.name: predicted}
    for name, value in probability_columns(table).items():
        found[name] = np.round(probabilities[:, places[value]], DIGITS)
    return pd.DataFrame(found, index=rows.index)


def score(table: Table, truth: pd.Series | np.ndarray, predicted: pd.DataFrame) -> dict[str, float]:
    """The metrics of METRICS for the task: `truth` as `Table.read` has it, `predicted` as `predict` gives it.

    Log loss is in nats; the areas under ROC curves are 0.5 where one class alone is there, and with several classes
    the mean of each against the rest; rmse and mae are in the target's unit.
    """
    from sklearn import metrics

    truth = np.asarray(truth)
    said = predicted[table.target.name].to_numpy()
    if table.task == REGRESSION:
        spread = len(truth) > 1 and np.ptp(truth) > 0
        return {
            "r2": float(metrics.r2_score(truth, said)) if spread else 0.0,
            "rmse": float(metrics.root_mean_squared_error(truth, said)),
            "mae": float(metrics.mean_absolute_error(truth, said)),
        }
    columns = probability_columns(table)
    probabilities = predicted[list(columns)].to_numpy(float)
    found = {"accuracy": float((truth == said).mean())}
    if table.task == BINARY:
        outcome = (truth == table.positive).astype(int)
        probability = probabilities[:, 0]
        found["roc_auc"] = roc_auc(table, truth, predicted)
        found["log_loss"] = float(metrics.log_loss(outcome, probability, labels=[0, 1]))
        found["brier"] = float(metrics.brier_score_loss(outcome, probability, pos_label=1))
        return found
    found["balanced_accuracy"] = float(np.mean([(said[truth == value] == value).mean() for value in np.unique(truth)]))
    found["roc_auc"] = roc_auc(table, truth, predicted)
    chosen = np.array([list(columns.values()).index(value) for value in truth.tolist()])
    likelihood = probabilities[np.arange(len(truth)), chosen] / probabilities.sum(axis=1)
    found["log_loss"] = float(-np.log(np.clip(likelihood, np.finfo(float).eps, 1)).mean())
    return found


def roc_auc(table: Table, truth: pd.Series | np.ndarray, predicted: pd.DataFrame) -> float:
    """The area under the ROC curve of a classification, as in `score`."""
    truth = np.asarray(truth)
    areas = [
        rank_auc(truth == value, np.unique(predicted[name], return_inverse=True)[1])
        for name, value in probability_columns(table).items()
        if 0 < (truth == value).mean() < 1
    ]
    return float(np.mean(areas)) if areas else 0.5


def rank_auc(positive: np.ndarray, rank: np.ndarray) -> float:
    """ROC AUC of booleans and the ranks (0, 1, …; ties alike) of their probabilities; 0.5 where undefined.

    What scikit-learn's function says, in a twentieth of its time: it checks what it is given.
    """
    above = np.bincount(rank, weights=positive)
    below = np.bincount(rank) - above
    pairs = above.sum() * below.sum()
    return float((above * (below.cumsum() - below / 2)).sum() / pairs) if pairs else 0.5
