"""The features and the groups of a table: by hand where features.py has them, else by the declaration."""

import numpy as np
import pandas as pd
from declared_features import by_declaration, joined
from features import BY_HAND, GROUPS_BY_HAND
from sklearn.compose import ColumnTransformer
from table import Table


def transformer(table: Table, scaled: bool) -> ColumnTransformer:
    """Columns of the table to numbers, not fitted; `scaled`: quantities with mean 0 and spread 1."""
    return BY_HAND.get(table.name, by_declaration)(table, scaled)


def groups(table: Table, rows: pd.DataFrame) -> tuple[str, np.ndarray] | None:
    """Which rows belong together, in a cross-validation by group: the groups' name, and each row's as a number.

    By hand where GROUPS_BY_HAND has the table, else by the declaration's `group`; None where it has none.
    """
    if by_hand := GROUPS_BY_HAND.get(table.name):
        return by_hand.__name__, by_hand(rows)
    return (table.group, joined(rows[table.group])) if table.group in rows.columns else None
