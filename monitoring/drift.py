"""Has what comes in drifted from what the model was trained on? Tests, and one honest decision over all of them.

No MLflow and no Evidently here. This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from grouped_rows import ALONE, Groups, means_p_value
from table import DATE_FORMATS, Field, Table, text_of

NUMBER, CATEGORY, TEXT, MISSING = "number", "category", "text", "missing"  # MISSING: by its empty cells alone
PREDICTION, TARGET, ACCURACY, ERROR = "prediction", "target", "accuracy", "error"
OF_OUTCOMES = (TARGET, ACCURACY, ERROR)  # what can be told only where outcomes are known
MAX_DISCRETE_VALUES = 12  # whole numbers with more different values are compared as quantities, else by their shares
MAX_CATEGORIES = 30  # text with more different values is compared by its shape
MIN_EXPECTED_COUNT = 5  # per cell of a chi-squared test (Cochran 1954), in groups; rarer values are pooled
MIN_WORD_SHARE, MAX_WORDS = 0.05, 8  # words of a text column that are counted
EVEN = 0.5  # of alpha that is shared out evenly; the rest goes by what columns are worth to the model
MIN_VALUES = 20  # values on either side, below which a column is not tested


@dataclass(frozen=True)
class Finding:
    """One comparison of reference and current."""

    name: str  # the column as `title` has it, that and " missing", PREDICTION, or one of OF_OUTCOMES
    test: str
    statistic: float  # 0 (alike) to 1 (nothing in common): how much, whatever the number of rows
    p_value: float  # how likely that much is where nothing has changed
    min_effect: float  # statistic below which a change does not matter
    adjusted_p_value: float = 1.0  # weighted Holm (1979): for all comparisons together
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
        today = [one for one in self.findings if not one.name.endswith(" lasting") and one.name not in OF_OUTCOMES]
        names = {one.name.removesuffix(" missing") for one in today}
        drifted = {one.name.removesuffix(" missing") for one in today if one.drifted}
        return len(drifted) / len(names) if names else 0.0


def column_kinds(table: Table, reference: pd.DataFrame) -> dict[str, str]:
    """What each declared column is compared by, told by the values of `reference`, as `Table.read` gives it.

    The key and the target are left out; identifiers, and what the reference knows nothing of, are MISSING.
    """
    columns = [one for one in table.fields if one.role not in ("key", "target") and one.name in reference]
    kinds = {one.name: column_kind(one, reference[one.name].dropna()) for one in columns}
    return {name: MISSING if name == table.group else kind for name, kind in kinds.items()}


def column_kind(one: Field, values: pd.Series) -> str:
    different = values.nunique()
    if not different:
        return MISSING
    if one.type in DATE_FORMATS:
        return NUMBER
    if one.few_values:
        return CATEGORY
    if not one.numeric:
        return CATEGORY if different <= MAX_CATEGORIES else TEXT
    if (values % 1 != 0).any():
        return NUMBER
    if different <= MAX_DISCRETE_VALUES:
        return CATEGORY
    return NUMBER if different < len(values) else MISSING  # whole and each one different: an identifier


def comparable(table: Table, rows: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """The columns of `kinds`: quantities as float64, dates as days since 1970, the others as text; gaps stay."""
    columns = {}
    for name, kind in kinds.items():
        one, cells = table.by_name[name], rows[name]
        if kind == CATEGORY:
            columns[name] = as_categories(one, cells)
        elif kind in (TEXT, MISSING):
            columns[name] = cells
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
    return (
        f"column {column}"
        if column in (PREDICTION, *OF_OUTCOMES) or column.endswith((" missing", " lasting"))
        else column
    )


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, kinds: dict[str, str], min_effect: float, groups: Groups = ALONE
) -> list[Finding]:
    """Each column of `kinds` against itself, and its share of missing cells; as `comparable` has them.

    Of a category a missing cell is one more value. `min_effect` is the statistic (0 to 1) below which a change does not
    matter; `groups` are the rows' of reference and current, as `group_codes` gives them.
    """
    findings = []
    for name, kind in kinds.items():
        before, after = reference[name], current[name]
        if kind == CATEGORY:
            before, after = (values.where(values.notna(), "missing") for values in (before, after))
        if kind != MISSING:
            findings.append(compare_values(title(name), kind, before, after, min_effect, groups))
        empty = before.isna(), after.isna()
        if kind != CATEGORY and any(cells.any() for cells in empty) and not all(cells.all() for cells in empty):
            findings.append(compare_values(f"{title(name)} missing", CATEGORY, *empty, min_effect, groups))
    return [finding for finding in findings if finding is not None]


def compare_values(
    name: str, kind: str, before: pd.Series, after: pd.Series, min_effect: float, groups: Groups = ALONE
) -> Finding | None:
    """Two samples of present values, by their kind; None where either has under MIN_VALUES, or all are the same.

    `groups` has the groups of either's rows, with the same index; None: each row is one of its own.
    """
    before, after = before.dropna(), after.dropna()
    if min(len(before), len(after)) < MIN_VALUES:
        return None
    compare_kind = {CATEGORY: compare_shares, NUMBER: compare_numbers, TEXT: compare_texts}[kind]
    return compare_kind(name, before, after, min_effect, codes_of(before, after, groups))


def codes_of(before: pd.Series, after: pd.Series, groups: Groups) -> list[np.ndarray]:
    """The groups of these rows of `groups`, which has the same index; None: each row is one of its own."""
    return [
        np.arange(len(values)) if group is None else group[values.index].to_numpy()
        for values, group in zip((before, after), groups, strict=True)
    ]


def compare_numbers(
    name: str, before: pd.Series, after: pd.Series, min_effect: float, groups: list[np.ndarray]
) -> Finding:
    """Are they larger or smaller (Mann-Whitney), or otherwise spread (shares of tenths)? Twice the smaller p-value.

    The statistic is Kolmogorov's: the largest distance between the two distribution functions.
    """
    from scipy.stats import ks_2samp, rankdata

    values, rows = np.concatenate([before, after]).astype(float), len(before)
    ranks = rankdata(values)[:, None]
    parts = max(2, min(10, min(rows, len(after)) // (2 * MIN_EXPECTED_COUNT)))
    edges = np.unique(np.quantile(values, np.arange(1, parts) / parts))
    tenths = indicators(np.searchsorted(edges, values, side="left"))
    both = [means_p_value(scores[:rows], scores[rows:], groups) for scores in (ranks, tenths)]
    distance = float(ks_2samp(before, after, method="asymp").statistic)
    return Finding(name, "Mann-Whitney, tenths", distance, min(1.0, 2 * min(both)), min_effect)


def compare_shares(
    name: str, before: pd.Series, after: pd.Series, min_effect: float, groups: list[np.ndarray]
) -> Finding:
    """Chi-squared test of two samples; the statistic is half the sum of the shares' differences (total variation)."""
    rows = len(before)
    codes, values = pd.factorize(pd.concat([before, after]), sort=True)
    shares = [np.bincount(part, minlength=len(values)) / len(part) for part in (codes[:rows], codes[rows:])]
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    scores = indicators(pool_rare_values(codes, groups))
    return Finding(name, "chi-squared", distance, means_p_value(scores[:rows], scores[rows:], groups), min_effect)


def compare_texts(
    name: str, before: pd.Series, after: pd.Series, min_effect: float, groups: list[np.ndarray]
) -> Finding:
    """Texts by their shape: length, words, digits, and the words that many of them have. One test for all.

    The statistic is the largest of their changes: of shares, or distances between distribution functions.
    """
    from scipy.stats import ks_2samp, rankdata

    texts, rows = pd.concat([before, after]), len(before)
    words = texts.str.split()
    counts = [texts.str.len(), words.str.len(), texts.str.count(r"\d")]
    measures = [rankdata(count) for count in counts]
    changes = [float(ks_2samp(one[:rows], one[rows:], method="asymp").statistic) for one in measures]
    sets = [set(found) for found in words]
    # Of both together: the most frequent of the reference alone would be rarer in the other by that choice.
    common = Counter(word for found in sets for word in found)
    least = max(MIN_WORD_SHARE, MIN_EXPECTED_COUNT / min(rows, len(after))) * len(texts)
    for word in sorted(common, key=lambda word: (-common[word], word))[:MAX_WORDS]:
        if common[word] < least:
            break
        has = np.array([word in found for found in sets], float)
        measures.append(has)
        changes.append(abs(float(has[:rows].mean() - has[rows:].mean())))
    scores = np.column_stack(measures)
    return Finding(name, "shape of text", max(changes), means_p_value(scores[:rows], scores[rows:], groups), min_effect)


def indicators(codes: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 as columns of 0 and 1, one for each value that is there."""
    present, places = np.unique(codes, return_inverse=True)
    return np.eye(len(present))[places]


def pool_rare_values(codes: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """The codes (from 0), with the rare ones made one: either sample expects MIN_EXPECTED_COUNT groups with each."""
    side = np.repeat([0, 1], [len(groups[0]), len(groups[1])])
    held = pd.DataFrame({"code": codes, "side": side, "group": np.concatenate(groups)}).drop_duplicates()
    counts = np.bincount(held["code"], minlength=codes.max() + 1)
    least = MIN_EXPECTED_COUNT * len(held) / max(1, np.bincount(held["side"], minlength=2).min())
    order = np.argsort(-counts, kind="stable")
    kept = int((counts >= least).sum())
    if 0 < kept < len(order) and counts[order[kept:]].sum() < least:
        kept -= 1
    pooled = np.arange(len(counts))
    pooled[order[kept:]] = order[min(kept, len(order) - 1)]
    return np.asarray(pooled[codes])


def compare_accuracy(
    accuracy: float, rows: float, right: np.ndarray, min_effect: float, effects: tuple[float, float] = (1, 1)
) -> Finding:
    """Fisher's exact test, one-sided: is the live accuracy lower than at training? The statistic is the loss.

    `accuracy` on `rows` at training, `right` (booleans) of each live row; both numbers of rows are divided by the
    design `effects` of groups.
    """
    from scipy.stats import fisher_exact

    live = float(right.mean())
    counts = [max(1, round(number / effect)) for number, effect in zip((rows, len(right)), effects, strict=True)]
    hits = [round(share * count) for share, count in zip((accuracy, live), counts, strict=True)]
    table = [[hit, count - hit] for hit, count in zip(hits, counts, strict=True)]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    return Finding(ACCURACY, "Fisher", max(0.0, accuracy - live), p_value, min_effect)


def compare_errors(
    before: np.ndarray,
    after: np.ndarray,
    min_effect: float,
    baseline: tuple[float, int] | None = None,
    effects: tuple[float, float] = (1, 1),
) -> Finding:
    """Welch's test, one-sided: is the mean of the live absolute errors larger than at training?

    `before` are the holdout's; `baseline`, where there is one, is a mean over more rows, and how many. The statistic is
    by how much of itself the mean has risen, from 0 (not at all) to 1 (it has doubled, or more than that).
    """
    from scipy.stats import ttest_ind_from_stats

    mean, rows = baseline or (float(before.mean()), len(before))
    risen = float(after.mean()) - mean
    sizes = [max(2.0, count / effect) for count, effect in zip((rows, len(after)), effects, strict=True)]
    if np.ptp(np.concatenate([before, after])) == 0:  # nothing to be told apart
        p_value = 1.0
    elif before.std() == after.std() == 0:
        p_value = float(risen <= 0)
    else:
        samples = (after.mean(), after.std(ddof=1), sizes[1], mean, before.std(ddof=1), sizes[0])
        p_value = float(ttest_ind_from_stats(*samples, equal_var=False, alternative="greater").pvalue)
    rise = risen / mean if mean > 0 else float(risen > 0)
    return Finding(ERROR, "Welch", min(max(rise, 0.0), 1.0), p_value, min_effect)


def decide(
    findings: Sequence[Finding],
    alpha: float,
    rows_reference: int,
    rows_current: int,
    min_rows: int,
    importance: Mapping[str, float] | None = None,
) -> Verdict:
    """Which findings are drift: significant among all of them together, and large enough to matter.

    Where nothing has changed, any flag at all is raised with a probability of at most `alpha` (Holm 1979, under any
    dependence). With fewer than `min_rows` current rows none is raised, and that is said. `importance` says what a
    comparison is worth to the model, by the finding's name: half of alpha is shared out by it, half evenly.
    """
    too_few = ""
    if rows_current < min_rows:
        too_few = f"{rows_current} rows are too few to judge; min_rows={min_rows}"
    elif not findings:
        too_few = f"no column has {MIN_VALUES} values on both sides"
    worth = np.array([max(0.0, (importance or {}).get(finding.name, 0)) for finding in findings])
    weights = EVEN / len(findings) + (1 - EVEN) * worth / worth.sum() if worth.any() else None
    adjusted = holm([finding.p_value for finding in findings], weights)
    decided = [
        replace(
            finding, adjusted_p_value=p, drifted=not too_few and p < alpha and finding.statistic >= finding.min_effect
        )
        for finding, p in zip(findings, adjusted, strict=True)
    ]
    return Verdict(tuple(decided), rows_reference, rows_current, too_few)


def holm(p_values: Sequence[float], weights: np.ndarray | None = None) -> list[float]:
    """Adjusted p-values (Holm 1979), never below the one before: the i-th smallest of m times m - i + 1.

    With weights, p-values are ordered by p / weight, and each such times the sum of the weights from it on.
    """
    weights = np.ones(len(p_values)) if weights is None else weights
    scaled = np.array(p_values) / weights
    order = np.argsort(scaled, kind="stable")
    left = np.cumsum(weights[order][::-1])[::-1]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled[order] * left), 1) if len(p_values) else []
    return adjusted.tolist()
