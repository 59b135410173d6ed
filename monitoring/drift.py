"""Has what comes in drifted from what the model was trained on? Tests, and one honest decision over all of them.

No MLflow and no Evidently here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

NUMBER, CATEGORY = "number", "category"
EXCLUDED_COLUMNS = frozenset(["Survived", "probability"])  # the outcome is not an input; it is judged by its own test
# A number with more different values than this is compared as a quantity, else by its values' shares.
MAX_DISCRETE_VALUES = 12
MAX_CATEGORIES = 30  # text with more is an identifier or free text (names, tickets, cabins)
MIN_EXPECTED_COUNT = 5  # per cell of a chi-squared test (Cochran 1954); rarer values are pooled
MIN_VALUES = 20  # values on either side, below which a column is not tested


@dataclass(frozen=True)
class Finding:
    """One comparison of reference and current."""

    name: str  # the column, or "COLUMN missing", "prediction", "accuracy"
    test: str
    statistic: float  # 0 (alike) to 1 (nothing in common): how much, whatever the number of rows
    p_value: float  # how likely that much is where nothing has changed
    min_effect: float  # statistic below which a change does not matter
    adjusted_p_value: float = 1.0  # Holm (1979): for all comparisons together
    drifted: bool = False


@dataclass(frozen=True)
class Verdict:
    """The decision, with what it rests on."""

    findings: tuple[Finding, ...]
    rows_reference: int
    rows_current: int
    too_few: str  # why nothing was decided; "" where it was

    @property
    def drifted(self) -> list[str]:
        return [finding.name for finding in self.findings if finding.drifted]

    @property
    def drift_detected(self) -> bool:
        return bool(self.drifted)

    @property
    def drifted_share(self) -> float:
        """Of the columns (and the prediction) that were compared, the share that drifted, missing values included."""
        names = {finding.name.removesuffix(" missing") for finding in self.findings if finding.name != "accuracy"}
        drifted = {name.removesuffix(" missing") for name in self.drifted if name != "accuracy"}
        return len(drifted) / len(names) if names else 0.0


def column_kinds(reference: pd.DataFrame) -> dict[str, str]:
    """The reference's columns that can be compared, NUMBER or CATEGORY; identifiers and free text are left out."""
    kinds = {}
    for name in reference.columns:
        values = reference[name].dropna()
        different = values.nunique()
        if name in EXCLUDED_COLUMNS or different < 1:
            continue
        if not pd.api.types.is_numeric_dtype(values):
            if different <= MAX_CATEGORIES:
                kinds[name] = CATEGORY
        elif different <= MAX_DISCRETE_VALUES:
            kinds[name] = CATEGORY
        elif different < len(values) or (values % 1 != 0).any():  # whole and each one different: an identifier
            kinds[name] = NUMBER
    return kinds


def compare(reference: pd.DataFrame, current: pd.DataFrame, kinds: dict[str, str], min_effect: float) -> list[Finding]:
    """Each column of `kinds` against itself, and the share of missing values of each number.

    `min_effect` is the statistic (0 to 1) below which a change does not matter.
    """
    findings = []
    for name, kind in kinds.items():
        before, after = reference[name], current[name]
        if kind == CATEGORY:
            findings.append(compare_shares(name, as_categories(before), as_categories(after), min_effect))
            continue
        findings.append(compare_numbers(name, before.dropna(), after.dropna(), min_effect))
        if before.isna().any() or after.isna().any():
            findings.append(compare_shares(f"{name} missing", before.isna(), after.isna(), min_effect))
    return [finding for finding in findings if finding is not None]


def as_categories(column: pd.Series) -> pd.Series:
    """Categories as text, a missing one being one too; 3 and 3.0 are the same."""
    numeric = pd.api.types.is_numeric_dtype(column)
    return column.map(lambda value: "missing" if pd.isna(value) else f"{value:g}" if numeric else str(value))


def compare_numbers(name: str, before: pd.Series, after: pd.Series, min_effect: float) -> Finding | None:
    """Kolmogorov-Smirnov: the statistic is the largest distance between the two distribution functions."""
    from scipy.stats import ks_2samp

    if min(len(before), len(after)) < MIN_VALUES:
        return None
    result = ks_2samp(before, after, method="auto" if max(len(before), len(after)) <= 2000 else "asymp")
    return Finding(name, "Kolmogorov-Smirnov", float(result.statistic), float(result.pvalue), min_effect)


def compare_shares(name: str, before: pd.Series, after: pd.Series, min_effect: float) -> Finding | None:
    """Chi-squared test of two samples; the statistic is half the sum of the shares' differences (total variation)."""
    from scipy.stats import chi2_contingency

    if min(len(before), len(after)) < MIN_VALUES:
        return None
    counts = pd.DataFrame({"before": before.value_counts(), "after": after.value_counts()}).fillna(0).sort_index()
    shares = counts / counts.sum()
    distance = float((shares["before"] - shares["after"]).abs().sum() / 2)
    table = pool_rare_values(counts.to_numpy())
    p_value = float(chi2_contingency(table).pvalue) if len(table) > 1 else 1.0
    return Finding(name, "chi-squared", distance, p_value, min_effect)


def pool_rare_values(counts: np.ndarray) -> np.ndarray:
    """The table (values x 2) with its rarest values added together until each expects MIN_EXPECTED_COUNT per cell."""
    smaller = counts.sum(axis=0).min() / counts.sum()  # share of the smaller sample
    table = counts[np.argsort(-counts.sum(axis=1), kind="stable")]
    while len(table) > 1 and table[-1].sum() * smaller < MIN_EXPECTED_COUNT:
        table = np.vstack([table[:-2], table[-2] + table[-1]])
        table = table[np.argsort(-table.sum(axis=1), kind="stable")]
    return table


def compare_accuracy(
    right_before: int, rows_before: int, right_after: int, rows_after: int, min_effect: float
) -> Finding:
    """Fisher's exact test, one-sided: is the live accuracy lower than at training? The statistic is the loss."""
    from scipy.stats import fisher_exact

    table = [[right_before, rows_before - right_before], [right_after, rows_after - right_after]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    loss = max(0.0, right_before / rows_before - right_after / rows_after)
    return Finding("accuracy", "Fisher", loss, p_value, min_effect)


def decide(findings: Sequence[Finding], alpha: float, rows_reference: int, rows_current: int, min_rows: int) -> Verdict:
    """Which findings are drift: significant among all of them together, and large enough to matter.

    Where nothing has changed, any flag at all is raised with a probability of at most `alpha` (Holm 1979, under any
    dependence). With fewer than `min_rows` current rows none is raised, and that is said.
    """
    too_few = ""
    if rows_current < min_rows:
        too_few = f"{rows_current} rows are too few to judge; min_rows={min_rows}"
    elif not findings:
        too_few = f"no column has {MIN_VALUES} values on both sides"
    adjusted = holm([finding.p_value for finding in findings])
    decided = [
        replace(
            finding, adjusted_p_value=p, drifted=not too_few and p < alpha and finding.statistic >= finding.min_effect
        )
        for finding, p in zip(findings, adjusted, strict=True)
    ]
    return Verdict(tuple(decided), rows_reference, rows_current, too_few)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): the i-th smallest of m times m - i + 1, never below the one before it."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(p_values) else []
    return adjusted.tolist()
