"""Columns to numbers by what the declaration says of them. No MLflow here.

Only stock parts and numpy's own functions, so that a saved model holds no code of ours. A column that is empty in all
training rows is a constant.
"""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler, TargetEncoder
from table import BINARY, MULTICLASS, REGRESSION, Table

TARGET_TYPES = {
    BINARY: "binary",
    MULTICLASS: "multiclass",
    REGRESSION: "continuous",
}  # a task, as TargetEncoder says it
DATES = ("date", "datetime")


def by_declaration(table: Table, scaled: bool) -> ColumnTransformer:
    """All features: numbers, few values as one column each, texts by their rows' targets, dates by their parts."""
    few = [one for one in table.features if one.few_values]
    many = [one for one in table.features if not one.few_values]
    parts = [
        ("number", numbers(scaled), [one.name for one in many if one.numeric]),
        ("code", categories(), [one.name for one in few if one.numeric]),  # an array holds numbers or texts
        ("category", categories(), [one.name for one in few if not one.numeric]),
        ("text", texts(table.task, scaled), [one.name for one in many if one.type == "string"]),
        *((f"date {one.name}", date_parts(one.type, scaled), [one.name]) for one in many if one.type in DATES),
    ]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0)


def scale(scaled: bool) -> list[StandardScaler]:
    return [StandardScaler()] if scaled else []


def numbers(scaled: bool) -> Pipeline:
    """Gaps filled with the column's median."""
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), *scale(scaled))


def categories(drop: str | None = None) -> Pipeline:
    """Gaps filled with the most frequent value; a column of 0 and 1 for each value, all 0 for one not trained on.

    `drop="if_binary"`: one column for two values, and a warning where another comes.
    """
    return make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", drop=drop),
    )


def texts(task: str, scaled: bool) -> Pipeline:
    """The mean target of the rows with the same text, of which an empty cell is one; each row's own takes no part."""
    folds = (KFold if task == REGRESSION else StratifiedKFold)(5, shuffle=True, random_state=0)
    return make_pipeline(
        SimpleImputer(strategy="constant", fill_value="", keep_empty_features=True),
        TargetEncoder(target_type=TARGET_TYPES[task], cv=folds),
        *scale(scaled),
    )


def date_parts(kind: str, scaled: bool) -> Pipeline:
    """Year, month, day of the month and of the week, of a datetime the hour, too; gaps: the most frequent date's."""
    parts = [count("Y"), part("M", "Y"), part("D", "M"), part("D", "W")]
    return make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        as_type("datetime64[s]"),
        make_union(*parts, *([part("h", "D")] if kind == "datetime" else [])),
        *scale(scaled),
    )


def as_type(name: str) -> FunctionTransformer:
    return FunctionTransformer(np.asarray, kw_args={"dtype": name})


def count(unit: str, since: str | None = None) -> Pipeline:
    """How many of the unit have gone since 1970; with `since`, until the last of those began."""
    units = [since, unit] if since else [unit]
    return make_pipeline(*(as_type(f"datetime64[{one}]") for one in units), as_type("float64"))


def part(unit: str, whole: str) -> Pipeline:
    """How many of the unit have gone since the whole began: of the month, the day less one."""
    return make_pipeline(make_union(count(unit, whole), count(unit)), FunctionTransformer(np.diff, kw_args={"axis": 1}))


def joined(*links: pd.Series) -> np.ndarray:
    """A number for each row, the same for those that share a value of a link, directly or by way of others.

    An empty cell links nobody.
    """
    number = pd.Series(np.arange(len(links[0]), dtype=float), index=links[0].index)
    while True:
        before = number
        for link in links:
            number = number.groupby(link).transform("min").fillna(number)
        if number.equals(before):
            return number.to_numpy(int)
