"""What a person knows about their table: its columns in, numbers for a model out. The one file to change for that.

Nothing is needed here: a table that BY_HAND does not name goes by its declaration (declared_features.py). To do better,
write a function, and name it in BY_HAND under the `name` of dataset.yaml. It gets the declaration and whether the model
wants columns of one scale (the linear ones do), and gives a ColumnTransformer, not fitted; the columns that this names,
all with the role feature, are those that the model reads. It is fitted on the rows trained on alone. Take stock parts
of scikit-learn and functions of numpy, among them those of declared_features.py: a model that holds other code is not
saved.
"""

from collections.abc import Callable

from declaration import Table
from declared_features import by_declaration
from sklearn.compose import ColumnTransformer

BY_HAND: dict[str, Callable[[Table, bool], ColumnTransformer]] = {}


def transformer(table: Table, scaled: bool) -> ColumnTransformer:
    """Columns of the table to numbers, not fitted; `scaled`: quantities with mean 0 and spread 1."""
    return BY_HAND.get(table.name, by_declaration)(table, scaled)
