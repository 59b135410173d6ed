"""How much companions count, chosen on out-of-fold predictions, and what that is worth. No MLflow here."""

import numpy as np
import pandas as pd
from companions import Companions
from cross_validation import Folds
from predictions import PROBABILITY
from scipy.special import expit, logit
from sklearn.metrics import log_loss
from step_error import StepError
from table import BINARY, Table

WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


def refuse_without_groups(table: Table, rows: pd.DataFrame, repeats: int) -> None:
    """Raises StepError where there is nothing to correct by."""
    if table.task != BINARY or table.group not in rows.columns:
        raise StepError(
            f"group_correction=true is for tables of two classes that declare a group and have its column; "
            f"{table.name} is {table.task}, its group {table.group or 'not declared'}: leave it false"
        )
    if not repeats:
        raise StepError("group_correction=true goes by out-of-fold predictions, so cv_repeats must be at least 1")


def choose(table: Table, rows: pd.DataFrame, probabilities: np.ndarray) -> Companions:
    """The rows' companions, with the weight of least log loss on these rows, each one's own outcome left out."""
    found = Companions.of(table, rows, probabilities, 0.0)
    outcome, odds = (rows[table.target.name] == table.positive).to_numpy(), logit(probabilities)
    moves = found.moves(rows)
    losses = [round(log_loss(outcome, expit(odds + weight * moves), labels=[False, True]), 9) for weight in WEIGHTS]
    return Companions(found.key, found.group, WEIGHTS[int(np.argmin(losses))], found.residuals)


def corrected(
    table: Table, rows: pd.DataFrame, folds: Folds, said: list[pd.DataFrame]
) -> tuple[list[pd.DataFrame], Companions]:
    """What was said of each validation fold, corrected by what the rest tells; and the companions of all the rows.

    The folds are those of one repeat: each row is in one validation fold. The residuals of a fold's companions come
    from models that may have been trained on its rows: this draws them, and the correction, a little towards none.
    """
    probabilities = np.empty(len(rows))
    for (_, test), one in zip(folds, said, strict=True):
        probabilities[test] = one[PROBABILITY]
    found = [
        choose(table, rows.iloc[train], probabilities[train]).correct(table, one, rows.iloc[test])
        for (train, test), one in zip(folds, said, strict=True)
    ]
    return found, choose(table, rows, probabilities)
