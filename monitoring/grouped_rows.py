"""Tests for rows that come in groups, such as families: ten of one tell less than ten of ten. No MLflow here.

Alike rows of a group make means vary more than as many independent rows do, by the design effect of Kish, "Survey
Sampling" (1965): 1 + (m - 1) rho, for groups of m rows that correlate by rho. The tests allow for it as Rao and Scott,
"The analysis of categorical data from complex sample surveys" (JASA 76, 1981; second-order correction) do.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import numpy as np
import pandas as pd
from table import Table

Groups = tuple[pd.Series | None, pd.Series | None]  # of the rows of reference and current; None: each its own
ALONE: Groups = (None, None)


def group_codes(table: Table, rows: pd.DataFrame) -> pd.Series:
    """The group of each row as a number, by the column that the declaration says; a row without one is its own."""
    codes = pd.Series(np.arange(len(rows)), index=rows.index)
    if not table.group or table.group not in rows:
        return codes
    known = rows[table.group].notna()
    codes[known] = len(rows) + pd.factorize(rows.loc[known, table.group])[0]
    return codes


def means_p_value(before: np.ndarray, after: np.ndarray, groups: list[np.ndarray]) -> float:
    """How likely means (rows x scores) differ as much where nothing has changed; rows of a group (ints) go together.

    With indicators of classes as scores, and each row a group of its own, it is Pearson's chi-squared test; with ranks
    it is Mann-Whitney's. Groups count as no help where their rows are less alike than others, so that it also holds
    where a group is torn apart.
    """
    from scipy.stats import chi2

    white = whitened(np.vstack([before, after]).astype(float))
    if not white.shape[1]:
        return 1.0  # all rows are the same
    rows = np.array([len(before), len(after)])
    change = white[: rows[0]].mean(axis=0) - white[rows[0] :].mean(axis=0)
    statistic = change @ change / (1 / rows).sum()
    alike = likeness(white, groups)
    weight = sum(surplus(codes) / len(codes) for codes in groups) / (1 / rows).sum()
    effects = np.maximum(np.linalg.eigvalsh(np.eye(len(alike)) + weight * alike), 1)
    scale = (effects**2).sum() / effects.sum()
    return float(chi2.sf(statistic / scale, effects.sum() / scale))


def whitened(scores: np.ndarray) -> np.ndarray:
    """The scores as uncorrelated columns of mean 0 and variance 1, as many as there are independent ones."""
    scores = scores - scores.mean(axis=0)
    spread = scores.std(axis=0)
    scores = scores[:, spread > 0] / spread[spread > 0]
    values, vectors = np.linalg.eigh(scores.T @ scores / max(1, len(scores)))
    independent = values > 1e-8
    return np.asarray(scores @ vectors[:, independent] / np.sqrt(values[independent]))


def likeness(white: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """The mean product of two rows of one group (scores x scores): their correlation; 0 where no two are."""
    products, pairs, start = np.zeros((white.shape[1],) * 2), 0, 0
    for codes in groups:
        part, places = white[start : start + len(codes)], np.unique(codes, return_inverse=True)[1]
        sizes = np.bincount(places)
        sums = np.column_stack([np.bincount(places, weights=column) for column in part.T])
        products += sums.T @ sums - part.T @ part
        pairs += int((sizes * (sizes - 1)).sum())
        start += len(codes)
    return products / pairs if pairs else products


def surplus(codes: np.ndarray) -> float:
    """How many others a row has in its group, on average over rows."""
    sizes = np.unique(codes, return_counts=True)[1]
    return float((sizes**2).sum() / sizes.sum() - 1)


def design_effects(values: np.ndarray, groups: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """By how much groups lessen what rows tell of the mean of `values`: rows in `others`, and these in `groups`."""
    white = whitened(values[:, None].astype(float))
    if not white.shape[1]:
        return 1.0, 1.0
    rho = float(likeness(white, [groups])[0, 0])
    return max(1.0, 1 + rho * surplus(others)), max(1.0, 1 + rho * surplus(groups))
