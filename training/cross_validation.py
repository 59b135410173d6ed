"""Repeated stratified cross-validation. No MLflow here."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.model_selection import RepeatedStratifiedKFold
from tqdm import tqdm
from training_data import FEATURES, TARGET
from training_metrics import score

FitFunction = Callable[[pd.DataFrame], ClassifierMixin]  # passengers with their outcome -> a fitted classifier


def cross_validate(fit: FitFunction, passengers: pd.DataFrame, folds: int, repeats: int, seed: int) -> pd.DataFrame:
    """The metrics of `score` (columns) on each of `folds` times `repeats` validation folds (rows), fitted on the rest.

    `fit` is called with the training part of a fold alone, so that a search inside it is nested: the
    validation fold takes no part in what is chosen.
    """
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    rows = []
    for train, test in tqdm(
        splitter.split(passengers, passengers[TARGET]), "cross-validation", folds * repeats, leave=False, disable=None
    ):
        validation = passengers.iloc[test]
        probability = fit(passengers.iloc[train]).predict_proba(validation[FEATURES])[:, 1]
        rows.append(score(validation[TARGET].to_numpy(), probability))
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> dict[str, float]:
    """Mean and spread (standard deviation over the folds) of each metric: cv_accuracy_mean, cv_accuracy_std, …"""
    mean, spread = scores.mean(), scores.std(ddof=1).fillna(0)
    return {
        f"cv_{name}_{what}": float(np.round(values[name], 12))
        for name in scores.columns
        for what, values in (("mean", mean), ("std", spread))
    }
