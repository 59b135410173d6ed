"""Correct a probability by how a row's companions, the labelled rows of the same group, came out. No MLflow here.

Of each labelled row its residual is kept: 1 or 0, less the probability that a model gave it which had not seen it. A
row's log-odds move by `weight` times the sum of its companions' residuals over their number and one: that is how a
random intercept of the group is estimated, drawn towards none where they are few. It says something about groups, not
about rows: a row whose companions nobody knows keeps its probability.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from predictions import DIGITS, PROBABILITY
from scipy.special import expit, logit
from table import Table, text_of

COMPANIONS = "companions.json"


@dataclass(frozen=True)
class Companions:
    """The labelled rows of two classes that are in groups, and how much they count."""

    key: str  # the column that names a row: its own outcome is left out
    group: str  # the column whose values companions share
    weight: float
    residuals: Mapping[str, Mapping[str, float]]  # group -> key -> residual

    @classmethod
    def of(cls, table: Table, rows: pd.DataFrame, probabilities: np.ndarray, weight: float) -> "Companions":
        """Of labelled rows and their probabilities, out of fold; rows with an empty group are nobody's companions."""
        residuals = (rows[table.target.name] == table.positive).to_numpy() - probabilities
        found: dict[str, dict[str, float]] = {}
        for key, group, value in zip(rows[table.key.name], rows[table.group], residuals.round(DIGITS), strict=True):
            if not pd.isna(group):
                found.setdefault(text_of(group), {})[text_of(key)] = float(value)
        return cls(table.key.name, table.group, weight, found)

    @classmethod
    def read(cls, text: str) -> "Companions":
        """Raises ValueError, KeyError or TypeError where the text is not what `text` gives."""
        content = json.loads(text)
        residuals = {
            str(group): {str(key): float(value) for key, value in known.items()}
            for group, known in dict(content["residuals"]).items()
        }
        return cls(str(content["key"]), str(content["group"]), float(content["weight"]), residuals)

    def text(self) -> str:
        """As JSON: the same companions, the same bytes."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @functools.cached_property
    def totals(self) -> dict[str, tuple[int, float]]:
        return {group: (len(known), sum(known.values())) for group, known in self.residuals.items()}

    def moves(self, rows: pd.DataFrame) -> np.ndarray:
        """By how much each row's log-odds move for a weight of 1: 0 where no companion is known."""
        found = np.zeros(len(rows))
        if self.group not in rows.columns:
            return found
        keys = rows[self.key] if self.key in rows.columns else [None] * len(rows)
        for place, (group, key) in enumerate(zip(rows[self.group], keys, strict=True)):
            name = "" if pd.isna(group) else text_of(group)
            if name in self.totals:
                count, total = self.totals[name]
                own = self.residuals[name].get(text_of(key))
                if own is not None:
                    count, total = count - 1, total - own
                found[place] = total / (count + 1) if count else 0
        return found

    def correct(self, table: Table, said: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
        """`said` (as `predictions.predict` gives it) of the rows, where their companions are known corrected.

        What is certain, 0 or 1, stays so.
        """
        moves = self.moves(rows)
        moved = moves != 0
        if not moved.any():
            return said
        found = said.copy()
        before = said[PROBABILITY].to_numpy(float)[moved]
        after = expit(logit(before) + self.weight * moves[moved]).round(DIGITS)
        (negative,) = set(table.classes) - {table.positive}
        found.loc[moved, PROBABILITY] = after
        found.loc[moved, table.target.name] = [table.positive if one > 0.5 else negative for one in after]
        return found
