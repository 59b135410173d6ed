"""Why a model says what it says of a row: what each column adds to the prediction. No MLflow here.

These are Shapley values (Lundberg and Lee 2017, as in shap's permutation explainer): what a prediction is beside the
mean one of the model's background rows, shared out among the columns. Each background row is turned into the row that
is explained, column by column, in an order of its own; what a step changes is that column's, and the mean over the
background rows is its contribution. So they add up exactly, and a column that the model does not use has none. They
tell what the model goes by, not what would happen if the column were another.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from predictions import DIGITS, probability_columns
from saved_model import BACKGROUND, SavedModel
from step_error import StepError
from table import MULTICLASS

STRONGEST = 3
AT_ONCE = 50_000  # rows that the model is asked about together


def strongest(model: SavedModel, rows: pd.DataFrame) -> list[dict[str, float]]:
    """Of each row the columns that contribute most, the largest first, with four digits; none that contribute nothing.

    Raises:
        StepError: the model has no background.
    """
    found = []
    size = max(1, AT_ONCE // (len(background(model)) * (len(model.columns) + 1)))
    for start in range(0, len(rows), size):
        part = rows.iloc[start : start + size]
        _, contributed = contributions(model, part)
        order = np.argsort(-contributed.abs().to_numpy(), axis=1, kind="stable")[:, :STRONGEST]
        for values, places in zip(contributed.to_numpy(), order, strict=True):
            found.append({contributed.columns[one]: float(f"{values[one]:.4g}") for one in places if values[one]})
    return found


def background(model: SavedModel) -> pd.DataFrame:
    """Raises StepError where the model has none."""
    if model.background is None:
        raise StepError(without_background(model))
    return model.background


def without_background(model: SavedModel) -> str:
    return f"{model} has no {BACKGROUND}, which reasons need; train it again with this training"


def contributions(model: SavedModel, rows: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """The mean over the background, one for each row, and what each column adds to it; together, what is predicted.

    Of two classes that is the probability of the positive one, of several that of the class that is predicted, of a
    number the number, in its unit.

    Raises:
        StepError: the model has no background.
    """
    others, columns = background(model), model.columns
    rank = turns(len(others), len(columns))
    # Background row, columns taken over so far, column: whether it is taken over.
    taken = rank[:, None, :] < np.arange(len(columns) + 1)[None, :, None]
    mixed = {
        name: np.where(taken[:, :, [place]], rows[name].to_numpy(), others[name].to_numpy()[:, None, None]).ravel()
        for place, name in enumerate(columns)
    }
    alone = replace(model, companions=None)
    values = explained(model, alone.predict(pd.DataFrame(mixed)), len(rows)).reshape(*taken.shape[:2], len(rows))
    steps = np.take_along_axis(np.diff(values, axis=1), rank[:, :, None], axis=1)
    found = pd.DataFrame(steps.mean(axis=0).T.round(DIGITS), index=rows.index, columns=list(columns))
    if model.companions:  # what they change is their group's, whatever a model makes of its column
        name, after = model.companions.group, explained(model, model.predict(rows), len(rows))
        found[name] = (found.get(name, 0) + after - values[-1, -1]).round(DIGITS)
    return values[:, 0].mean(axis=0), found


def turns(rows: int, columns: int) -> np.ndarray:
    """When each background row (rows) takes over each column (columns), from 0; always the same.

    Every second one goes the other way round, which makes the mean steadier.
    """
    some = np.tile(np.arange(columns), ((rows + 1) // 2, 1))
    some = np.random.default_rng(0).permuted(some, axis=1)
    return np.stack([some, columns - 1 - some], axis=1).reshape(-1, columns)[:rows]


def explained(model: SavedModel, said: pd.DataFrame, count: int) -> np.ndarray:
    """The figure that is explained, of what was said of the rows in every mixture; the last `count` are the rows."""
    table = model.table
    names = list(probability_columns(table)) or [table.target.name]
    values: np.ndarray = said[names].to_numpy(float)
    if table.task != MULTICLASS:
        return values[:, 0]
    classes = list(probability_columns(table).values())
    of = [classes.index(one) for one in said[table.target.name].iloc[-count:]]
    own: np.ndarray = values[np.arange(len(values)), np.tile(of, len(values) // count)]
    return own
