"""Choose hyperparameters by trying some (Optuna's tree-structured Parzen estimator). No MLflow here."""

import sys
from collections.abc import Collection
from dataclasses import replace

import pandas as pd
from cross_validation import cross_validate, make_folds
from estimators import Recipe, Values
from table import REGRESSION

# Regularised on purpose: with a few hundred rows, what lies outside is noise fitted well.
SPACES = {
    "C": ("float", 0.01, 10.0, True),
    "alpha": ("float", 0.1, 100.0, True),
    "n_estimators": ("int", 50, 300, False),
    "max_depth": ("int", 2, 6, False),
    "min_samples_leaf": ("int", 2, 20, False),
    "learning_rate": ("float", 0.02, 0.2, True),
    "subsample": ("float", 0.5, 1.0, False),
}
INNER_FOLDS = 5


def search(
    recipe: Recipe, fixed: Collection[str], rows: pd.DataFrame, trials: int, quiet: bool
) -> tuple[Values, pd.DataFrame]:
    """The hyperparameters with the least log loss (of a number: rmse) in a 5-fold cross-validation, and all trials.

    Those in `fixed` keep the recipe's value. The log loss rather than the accuracy decides, as it is far less
    a matter of luck. Its value for the winner is too good by as much as was searched: use a nested estimate.
    """
    import optuna  # slow to import, and seldom needed

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = recipe.values
    folds = make_folds(recipe.table, rows, INNER_FOLDS, 1, recipe.seed)
    metric = "rmse" if recipe.table.task == REGRESSION else "log_loss"

    def objective(trial: optuna.Trial) -> float:
        tried = {name: suggest(trial, name) for name in values if name not in fixed}
        fit = replace(recipe, values=values | tried).fit
        scores = cross_validate(fit, recipe.table, recipe.columns, rows, folds)
        return float(scores[metric].mean())

    if all(name in fixed for name in values):
        trials = 1  # nothing to choose
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=recipe.seed))
    study.optimize(objective, n_trials=trials, show_progress_bar=not quiet and sys.stderr.isatty())
    tried = pd.DataFrame([{"trial": t.number, **values, **t.params, metric: t.value} for t in study.trials])
    return values | study.best_params, tried


def suggest(trial: object, name: str) -> object:
    """The trial's value for a hyperparameter, from its range in SPACES."""
    kind, low, high, log = SPACES[name]
    return getattr(trial, f"suggest_{kind}")(name, low, high, log=log)
