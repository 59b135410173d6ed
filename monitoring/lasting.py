"""What is too small to be seen on one day, and lasts: the figures of all runs that watched one model, added up.

Each run keeps by how much each score's mean differs from the reference's, and on how many rows. The sums are looked at
when there are 2, 4, 8, 16 … lists, and the k-th look is given alpha / (k (k + 1)): false alarms are at most `alpha` of
all lives of models together (Bonferroni), however long, and although all looks share one reference. No MLflow here.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from drift import CATEGORY, MISSING, NUMBER, Finding, codes_of, holm, title
from grouped_rows import ALONE, Groups, design_effects
from table import Table

MIN_SHARE = 0.05  # of a value, in the reference, below which its share is not added up
LASTING = " lasting"
RANKS = math.sqrt(2)  # a normal quantity that moves changes its mean rank by so much less than Kolmogorov's distance

Past = Mapping[str, tuple[float, float]]  # name -> an earlier run's shift, and its rows


@dataclass(frozen=True)
class Shift:
    """By how much today's mean of a score differs from the reference's; rows are independent ones (design effect)."""

    name: str
    mean: float
    rows: float
    reference: float  # the mean there
    reference_rows: float
    least: float  # that counts
    variance: float | None = None  # of the score, in the reference; None: it is a share
    one_sided: bool = False  # only more is worse


def table_shifts(
    table: Table, kinds: Mapping[str, str], reference: pd.DataFrame, current: pd.DataFrame, least: float, groups: Groups
) -> list[Shift]:
    """Those of all columns of `kinds`, as `drift.comparable` has them; of numbers with few values the rank, too."""
    found: list[Shift] = []
    for name, kind in kinds.items():
        before, after, one = reference[name], current[name], table.by_name[name]
        if kind == CATEGORY and one.type in ("integer", "number"):
            before, after, kind = before.astype(float), after.astype(float), NUMBER
        for how in (kind,) if kind in (CATEGORY, MISSING) else (kind, MISSING):
            found += shifts(title(name), how, before, after, least, groups)
    return found


def shifts(
    name: str, kind: str, before: pd.Series, after: pd.Series, least: float, groups: Groups = ALONE
) -> Iterator[Shift]:
    """Those of a column: of a quantity its rank in the reference, of a category the share of each value, of MISSING the
    share of gaps; none of text. `groups` are the rows' of both.
    """
    parties = codes_of(before, after, groups)
    for suffix, scores in column_scores(kind, before, after):
        known = [~np.isnan(one) for one in scores]
        if min(one.sum() for one in known) == 0:
            continue
        values = [one[there] for one, there in zip(scores, known, strict=True)]
        codes = [party[there] for party, there in zip(parties, known, strict=True)]
        means = [float(one.mean()) for one in values]
        effects = design_effects(values[1], codes[1], codes[0])
        rows = [len(one) / effect for one, effect in zip(values, effects, strict=True)]
        variance = float(values[0].var()) if kind == NUMBER else None
        counts = least if variance is None else least / RANKS
        yield Shift(name + suffix, means[1] - means[0], rows[1], means[0], rows[0], counts, variance)


def column_scores(kind: str, before: pd.Series, after: pd.Series) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Scores of both (NaN: none), each with what is to be added to the column's name."""
    if kind == MISSING:
        yield " missing", [cells.isna().to_numpy(float) for cells in (before, after)]
    elif kind == NUMBER:
        known = np.sort(before.dropna().to_numpy(float))
        sides = [[np.searchsorted(known, cells, side) for side in ("left", "right")] for cells in (before, after)]
        ranks = [(low + high) / (2 * max(1, len(known))) for low, high in sides]
        yield "", [np.where(c.isna(), np.nan, rank) for c, rank in zip((before, after), ranks, strict=True)]
    elif kind == CATEGORY:
        before, after = (cells.where(cells.notna(), "missing") for cells in (before, after))
        shares = before.value_counts(normalize=True)
        common = [value for value, share in sorted(shares.items(), key=str) if share >= MIN_SHARE]
        for value in common[:1] if len(shares) == 2 else common:
            yield f" {value}", [(cells == value).to_numpy(float) for cells in (before, after)]


def add_up(today: Sequence[Shift], past: Sequence[Past], alpha: float) -> list[Finding]:
    """What has lasted, if now is a time to look; the statistic is the mean shift over all rows."""
    runs = len(past) + 1
    if runs < 2 or runs & (runs - 1):
        return []
    look = runs.bit_length() - 1
    sums = [(one, *mean_shift(one, past)) for one in today]
    adjusted = [min(1.0, look * (look + 1) * p) for p in holm([p for _, _, p in sums])]
    return [
        Finding(
            one.name + LASTING,
            f"sum of {runs} lists",
            abs(mean),
            p,
            one.least,
            wide,
            drifted=wide < alpha and abs(mean) >= one.least,
        )
        for (one, mean, p), wide in zip(sums, adjusted, strict=True)
    ]


def mean_shift(one: Shift, past: Sequence[Past]) -> tuple[float, float]:
    """Over all rows of all runs; and how likely as much is where nothing has changed."""
    from scipy.stats import fisher_exact, norm

    found = [(one.mean, one.rows), *(run[one.name] for run in past if one.name in run)]
    rows = sum(count for _, count in found)
    mean = sum(shift * count for shift, count in found) / rows
    if one.variance is None:
        counts = [max(1, round(number)) for number in (one.reference_rows, rows)]
        hits = [
            round(share * count) for share, count in zip((one.reference, one.reference + mean), counts, strict=True)
        ]
        table = [[hit, count - hit] for hit, count in zip(hits, counts, strict=True)]
        side = "less" if one.one_sided else "two-sided"  # the reference's share is the smaller one
        p_value = float(fisher_exact(table, alternative=side).pvalue)
    else:
        error = math.sqrt(one.variance * (1 / rows + 1 / one.reference_rows))
        p_value = float(norm.sf(mean / error) if one.one_sided else 2 * norm.sf(abs(mean) / error)) if error else 1.0
    return max(mean, 0.0) if one.one_sided else mean, p_value
