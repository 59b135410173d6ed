"""What a model goes by: what shuffling a column costs, and the rows that others are compared with. No MLflow here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from predictions import predict, probability_columns, roc_auc
from sklearn.metrics import r2_score
from table import REGRESSION, Table

REPEATS = 5
BACKGROUND_ROWS = 32  # more would say little more: docs/decisions/0004
MOST_ROWS = 5000  # of the holdout: more of them would take long and change little
AT_ONCE = 100_000  # rows that go through the model together


def measure(
    model: Any, table: Table, columns: Sequence[str], holdout: pd.DataFrame, said: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """The columns `column`, `metric`, `mean` and `std` of what the metric loses, the largest loss first.

    The metric is the ROC AUC, of a number R²; each column is shuffled five times over, by `seed`. `said` is what the
    model says of `holdout`.
    """
    number = table.task == REGRESSION
    rows = holdout if len(holdout) <= MOST_ROWS else holdout.sample(MOST_ROWS, random_state=seed)
    truth, features = rows[table.target.name], rows[list(columns)].reset_index(drop=True)

    def metric(predicted: pd.DataFrame) -> float:
        return r2_score(truth, predicted[table.target.name]) if number else roc_auc(table, truth, predicted)

    whole = metric(said.loc[rows.index])
    order, several = np.random.default_rng(seed), max(1, AT_ONCE // (REPEATS * len(rows)))
    losses = []
    for first in range(0, len(columns), several):  # scikit-learn's own goes through the model for each shuffling
        shuffled = []
        for column in columns[first : first + several]:
            for _ in range(REPEATS):
                values = features[column].array.take(order.permutation(len(rows)))
                shuffled.append(features.assign(**{column: values}))
        predicted = predict(model, table, pd.concat(shuffled, ignore_index=True))
        for start in range(0, len(predicted), len(rows)):
            losses.append(whole - metric(predicted.iloc[start : start + len(rows)]))
    lost = np.reshape(losses, (len(columns), REPEATS))
    found = pd.DataFrame(
        {"column": columns, "metric": "r2" if number else "roc_auc", "mean": lost.mean(axis=1), "std": lost.std(axis=1)}
    ).round(10)
    return found.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def background(model: Any, table: Table, columns: Sequence[str], rows: pd.DataFrame) -> pd.DataFrame:
    """At most BACKGROUND_ROWS of the rows, with their key, for every range of what the model says of them one."""
    said = predict(model, table, rows[list(columns)])
    figures = said[next(iter(probability_columns(table)), table.target.name)]
    order = np.argsort(figures.to_numpy(), kind="stable")
    count = min(len(rows), BACKGROUND_ROWS)
    places = (np.arange(count) + 0.5) * len(rows) / count
    chosen: pd.DataFrame = rows[[table.key.name, *columns]].iloc[order[places.astype(int)]]
    return chosen
