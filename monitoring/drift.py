"""Has what comes in drifted from what the model was trained on? Tests, and one honest decision over all of them.

No MLflow and no Evidently here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from declaration import DATE_FORMATS, Field, Table, text_of

NUMBER, CATEGORY = "number", "category"
PREDICTION, TARGET, ACCURACY, ERROR = "prediction", "target", "accuracy", "error"
OF_OUTCOMES = (TARGET, ACCURACY, ERROR)  # what can be told only where outcomes are known
MAX_DISCRETE_VALUES = 12  # whole numbers with more different values are compared as quantities, else by their shares
MAX_CATEGORIES = 30  # text with more different values is an identifier or free text
MIN_EXPECTED_COUNT = 5  # per cell of a chi-squared test (Cochran 1954); rarer values are pooled
MIN_VALUES = 20  # values on either side, below which a column is not tested


@dataclass(frozen=True)
class Finding:
    """One comparison of reference and current."""

    name: str  # the column as `title` has it, that and " missing", PREDICTION, or one of OF_OUTCOMES
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
        names = {one.name.removesuffix(" missing") for one in self.findings if one.name not in OF_OUTCOMES}
        drifted = {name.removesuffix(" missing") for name in self.drifted if name not in OF_OUTCOMES}
        return len(drifted) / len(names) if names else 0.0


def column_kinds(table: Table, reference: pd.DataFrame) -> dict[str, str]:
    """The declared columns that can be compared, NUMBER or CATEGORY; the key and the target are none of them.

    Identifiers and free text are left out, told by the values that `reference`, as `Table.read` gives it, has.
    """
    columns = [one for one in table.fields if one.role not in ("key", "target") and one.name in reference]
    kinds = {one.name: column_kind(one, reference[one.name].dropna()) for one in columns}
    return {name: kind for name, kind in kinds.items() if kind}


def column_kind(one: Field, values: pd.Series) -> str:
    different = values.nunique()
    if not different:
        return ""
    if one.type in DATE_FORMATS:
        return NUMBER
    if one.few_values:
        return CATEGORY
    if not one.numeric:
        return CATEGORY if different <= MAX_CATEGORIES else ""
    if (values % 1 != 0).any():
        return NUMBER
    if different <= MAX_DISCRETE_VALUES:
        return CATEGORY
    return NUMBER if different < len(values) else ""  # whole and each one different: an identifier


def comparable(table: Table, rows: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """The columns of `kinds`: quantities as float64, dates as days since 1970, categories as text; gaps stay."""
    columns = {}
    for name, kind in kinds.items():
        one, cells = table.by_name[name], rows[name]
        if kind == CATEGORY:
            columns[name] = as_categories(one, cells)
        else:
            columns[name] = cells if one.numeric else as_days(cells)
    return pd.DataFrame(columns, index=rows.index)


def as_categories(one: Field, cells: pd.Series) -> pd.Series:
    """Values as they are written in a file, as text."""
    words = {1.0: "true", 0.0: "false"} if one.type == "boolean" else {}
    written = {value: words.get(value, text_of(value)) for value in cells.dropna().unique()}
    return cells.map(written).astype(object)


def as_days(cells: pd.Series) -> pd.Series:
    """Dates as ISO text, as days since 1970."""
    days = pd.Series(np.nan, index=cells.index)
    known = cells.dropna()
    days[known.index] = np.array(known.str[:10].tolist(), dtype="datetime64[D]").astype(float)
    return days


def title(column: str) -> str:
    """What a column's comparison is called: its name, unless something else is called that."""
    return f"column {column}" if column in (PREDICTION, *OF_OUTCOMES) or column.endswith(" missing") else column


def compare(reference: pd.DataFrame, current: pd.DataFrame, kinds: dict[str, str], min_effect: float) -> list[Finding]:
    """Each column of `kinds` against itself, and the share of missing values of each number; as `comparable` has them.

    `min_effect` is the statistic (0 to 1) below which a change does not matter.
    """
    findings = []
    for name, kind in kinds.items():
        before, after = reference[name], current[name]
        if kind == CATEGORY:
            before, after = (values.where(values.notna(), "missing") for values in (before, after))
        findings.append(compare_values(title(name), kind, before, after, min_effect))
        if kind == NUMBER and (before.isna().any() or after.isna().any()):
            missing = (f"{title(name)} missing", CATEGORY, before.isna(), after.isna())
            findings.append(compare_values(*missing, min_effect))
    return [finding for finding in findings if finding is not None]


def compare_values(name: str, kind: str, before: pd.Series, after: pd.Series, min_effect: float) -> Finding | None:
    """Two samples of present values, as quantities or by their shares; None where either has under MIN_VALUES."""
    before, after = before.dropna(), after.dropna()
    if min(len(before), len(after)) < MIN_VALUES:
        return None
    return (compare_shares if kind == CATEGORY else compare_numbers)(name, before, after, min_effect)


def compare_numbers(name: str, before: pd.Series, after: pd.Series, min_effect: float) -> Finding:
    """Kolmogorov-Smirnov: the statistic is the largest distance between the two distribution functions."""
    from scipy.stats import ks_2samp

    result = ks_2samp(before, after, method="auto" if max(len(before), len(after)) <= 2000 else "asymp")
    return Finding(name, "Kolmogorov-Smirnov", float(result.statistic), float(result.pvalue), min_effect)


def compare_shares(name: str, before: pd.Series, after: pd.Series, min_effect: float) -> Finding:
    """Chi-squared test of two samples; the statistic is half the sum of the shares' differences (total variation)."""
    from scipy.stats import chi2_contingency

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
    return Finding(ACCURACY, "Fisher", loss, p_value, min_effect)


def compare_errors(before: np.ndarray, after: np.ndarray, min_effect: float) -> Finding:
    """Mann-Whitney's test, one-sided: are the live absolute errors larger than the holdout's?

    The statistic is by how much of itself the mean absolute error has risen, from 0 (not at all) to 1 (it has doubled,
    or more than that).
    """
    from scipy.stats import mannwhitneyu

    alike = np.ptp(np.concatenate([before, after])) == 0  # nothing to be ranked
    p_value = 1.0 if alike else float(mannwhitneyu(after, before, alternative="greater", method="asymptotic").pvalue)
    risen = float(after.mean() - before.mean())
    rise = risen / float(before.mean()) if before.mean() > 0 else float(risen > 0)
    return Finding(ERROR, "Mann-Whitney", min(max(rise, 0.0), 1.0), p_value, min_effect)


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
