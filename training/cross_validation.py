"""Repeated cross-validation, stratified by class. No MLflow here."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from declaration import REGRESSION
from estimators import Recipe
from predictions import predict, score
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from tqdm import tqdm

FitFunction = Callable[[pd.DataFrame], Any]  # rows with their target -> a fitted estimator


def cross_validate(
    fit: FitFunction, recipe: Recipe, rows: pd.DataFrame, folds: int, repeats: int, seed: int
) -> pd.DataFrame:
    """The metrics of `score` (columns) on each of `folds` times `repeats` validation folds (rows), fitted on the rest.

    `fit` is called with the training part of a fold alone, so that a search inside it is nested: the
    validation fold takes no part in what is chosen. Its model reads the recipe's columns.
    """
    table = recipe.table
    kind = RepeatedKFold if table.task == REGRESSION else RepeatedStratifiedKFold
    splits = kind(n_splits=folds, n_repeats=repeats, random_state=seed).split(rows, rows[table.target.name])
    found = []
    for train, test in tqdm(splits, "cross-validation", folds * repeats, leave=False, disable=None):
        validation = rows.iloc[test]
        said = predict(fit(rows.iloc[train]), table, validation[recipe.columns])
        found.append(score(table, validation[table.target.name], said))
    return pd.DataFrame(found)


def summary(scores: pd.DataFrame) -> dict[str, float]:
    """Mean and spread (standard deviation over the folds) of each metric: cv_accuracy_mean, cv_accuracy_std, …"""
    mean, spread = scores.mean(), scores.std(ddof=1).fillna(0)
    return {
        f"cv_{name}_{what}": float(np.round(values[name], 12))
        for name in scores.columns
        for what, values in (("mean", mean), ("std", spread))
    }
