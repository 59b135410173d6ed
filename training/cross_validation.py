"""Repeated stratified cross-validation. No MLflow here."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.model_selection import RepeatedStratifiedKFold
from tqdm import tqdm
from training_data import FEATURES, TARGET
from training_metrics import score

Fit = Callable[[pd.DataFrame], ClassifierMixin]  # passengers with their outcome -> a fitted classifier


def cross_validate(fit: Fit, passengers: pd.DataFrame, folds: int, repeats: int, seed: int) -> pd.DataFrame:
    """The metrics of `score` (columns) on each of `folds` times `repeats` parts (rows), fitted on the others.

    `fit` is called with the training part of a fold alone, so that a search inside it is nested: the part that judges
    has had no say in what was chosen.
    """
    parts = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    rows = []
    for train, test in tqdm(
        parts.split(passengers, passengers[TARGET]), "cross-validation", folds * repeats, leave=False, disable=None
    ):
        held = passengers.iloc[test]
        probability = fit(passengers.iloc[train]).predict_proba(held[FEATURES])[:, 1]
        rows.append(score(held[TARGET].to_numpy(), probability))
    return pd.DataFrame(rows)


def summary(scores: pd.DataFrame) -> dict[str, float]:
    """Mean and spread (standard deviation over the folds) of each metric: cv_accuracy_mean, cv_accuracy_std, …"""
    mean, spread = scores.mean(), scores.std(ddof=1).fillna(0)
    return {
        f"cv_{name}_{what}": float(np.round(values[name], 12))
        for name in scores.columns
        for what, values in (("mean", mean), ("std", spread))
    }
