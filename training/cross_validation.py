"""Repeated cross-validation, stratified by class, plain or by group, and what it says. No MLflow here."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from predictions import HIGHER_IS_BETTER, predict, score
from scipy.special import stdtrit
from sklearn.model_selection import GroupKFold, RepeatedKFold, RepeatedStratifiedKFold, StratifiedGroupKFold
from table import REGRESSION, Table
from tqdm import tqdm

FitFunction = Callable[[pd.DataFrame], Any]  # rows with their target -> a fitted estimator
Folds = list[tuple[np.ndarray, np.ndarray]]  # the places of the rows to train on, and of those to validate on


def make_folds(table: Table, rows: pd.DataFrame, folds: int, repeats: int, seed: int) -> Folds:
    """`folds` times `repeats` of them, stratified by class where there are classes."""
    kind = RepeatedKFold if table.task == REGRESSION else RepeatedStratifiedKFold
    return list(kind(n_splits=folds, n_repeats=repeats, random_state=seed).split(rows, rows[table.target.name]))


def make_group_folds(
    table: Table, rows: pd.DataFrame, groups: np.ndarray, folds: int, repeats: int, seed: int
) -> Folds | None:
    """The same with each group (a number for each row) whole in one part.

    None where that would be the same as without groups, or where a part would have no rows or the rest not every class.
    """
    target, count = rows[table.target.name].to_numpy(), len(np.unique(groups))
    fewest = min((len(np.unique(groups[target == value])) for value in table.classes), default=count)
    if count == len(rows) or fewest < folds:
        return None
    found: Folds = []
    for repeat in range(repeats):
        kind = GroupKFold if table.task == REGRESSION else StratifiedGroupKFold
        found += kind(n_splits=folds, shuffle=True, random_state=seed + repeat).split(rows, target, groups)
    complete = all(len(test) and set(table.classes) <= set(target[train]) for train, test in found)
    return found if complete else None


def cross_validate(
    fit: FitFunction, table: Table, columns: list[str], rows: pd.DataFrame, folds: Folds, quiet: bool = False
) -> pd.DataFrame:
    """The metrics of `score` (columns) on each validation fold (rows) of a model fitted on the rest."""
    return scores(table, rows, folds, out_of_fold(fit, table, columns, rows, folds, quiet))


def out_of_fold(
    fit: FitFunction, table: Table, columns: list[str], rows: pd.DataFrame, folds: Folds, quiet: bool = False
) -> list[pd.DataFrame]:
    """What a model fitted on the rest says of each validation fold.

    `fit` is called with the training part of a fold alone, so that a search inside it is nested: the
    validation fold takes no part in what is chosen. Its model reads `columns`.
    """
    found = []
    for train, test in tqdm(folds, "cross-validation", leave=False, disable=True if quiet else None):
        found.append(predict(fit(rows.iloc[train]), table, rows.iloc[test][columns]))
    return found


def scores(table: Table, rows: pd.DataFrame, folds: Folds, said: list[pd.DataFrame]) -> pd.DataFrame:
    """The metrics (columns) of what was said of each validation fold (rows)."""
    truth = rows[table.target.name]
    return pd.DataFrame([score(table, truth.iloc[test], one) for (_, test), one in zip(folds, said, strict=True)])


def summary(scores: pd.DataFrame, folds: int, prefix: str = "cv_") -> dict[str, float]:
    """Mean, 95 % interval and standard deviation over the folds of each metric: cv_accuracy_mean, _low, _high, _std."""
    found: dict[str, float] = {}
    for name in scores.columns:
        low, high = interval(scores[name], folds)
        if name in HIGHER_IS_BETTER:
            high = min(high, 1.0)
        else:
            low = max(low, 0.0)
        values = {"mean": scores[name].mean(), "std": spread(scores[name]), "low": low, "high": high}
        found |= {f"{prefix}{name}_{what}": float(np.round(value, 12)) for what, value in values.items()}
    return found


def interval(values: pd.Series, folds: int) -> tuple[float, float]:
    """95 % interval of the mean over all folds of a `folds`-fold cross-validation, which may be repeated.

    The corrected resampled t (Nadeau and Bengio 2003): the folds train on much the same rows, so that their figures
    spread less than those of as many models of rows of their own would.
    """
    half = float(stdtrit(len(values) - 1, 0.975)) * standard_error(values, folds)
    mean = float(values.mean())
    return mean - half, mean + half


def standard_error(values: pd.Series, folds: int) -> float:
    """Of the mean over all folds, corrected as in `interval`."""
    return spread(values) * math.sqrt(1 / len(values) + 1 / (folds - 1))


def spread(values: pd.Series) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
