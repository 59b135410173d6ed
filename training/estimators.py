"""The models: stock scikit-learn pipelines on the raw cleaned columns. No MLflow here."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from training_data import TrainingError

# What each model takes, with the value used where none is given.
DEFAULTS: dict[str, dict[str, object]] = {
    "logistic_regression": {"C": 1.0},
    "random_forest": {"n_estimators": 200, "max_depth": None, "min_samples_leaf": 3},
    "gradient_boosting": {
        "n_estimators": 100,
        "max_depth": 4,
        "min_samples_leaf": 5,
        "learning_rate": 0.05,
        "subsample": 0.7,
    },
}
DEFAULTS["soft_vote"] = {
    "C": 1.0,
    "n_estimators": 100,
    "max_depth": 4,
    "min_samples_leaf": 3,
    "learning_rate": 0.05,
    "subsample": 0.7,
}


@dataclass(frozen=True)
class Range:
    """Values a hyperparameter may have: a type and inclusive bounds (`exclusive_low`: the lower one is exclusive)."""

    kind: type
    low: float
    high: float
    exclusive_low: bool = False
    or_none: bool = False  # the word "none" stands for no limit

    def parse(self, text: str) -> object:
        """The value that `text` means.

        Raises:
            ValueError: not of the type, or out of bounds.
        """
        if self.or_none and text.strip().lower() == "none":
            return None
        value = self.kind(text)
        if (
            not math.isfinite(value)
            or not (self.low < value if self.exclusive_low else self.low <= value)
            or value > self.high
        ):
            raise ValueError(text)
        return value

    def __str__(self) -> str:
        kind = "a whole number" if self.kind is int else "a number"
        low = f"over {self.low:g}" if self.exclusive_low else f"from {self.low:g}"
        return f"{kind} {low} to {self.high:g}" + (" or none" if self.or_none else "")


RANGES = {
    "n_estimators": Range(int, 1, 10_000),
    "max_depth": Range(int, 1, 100, or_none=True),
    "min_samples_leaf": Range(int, 1, 10_000),
    "learning_rate": Range(float, 0, 1, exclusive_low=True),
    "subsample": Range(float, 0, 1, exclusive_low=True),
    "C": Range(float, 0, 1e6, exclusive_low=True),
}


def hyperparameters(model: str, texts: dict[str, str]) -> dict[str, object]:
    """The model's hyperparameters: its defaults, and over them what is given as text ("" is not given).

    Raises:
        TrainingError: an unknown model, or values out of range; all of them are named.
    """
    problems = []
    if model not in DEFAULTS:
        problems.append(f"model={model!r} is not one of {', '.join(DEFAULTS)}")
    values = dict(DEFAULTS.get(model, {}))
    for name, text in texts.items():
        if not str(text).strip():
            continue
        try:
            value = RANGES[name].parse(text)
        except ValueError:
            problems.append(f"{name}={text!r} is not {RANGES[name]}")
        else:
            if name in values:
                values[name] = value
    if problems:
        raise TrainingError("; ".join(problems))
    return values


def build(model: str, values: dict[str, object], seed: int) -> ClassifierMixin:
    """An unfitted classifier that takes a frame of the raw cleaned columns. Nothing in it runs in parallel."""
    return MODELS[model](values, seed)


def logistic_regression(values: dict[str, object], seed: int) -> Pipeline:
    return make_pipeline(columns(scaled=True), LogisticRegression(C=values["C"], max_iter=1000, random_state=seed))


def random_forest(values: dict[str, object], seed: int) -> Pipeline:
    return make_pipeline(columns(), RandomForestClassifier(**values, random_state=seed))


def gradient_boosting(values: dict[str, object], seed: int) -> Pipeline:
    return make_pipeline(columns(), GradientBoostingClassifier(**values, random_state=seed))


def soft_vote(values: dict[str, object], seed: int) -> VotingClassifier:
    """The mean of the three models' probabilities; the forest's trees keep their full depth."""
    forest = {name: values[name] for name in ("n_estimators", "min_samples_leaf")}
    boosting = {name: values[name] for name in DEFAULTS["gradient_boosting"]}
    members = [
        ("logistic_regression", logistic_regression(values, seed)),
        ("random_forest", random_forest(forest, seed)),
        ("gradient_boosting", gradient_boosting(boosting, seed)),
    ]
    return VotingClassifier(members, voting="soft")


MODELS: dict[str, Callable[[dict[str, object], int], ClassifierMixin]] = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "gradient_boosting": gradient_boosting,
    "soft_vote": soft_vote,
}


def columns(scaled: bool = False) -> ColumnTransformer:
    """Raw columns to numbers: title, age, fare, class, relatives, family size, sex.

    Only stock parts and numpy's own functions, so that a saved model holds no code of ours.
    """
    scale = [StandardScaler()] if scaled else []
    family_size = FunctionTransformer(np.sum, kw_args={"axis": 1, "keepdims": True})
    return ColumnTransformer(
        [
            ("title", titles(), ["Name"]),
            (
                "number",
                make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *scale),
                ["Age", "Fare", "Pclass", "SibSp", "Parch"],
            ),
            (
                "family",
                make_pipeline(SimpleImputer(strategy="constant", fill_value=0), family_size, *scale),
                ["SibSp", "Parch"],
            ),
            (
                "category",
                make_pipeline(
                    SimpleImputer(strategy="most_frequent", keep_empty_features=True),
                    OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
                ),
                ["Sex"],
            ),
        ],
        sparse_threshold=0,  # dense: 11 columns
    )


def titles() -> Pipeline:
    """How often each title (Mr, Mrs, Miss, Master …) is in the name; rare ones and an empty name count as none."""
    return make_pipeline(
        SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True),
        FunctionTransformer(np.ravel),
        CountVectorizer(
            vocabulary=["Master", "Miss", "Mr", "Mrs"],
            lowercase=False,
            token_pattern=r"\b([A-Z][a-z]+)\.",  # noqa: S106 (a regular expression, no password)
        ),
    )
