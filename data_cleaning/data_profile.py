"""What the cleaned data look like: gaps, distributions, and how each column goes with the target.

Only sums and counts are kept, so it takes chunks in turn, in flat memory. The plots are inline SVG.
"""

import html
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from page import page
from page import table as page_table
from table import BINARY, REGRESSION, Field, Table

MAX_VALUES = 30  # whole numbers in a range of more are not drawn value by value
BARS_IN_A_CELL = 6  # what is 320 pixels wide


class Profile:
    """Counts and sums over all chunks.

    What goes with the target is kept as one weight for each row and class (1 where the row is of that class; of two
    classes the positive one alone), or as the target itself where it is a number.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rows = 0
        self.missing: dict[str, int] = {}
        self.buckets: dict[str, dict[str, np.ndarray]] = {}  # column -> bucket -> rows, labelled rows, sums of weights
        self.sums: dict[str, np.ndarray] = {}  # column -> count, x, x², then for labelled rows: n, x, x², y, y², xy
        self.range: dict[str, tuple[float, float]] = {}
        self.drawn = {one.name for one in table.fields if one.bins or one.few_values or small_range(one)}
        self.numbers = {one.name for one in table.fields if one.numeric and one.role not in ("key", "target")}

    def add(self, frame: pd.DataFrame) -> None:
        """Take in cleaned rows, typed as declared."""
        self.rows += len(frame)
        known, weights = self.weights(frame)
        for name in frame.columns:
            self.missing[name] = self.missing.get(name, 0) + int(frame[name].isna().sum())
            one = self.table.by_name.get(name)
            if name in self.numbers:
                self.add_sums(name, as_numbers(frame[name]), np.where(known, weights[:, 0], np.nan))
            if one and name in self.drawn:
                labels, codes = bins(frame[name], list(one.bins)) if one.bins else categories(frame[name])
                self.add_buckets(name, labels, codes, known, weights)

    def weights(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Which rows have a target, and their weights: (rows,) and (rows, weights)."""
        table = self.table
        if table.target.name not in frame:
            return np.zeros(len(frame), bool), np.zeros((len(frame), max(1, len(table.classes))))
        target = frame[table.target.name]
        known = target.notna().to_numpy()
        if table.task == REGRESSION:
            return known, np.nan_to_num(target.to_numpy(float, na_value=np.nan))[:, None]
        texts = target.astype(str).to_numpy(object)
        classes = [table.positive] if table.task == BINARY else table.classes
        return known, np.stack([(texts == table.class_text(value)) & known for value in classes], axis=1).astype(float)

    def add_sums(self, name: str, x: np.ndarray, y: np.ndarray) -> None:
        present = x[~np.isnan(x)]
        if len(present):
            low, high = self.range.get(name, (math.inf, -math.inf))
            self.range[name] = (min(low, float(present.min())), max(high, float(present.max())))
        both = ~np.isnan(x) & ~np.isnan(y)
        a, b = x[both], y[both]
        # Sums of products, not `@`: on short arrays BLAS spends more time on its threads than on the work.
        new = [len(present), present.sum(), (present * present).sum()]
        new += [len(a), a.sum(), (a * a).sum(), b.sum(), (b * b).sum(), (a * b).sum()]
        self.sums[name] = self.sums.get(name, np.zeros(9)) + np.array(new, float)

    def add_buckets(
        self, name: str, labels: list[str], codes: np.ndarray, known: np.ndarray, weights: np.ndarray
    ) -> None:
        size = len(labels)
        counts = [np.bincount(codes, minlength=size), np.bincount(codes[known], minlength=size)]
        counts += [np.bincount(codes[known], weights=weight[known], minlength=size) for weight in weights.T]
        column = self.buckets.setdefault(name, {})
        for label, count in zip(labels, np.stack(counts, axis=1), strict=True):
            column[label] = column.get(label, np.zeros(len(counts))) + count

    def merge(self, other: "Profile") -> None:
        """Take in the counts and sums of rows that come later in the file."""
        self.rows += other.rows
        for name, gaps in other.missing.items():
            self.missing[name] = self.missing.get(name, 0) + gaps
        for name, sums in other.sums.items():
            self.sums[name] = self.sums.get(name, np.zeros(len(sums))) + sums
        for name, (low, high) in other.range.items():
            least, most = self.range.get(name, (low, high))
            self.range[name] = min(least, low), max(most, high)
        for name, buckets in other.buckets.items():
            column = self.buckets.setdefault(name, {})
            for label, counts in buckets.items():
                column[label] = column.get(label, np.zeros(len(counts))) + counts

    def correlation(self, name: str) -> float | None:
        """Pearson's r with the target, over the rows that have both; None where it is not defined."""
        if len(self.table.classes) > 2:
            return None
        _, _, _, n, x, xx, y, yy, xy = self.sums[name]
        spread = (n * xx - x * x) * (n * yy - y * y)
        return (n * xy - x * y) / math.sqrt(spread) if spread > 1e-9 else None

    def association(self, name: str) -> float | None:
        """Cramér's V of a column's buckets and the target's classes, 0 (none) to 1; None where it is not defined."""
        counts = np.array([bucket for label, bucket in self.buckets[name].items() if label and bucket[1]])
        if len(counts) < 2 or self.table.task == REGRESSION:
            return None
        table = counts[:, 2:]
        if self.table.task == BINARY:
            table = np.column_stack([table[:, 0], counts[:, 1] - table[:, 0]])
        table = table[:, table.sum(axis=0) > 0]
        smaller = min(table.shape) - 1
        if smaller < 1:
            return None
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        return math.sqrt(((table - expected) ** 2 / expected).sum() / table.sum() / smaller)

    def html(self) -> str:
        table = self.table
        rows = [self.row(name) for name in self.missing]
        head = (
            "column",
            "holds",
            "empty",
            "mean",
            "spread",
            "least",
            "most",
            f"r with {table.target.name}",
            "Cramér's V",
        )
        dark = (
            f" The darker part: {table.class_label(table.positive)}, of those where that is known."
            if table.task == BINARY
            else ""
        )
        note = (
            f"<p>{self.rows} {html.escape(table.rows)} after cleaning, of which the bars are made.{html.escape(dark)} "
            "r: Pearson's correlation with the target; Cramér's V: association of the groups shown with it.</p>"
        )
        names = [one.name for one in table.fields if one.name in self.buckets]
        plots = [f"<div{self.place(name)}><h2>{html.escape(name)}</h2>\n{self.plot(name)}</div>" for name in names]
        title = f"Profile: {table.title or table.name}"
        return page(
            title,
            "\n".join([note, page_table(head, rows, range(2, len(head))), '<div class="grid">', *plots, "</div>"]),
        )

    def row(self, name: str) -> tuple[str, ...]:
        share = f"{self.missing[name] / self.rows:.1%}" if self.rows else "-"
        one = self.table.by_name.get(name)
        figures: list[float | None] = [None] * 6
        if name in self.sums and self.sums[name][0]:
            n, x, xx = self.sums[name][:3]
            spread = math.sqrt(max(xx / n - (x / n) ** 2, 0))
            figures[:5] = [x / n, spread, *self.range[name], self.correlation(name)]
        if name in self.buckets and name != self.table.target.name:
            figures[5] = self.association(name)
        holds = one.holds if one else "text"
        return (name, holds, share, *("-" if value is None else f"{value:.4g}" for value in figures))

    def place(self, name: str) -> str:
        """A row of the grid for many bars, which are scrolled sideways rather than drawn too small to be read."""
        return ' class="wide" tabindex="0" style="grid-column:1/-1"' if len(self.buckets[name]) > BARS_IN_A_CELL else ""

    def plot(self, name: str) -> str:
        one, labels = self.table.by_name[name], list(self.buckets[name])
        if not one.bins:
            labels.sort(key=lambda label: (label == "", len(label), label))
        return bars([self.bar(one, label) for label in labels])

    def bar(self, one: Field, label: str) -> tuple[str, float, float, str]:
        """Label, rows, height of the darker part in rows, and what is said of the target."""
        rows, known, *sums = self.buckets[one.name][label].tolist()
        table, said, dark = self.table, "", 0.0
        if known and table.task == BINARY:
            said, dark = f", {sums[0] / known:.0%} {table.class_label(table.positive)}", sums[0]
        elif known and table.task == REGRESSION:
            said = f", mean {table.target.name} {sums[0] / known:.4g}"
        elif known:
            shares = zip(table.classes, sums, strict=True)
            said = ", " + ", ".join(f"{total / known:.0%} {table.class_label(value)}" for value, total in shares)
        return (one.label(label) if label else "(empty)"), rows, dark, said


def small_range(one: Field) -> bool:
    """Whether a whole number has so few values that each can have a bar."""
    low, high = one.minimum, one.maximum
    whole = one.type == "integer" and isinstance(low, int | float) and isinstance(high, int | float)
    return whole and high - low <= MAX_VALUES  # type: ignore[operator]  # told by `whole`


def as_numbers(values: pd.Series) -> np.ndarray:
    """Numbers as float64, true as 1; NaN where empty."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(float, na_value=np.nan)
    return values.map({"true": 1.0, "false": 0.0}).to_numpy(float, na_value=np.nan)


def bins(values: pd.Series, edges: list[float]) -> tuple[list[str], np.ndarray]:
    """Labels of the ranges, the last two being `beyond` and empty, and the place of each value among them."""
    numbers = values.to_numpy(float, na_value=np.nan)
    codes = np.searchsorted(edges, numbers, side="right") - 1
    codes[np.isnan(numbers)] = len(edges)
    labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    return [*labels, f"{edges[-1]:g} +", ""], codes


def categories(values: pd.Series) -> tuple[list[str], np.ndarray]:
    """The different values as text (empty for gaps), and the place of each value among them."""
    cells = pa.array(values, from_pandas=True)
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    coded = pc.fill_null(pc.cast(cells, pa.string()), "").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)


def bars(buckets: list[tuple[str, float, float, str]], width: int = 44, height: int = 110) -> str:
    """Vertical bars: (label, rows, rows of the darker part, what else is said)."""
    most = max((rows for _, rows, _, _ in buckets), default=0) or 1
    parts, words = [], []
    for place, (label, rows, darker, said) in enumerate(buckets):
        words.append(html.escape(f"{label}: {rows:.0f} rows{said}"))
        left, high = 4 + place * (width + 6), height * rows / most
        dark = height * darker / most
        parts.append(
            f"<g><title>{words[-1]}</title>"
            f'<rect x="{left}" y="{16 + height - high:.1f}" width="{width}" height="{high:.1f}" fill="#b9cde5"/>'
            f'<rect x="{left}" y="{16 + height - dark:.1f}" width="{width}" height="{dark:.1f}" fill="#2b5c9a"/>'
            f'<text x="{left}" y="{12 + height - high:.1f}">{rows:.0f}</text>'
            f'<text x="{left}" y="{height + 30}">{html.escape(label[:8])}</text></g>'
        )
    total = 8 + len(buckets) * (width + 6)
    size = f'width="{total}" height="{height + 36}" style="max-width:none"'
    return f'<svg {size} role="img" aria-label="{"; ".join(words)}">{"".join(parts)}</svg>'
