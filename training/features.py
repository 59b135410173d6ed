"""What a person knows about their table: its columns in, numbers for a model out. The one file to change for that.

Nothing is needed here: a table that BY_HAND does not name goes by its declaration (declared_features.py). To do better,
write a function like `titanic` below, and name it in BY_HAND under the `name` of dataset.yaml. It gets the declaration
and whether the model wants columns of one scale (the linear ones do), and gives a ColumnTransformer, not fitted; the
columns that this names, all with the role feature, are those that the model reads. It is fitted on the rows trained on
alone. Take stock parts of scikit-learn and functions of numpy, among them those of declared_features.py: a model that
holds other code is not saved. GROUPS_BY_HAND says in the same way which rows belong together, where that is more than
the one column that the declaration can name as `group`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from declared_features import categories, joined, numbers, scale
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from table import Table


def titanic(table: Table, scaled: bool) -> ColumnTransformer:
    """11 columns: title, age, fare, class, relatives, family size, sex."""
    family_size = FunctionTransformer(np.sum, kw_args={"axis": 1, "keepdims": True})
    family = make_pipeline(SimpleImputer(strategy="constant", fill_value=0), family_size, *scale(scaled))
    return ColumnTransformer(
        [
            ("title", titles(), ["Name"]),
            ("number", numbers(scaled), ["Age", "Fare", "Pclass", "SibSp", "Parch"]),
            ("family", family, ["SibSp", "Parch"]),
            ("category", categories(drop="if_binary"), ["Sex"]),
        ],
        sparse_threshold=0,  # dense
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


def party(rows: pd.DataFrame) -> np.ndarray:
    """Who travels together: on one ticket, or of one surname and class."""
    family = rows["Name"].str.split(",").str[0] + rows["Pclass"].map(" {:g}".format, na_action="ignore")
    return joined(family, *(rows[name] for name in ("Ticket",) if name in rows.columns))


BY_HAND: dict[str, Callable[[Table, bool], ColumnTransformer]] = {"titanic": titanic}
GROUPS_BY_HAND: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {"titanic": party}
