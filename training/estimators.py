"""The models of each task: stock scikit-learn pipelines on the columns of a clean table. No MLflow here."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn import ensemble, linear_model
from sklearn.pipeline import Pipeline, make_pipeline
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION, Table
from table_features import transformer

Values = dict[str, Any]  # hyperparameter -> value
TREES: dict[str, Values] = {
    "random_forest": {"n_estimators": 200, "max_depth": None, "min_samples_leaf": 3},
    "gradient_boosting": {
        "n_estimators": 100,
        "max_depth": 4,
        "min_samples_leaf": 5,
        "learning_rate": 0.05,
        "subsample": 0.7,
    },
}
VOTE = {"n_estimators": 100, "max_depth": 4, "min_samples_leaf": 3, "learning_rate": 0.05, "subsample": 0.7}
CLASSIFIERS: dict[str, Values] = {"logistic_regression": {"C": 1.0}, **TREES, "soft_vote": {"C": 1.0, **VOTE}}
REGRESSORS: dict[str, Values] = {"linear_regression": {"alpha": 1.0}, **TREES, "soft_vote": {"alpha": 1.0, **VOTE}}
# What each task's models take, with the value used where none is given; the simplest model first.
DEFAULTS = {BINARY: CLASSIFIERS, MULTICLASS: CLASSIFIERS, REGRESSION: REGRESSORS}
CLASS_KINDS = {
    "logistic_regression": linear_model.LogisticRegression,
    "random_forest": ensemble.RandomForestClassifier,
    "gradient_boosting": ensemble.GradientBoostingClassifier,
}
REGRESSION_KINDS = {
    "linear_regression": linear_model.Ridge,
    "random_forest": ensemble.RandomForestRegressor,
    "gradient_boosting": ensemble.GradientBoostingRegressor,
}
AUTO = "auto"  # one of the task's models, which model_choice finds
MODELS = tuple(dict.fromkeys([*CLASSIFIERS, *REGRESSORS, AUTO]))


def hyperparameters(task: str, model: str, given: Mapping[str, Any]) -> Values:
    """The model's hyperparameters: its defaults, and over them what is given.

    Raises:
        StepError: the task has no such model, or the model no such hyperparameter.
    """
    if model == AUTO:
        if given:
            raise StepError(
                f"{', '.join(given)}: model=auto takes each model as it is; leave it empty, or name a model"
            )
        return {}
    models = DEFAULTS[task]
    if model not in models:
        raise StepError(f"model={model!r} is not for the task {task}, which has {', '.join(models)}")
    if foreign := [name for name in given if name not in models[model]]:
        raise StepError(
            f"{', '.join(foreign)}: not a parameter of model={model}, which has {', '.join(models[model])}; "
            "leave it empty"
        )
    return {**models[model], **given}


@dataclass(frozen=True)
class Recipe:
    """What a model is made by, but for the rows."""

    table: Table
    model: str
    values: Values
    seed: int

    @functools.cached_property
    def columns(self) -> list[str]:
        """The features that the model reads, in the declaration's order.

        Raises:
            StepError: there is none, or features.py names a column that is no feature.
        """
        table = self.table
        named: set[str] = set()
        for _, _, columns in transformer(table, scaled=False).transformers:
            named.update([columns] if isinstance(columns, str) else columns)
        read = [one.name for one in table.features if one.name in named]
        if others := sorted(named - set(read)):
            raise StepError(
                f"features.py reads {', '.join(others)}, which the table {table.name} does not have as a feature; "
                "change features.py, or the field's role in dataset.yaml"
            )
        if not read:
            raise StepError(f"the table {table.name} has no field with the role feature; a model needs one to read")
        return read

    def fit(self, rows: pd.DataFrame) -> Any:
        """The model, fitted on rows as `Table.read` gives them."""
        return self.build().fit(rows[self.columns], rows[self.table.target.name])

    def build(self) -> Pipeline:
        """An unfitted estimator that takes a frame of `columns`. Nothing in it runs in parallel.

        The three of soft_vote share the columns, made once: scaled, which the trees' splits do not mind.
        """
        scaled = self.model == "soft_vote" or self.model.endswith("_regression")
        return make_pipeline(transformer(self.table, scaled), self.estimator())

    def estimator(self) -> Any:
        """What stands behind the columns."""
        if self.model != "soft_vote":
            return self.member(self.model, self.values)
        takes = {name: set(values) for name, values in DEFAULTS[self.table.task].items() if name != "soft_vote"}
        takes["random_forest"].discard("max_depth")  # its trees keep their full depth
        members = [
            (name, self.member(name, {one: self.values[one] for one in self.values if one in own}))
            for name, own in takes.items()
        ]
        if self.table.task == REGRESSION:
            return ensemble.VotingRegressor(members)
        return ensemble.VotingClassifier(members, voting="soft")

    def member(self, model: str, values: Values) -> Any:
        """One estimator of numbers."""
        kind = (REGRESSION_KINDS if self.table.task == REGRESSION else CLASS_KINDS)[model]
        more = {"max_iter": 1000} if model == "logistic_regression" else {}
        return kind(**values, **more, random_state=self.seed)
