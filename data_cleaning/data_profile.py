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
from checks import html_table, page
from schema import SCHEMA, TARGET, kind

EDGES: dict[str, list[float]] = {
    "Age": [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80],
    "Fare": [0, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300],
}
CATEGORIES = ("Survived", "Pclass", "Sex", "SibSp", "Parch", "Cabin", "Embarked")
NUMBERS = ("Age", "SibSp", "Parch", "Fare", "Pclass")


class Profile:
    """Counts and sums over all chunks."""

    def __init__(self) -> None:
        self.rows = 0
        self.missing: dict[str, int] = {}
        self.buckets: dict[str, dict[str, np.ndarray]] = {}  # column -> bucket -> rows, labelled rows, saved
        self.sums: dict[str, np.ndarray] = {}  # column -> count, x, x², then for labelled rows: count, x, x², y, xy
        self.range: dict[str, tuple[float, float]] = {}

    def add(self, frame: pd.DataFrame) -> None:
        """Take in cleaned passengers, typed as in the schema."""
        self.rows += len(frame)
        target = np.full(len(frame), np.nan)
        if TARGET in frame:
            target = frame[TARGET].to_numpy(float, na_value=np.nan)
        for name in frame.columns:
            self.missing[name] = self.missing.get(name, 0) + int(frame[name].isna().sum())
        for name in NUMBERS:
            self.add_sums(name, frame[name].to_numpy(float, na_value=np.nan), target)
        for name in [*EDGES, *(name for name in CATEGORIES if name in frame)]:
            labels, codes = bins(frame[name], EDGES[name]) if name in EDGES else categories(name, frame[name])
            self.add_buckets(name, labels, codes, target)

    def add_sums(self, name: str, x: np.ndarray, y: np.ndarray) -> None:
        present = x[~np.isnan(x)]
        if len(present):
            low, high = self.range.get(name, (math.inf, -math.inf))
            self.range[name] = (min(low, float(present.min())), max(high, float(present.max())))
        both = ~np.isnan(x) & ~np.isnan(y)
        a, b = x[both], y[both]
        # Sums of products, not `@`: on short arrays BLAS spends more time on its threads than on the work.
        products = [(present * present).sum(), (a * a).sum(), (a * b).sum()]
        new = [len(present), present.sum(), products[0], len(a), a.sum(), products[1], b.sum(), products[2]]
        self.sums[name] = self.sums.get(name, np.zeros(8)) + np.array(new, float)

    def add_buckets(self, name: str, labels: list[str], codes: np.ndarray, target: np.ndarray) -> None:
        known = ~np.isnan(target)
        size = len(labels)
        counts = np.stack(
            [
                np.bincount(codes, minlength=size),
                np.bincount(codes[known], minlength=size),
                np.bincount(codes[known], weights=target[known], minlength=size),
            ],
            axis=1,
        )
        column = self.buckets.setdefault(name, {})
        for label, count in zip(labels, counts, strict=True):
            column[label] = column.get(label, np.zeros(3)) + count

    def correlation(self, name: str) -> float | None:
        """Pearson's r with the target, over the rows that have both; None where it is not defined."""
        _, _, _, n, x, xx, y, xy = self.sums[name]
        spread = (n * xx - x * x) * (n * y - y * y)  # y is 0 or 1, so y² is y
        return (n * xy - x * y) / math.sqrt(spread) if spread > 1e-9 else None

    def association(self, name: str) -> float | None:
        """Cramér's V of a column's buckets and the target, 0 (none) to 1; None where it is not defined."""
        counts = np.array([bucket for label, bucket in self.buckets[name].items() if label and bucket[1]])
        if len(counts) < 2:
            return None
        table = np.stack([counts[:, 2], counts[:, 1] - counts[:, 2]], axis=1)
        if not table.sum(axis=0).all():
            return None
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        return math.sqrt(((table - expected) ** 2 / expected).sum() / table.sum())

    def html(self) -> str:
        rows = [self.row(name) for name in self.missing]
        head = ("column", "holds", "empty", "mean", "spread", "least", "most", "r with Survived", "Cramér's V")
        note = (
            f"<p>{self.rows} rows after cleaning. Bars: rows; the darker part: saved, of the rows where that is known. "
            "r: Pearson's correlation with the target; Cramér's V: association of the groups shown with it.</p>"
        )
        plots = [f"<h2>{html.escape(name)}</h2>\n{self.plot(name)}" for name in SCHEMA.columns if name in self.buckets]
        return page("Profile of the cleaned passenger list", "\n".join([note, html_table(head, rows), *plots]))

    def row(self, name: str) -> tuple[str, ...]:
        share = f"{self.missing[name] / self.rows:.1%}" if self.rows else "-"
        holds = kind(name) if name in SCHEMA.columns else "text"
        figures: list[float | None] = [None] * 6
        if name in self.sums and self.sums[name][0]:
            n, x, xx = self.sums[name][:3]
            spread = math.sqrt(max(xx / n - (x / n) ** 2, 0))
            figures[:5] = [x / n, spread, *self.range[name], self.correlation(name)]
        if name in self.buckets and name != TARGET:
            figures[5] = self.association(name)
        return (name, holds, share, *("-" if value is None else f"{value:.4g}" for value in figures))

    def plot(self, name: str) -> str:
        labels = list(self.buckets[name])
        if name not in EDGES:
            labels.sort(key=lambda label: (label == "", len(label), label))
        return bars([(label or "(empty)", *self.buckets[name][label]) for label in labels])


def bins(values: pd.Series, edges: list[float]) -> tuple[list[str], np.ndarray]:
    """Labels of the ranges, the last two being `beyond` and empty, and the place of each value among them."""
    numbers = values.to_numpy(float, na_value=np.nan)
    codes = np.searchsorted(edges, numbers, side="right") - 1
    codes[np.isnan(numbers)] = len(edges)
    labels = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    return [*labels, f"{edges[-1]:g} +", ""], codes


def categories(name: str, values: pd.Series) -> tuple[list[str], np.ndarray]:
    """The different values as text (of a cabin its deck; empty for gaps), and the place of each value among them."""
    cells = pa.array(values, from_pandas=True)
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    if name == "Cabin":
        cells = pc.utf8_slice_codeunits(cells, 0, 1)
    coded = pc.fill_null(pc.cast(cells, pa.string()), "").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)


def bars(buckets: list[tuple[str, float, float, float]], width: int = 44, height: int = 110) -> str:
    """Vertical bars: (label, rows, labelled rows, saved)."""
    most = max((rows for _, rows, _, _ in buckets), default=0) or 1
    parts = []
    for place, (label, rows, known, saved) in enumerate(buckets):
        left, high = 4 + place * (width + 6), height * rows / most
        dark = height * saved / most
        rate = f", {saved / known:.0%} saved" if known else ""
        parts.append(
            f"<g><title>{html.escape(label)}: {rows:.0f} rows{rate}</title>"
            f'<rect x="{left}" y="{16 + height - high:.1f}" width="{width}" height="{high:.1f}" fill="#b9cde5"/>'
            f'<rect x="{left}" y="{16 + height - dark:.1f}" width="{width}" height="{dark:.1f}" fill="#2b5c9a"/>'
            f'<text x="{left}" y="{12 + height - high:.1f}">{rows:.0f}</text>'
            f'<text x="{left}" y="{height + 30}">{html.escape(label[:8])}</text></g>'
        )
    total = 8 + len(buckets) * (width + 6)
    return f'<svg width="{total}" height="{height + 36}" role="img">{"".join(parts)}</svg>'
