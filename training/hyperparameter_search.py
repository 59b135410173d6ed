"""Choose hyperparameters by trying some (Optuna's tree-structured Parzen estimator). No MLflow here."""

import sys

import pandas as pd
from cross_validation import cross_validate
from estimators import build
from training_data import FEATURES, TARGET

# Regularised on purpose: with a few hundred rows, what lies outside is noise fitted well.
SPACES = {
    "C": ("float", 0.01, 10.0, True),
    "n_estimators": ("int", 50, 300, False),
    "max_depth": ("int", 2, 6, False),
    "min_samples_leaf": ("int", 2, 20, False),
    "learning_rate": ("float", 0.02, 0.2, True),
    "subsample": ("float", 0.5, 1.0, False),
}
INNER_FOLDS = 5


def search(
    model: str, values: dict[str, object], fixed: set[str], train: pd.DataFrame, trials: int, seed: int, quiet: bool
) -> tuple[dict[str, object], pd.DataFrame]:
    """The hyperparameters with the least log loss in a 5-fold cross-validation of `train`, and a table of all trials.

    Those in `fixed` keep their value from `values`. The log loss rather than the accuracy decides, as it is far less
    a matter of luck. Its value for the winner is too good by as much as was searched: use a nested estimate.
    """
    import optuna  # slow to import, and seldom needed

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial: optuna.Trial) -> float:
        tried = values | {name: suggest(trial, name) for name in values if name not in fixed}
        scores = cross_validate(lambda part: fitted(model, tried, seed, part), train, INNER_FOLDS, 1, seed)
        return float(scores["log_loss"].mean())

    if all(name in fixed for name in values):
        trials = 1  # nothing to choose
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials, show_progress_bar=not quiet and sys.stderr.isatty())
    table = pd.DataFrame([{"trial": t.number, **values, **t.params, "log_loss": t.value} for t in study.trials])
    return values | study.best_params, table


def suggest(trial: object, name: str) -> object:
    """The trial's value for a hyperparameter, from its range in SPACES."""
    kind, low, high, log = SPACES[name]
    return getattr(trial, f"suggest_{kind}")(name, low, high, log=log)


def fitted(model: str, values: dict[str, object], seed: int, part: pd.DataFrame) -> object:
    return build(model, values, seed).fit(part[FEATURES], part[TARGET])
