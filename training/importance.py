"""What shuffling a column costs a model: permutation importance, as numbers. No MLflow here."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from declaration import REGRESSION, Table
from predictions import predict, score
from sklearn.inspection import permutation_importance

REPEATS = 5
MOST_ROWS = 5000  # of the holdout: more of them would take long and change little


def measure(model: Any, table: Table, columns: Sequence[str], holdout: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The columns `column`, `metric`, `mean` and `std` of what the metric loses, the largest loss first.

    The metric is the ROC AUC, of a number R²; each column is shuffled five times over, by `seed`.
    """
    metric = "r2" if table.task == REGRESSION else "roc_auc"
    rows = holdout if len(holdout) <= MOST_ROWS else holdout.sample(MOST_ROWS, random_state=seed)

    def scoring(estimator: Any, shuffled: pd.DataFrame, target: pd.Series) -> float:
        return score(table, target, predict(estimator, table, shuffled))[metric]

    result = permutation_importance(
        model, rows[list(columns)], rows[table.target.name], scoring=scoring, n_repeats=REPEATS, random_state=seed
    )
    found = pd.DataFrame(
        {"column": columns, "metric": metric, "mean": result.importances_mean, "std": result.importances_std}
    ).round(10)
    return found.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
