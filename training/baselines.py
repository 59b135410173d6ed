"""What a model must be better than: one answer for all, and what the best single column tells. No MLflow here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from cross_validation import FitFunction, Folds, cross_validate, make_folds
from declared_features import by_declaration
from predictions import HIGHER_IS_BETTER, METRICS
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from table import REGRESSION, Field, Table

DEPTH, LEAF = 3, 5  # of the tree on one column: up to eight groups of at least five rows


@dataclass(frozen=True)
class Baseline:
    """A rule that anybody could follow, and its metrics on each fold."""

    name: str  # for people
    column: str  # that it reads; "" for none
    scores: pd.DataFrame


def constant(table: Table, rows: pd.DataFrame, folds: Folds) -> Baseline:
    """The commonest class, with each class's share as its probability; of a number the mean."""
    kind = DummyRegressor() if table.task == REGRESSION else DummyClassifier(strategy="prior")

    def fit(part: pd.DataFrame) -> Any:
        return kind.fit(part[[table.key.name]], part[table.target.name])

    name = f"the mean {table.target.name} for all" if table.task == REGRESSION else f"one {table.target.name} for all"
    return Baseline(name, "", cross_validate(fit, table, [table.key.name], rows, folds, quiet=True))


def best_single_column(table: Table, columns: Sequence[str], rows: pd.DataFrame, folds: Folds, seed: int) -> Baseline:
    """The column of `columns` that tells most alone, judged on `folds`.

    It is chosen in a 3-fold cross-validation by the first metric of the task, by the second where two tie.
    """
    first, second = METRICS[table.task][:2]
    sign = 1 if second in HIGHER_IS_BETTER else -1
    few = make_folds(table, rows, 3, 1, seed)
    found = {one: single_column(table, one, rows, few).scores.mean() for one in columns}
    best = max(columns, key=lambda one: (round(found[one][first], 9), sign * found[one][second]))
    return single_column(table, best, rows, folds)


def single_column(table: Table, column: str, rows: pd.DataFrame, folds: Folds) -> Baseline:
    """A shallow tree on that column, as the declaration has it."""
    fit = shallow_tree(table, table.by_name[column])
    return Baseline(f"{column} alone", column, cross_validate(fit, table, [column], rows, folds, quiet=True))


def shallow_tree(table: Table, field: Field) -> FitFunction:
    alone = replace(table, fields=tuple(one for one in table.fields if one is field or one.role in ("key", "target")))
    kind = DecisionTreeRegressor if table.task == REGRESSION else DecisionTreeClassifier

    def fit(part: pd.DataFrame) -> Any:
        tree = kind(max_depth=DEPTH, min_samples_leaf=LEAF, random_state=0)
        return make_pipeline(by_declaration(alone, scaled=False), tree).fit(part[[field.name]], part[table.target.name])

    return fit
