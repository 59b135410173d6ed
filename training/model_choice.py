"""Choose among the task's models: the simplest that is within one standard error of the best. No MLflow here."""

from dataclasses import replace

import pandas as pd
from cross_validation import cross_validate, make_folds, make_group_folds, standard_error
from estimators import DEFAULTS, Recipe
from table import REGRESSION
from table_features import groups

FOLDS = 5


def chosen(recipe: Recipe, rows: pd.DataFrame) -> tuple[Recipe, pd.DataFrame]:
    """The recipe with a model chosen and its defaults; and what was tried: model, metric, mean and its standard error.

    They are judged by log loss (of a number: rmse) in a 5-fold cross-validation with each group whole, where there are
    groups. The standard error is that of the best one's mean (Breiman and others 1984, the rule of one standard error).
    """
    table = recipe.table
    together = groups(table, rows)
    folds = together and make_group_folds(table, rows, together[1], FOLDS, 1, recipe.seed)
    folds = folds or make_folds(table, rows, FOLDS, 1, recipe.seed)
    metric = "rmse" if table.task == REGRESSION else "log_loss"
    tried = []
    for model, values in DEFAULTS[table.task].items():  # the simplest first
        one = replace(recipe, model=model, values=values)
        losses = cross_validate(one.fit, table, one.columns, rows, folds)[metric]
        tried.append({"model": model, "metric": metric, "mean": losses.mean(), "error": standard_error(losses, FOLDS)})
    found = pd.DataFrame(tried).round(10)
    model = simplest(found)
    return replace(recipe, model=model, values=DEFAULTS[table.task][model]), found


def simplest(tried: pd.DataFrame) -> str:
    """Of models, the simplest first, the first one whose mean is within one standard error of the least."""
    best = tried.loc[tried["mean"].idxmin()]
    return str(tried.loc[tried["mean"] <= best["mean"] + best["error"], "model"].iloc[0])
