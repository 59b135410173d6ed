"""What can be seen in a CSV of any kind: the type of each column, its values and range, what it says of another one."""

import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "kit"), str(ROOT / "data_cleaning")]  # raw data have one reader, which is data_cleaning's

MAX_ROWS = 200_000  # looked at
MAX_ROWS_ALONE = 20_000  # of which it is tried how well a column predicts the target
FEW_TEXTS, FEW_NUMBERS = 20, 3  # different values, up to which they are listed
SEEN_EACH = 5  # rows for each listed text, on average; with fewer, others will come
FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d.%m.%y", "%m/%d/%y", "%Y%m%d", "%d %b %Y")
TIMES = ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S")
KEY_NAME = re.compile(r"(?i)(^|[_\W])(id|key|no|nr|number|uuid|guid|code|ref)$|(?<=[a-z])(Id|ID|No|Key|Number)$")
# What numbers such as these say of commas and points: 1.234,5 and 7,25 and 1,234.5 and 7.25, but not 1,234.
DECIMAL_COMMA, DECIMAL_POINT = r"[+-]?(\d*,(\d{1,2}|\d{4,})|0*,\d+|\d{4,},\d+)", r"[+-]?(\d*\.(\d{1,2}|\d{4,})|0*\.\d+)"
POINTS_AND_COMMA, COMMAS_AND_POINT = r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+", r"[+-]?[1-9]\d{0,2}(,\d{3})+\.\d+"
THOUSANDS = r"[+-]?\d{1,3}(,\d{3})*"
OPEN = r"[+-]?[1-9]\d{0,2},\d{3}"
UNITS = {
    "kg": "kg", "g": "g", "lb": "lb", "lbs": "lb", "cm": "cm", "mm": "mm", "km": "km", "miles": "miles", "ft": "ft",
    "eur": "euro", "euro": "euro", "usd": "dollars", "dollars": "dollars", "gbp": "pounds", "pct": "%", "percent": "%",
    "years": "years", "months": "months", "weeks": "weeks", "days": "days", "hours": "hours", "minutes": "minutes",
    "seconds": "seconds", "sec": "seconds", "ms": "ms", "celsius": "°C", "kwh": "kWh", "mph": "mph", "kmh": "km/h",
}  # fmt: skip


@dataclass
class Column:
    """A column as it was found; texts are trimmed, and those that stand for a missing value are gone."""

    name: str
    texts: pd.Series  # of the cells that are not empty
    rows: int
    type: str = "string"
    format: str = ""  # of dates that are not ISO 8601
    missing_words: list[str] = field(default_factory=list)  # that stand among numbers
    decimal_char: str = ""  # of numbers, where their commas would else be left open
    group_char: str = ""
    numbers: np.ndarray | None = None

    @property
    def empty(self) -> int:
        return self.rows - len(self.texts)

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(map(str, self.typed))

    @cached_property
    def typed(self) -> list[Any]:
        if self.type == "integer" and self.numbers is not None:
            return [int(value) for value in self.numbers]
        return list(self.numbers) if self.numbers is not None else self.texts.tolist()

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @property
    def values(self) -> list[Any]:
        """The different values, in order."""
        return sorted(set(self.typed))

    @property
    def low(self) -> float | None:
        return None if self.numbers is None or not len(self.numbers) else float(self.numbers.min())

    @property
    def few_values(self) -> bool:
        if self.type == "integer":
            return self.distinct <= FEW_NUMBERS
        return self.type == "string" and self.distinct <= min(FEW_TEXTS, len(self.texts) / SEEN_EACH)

    @property
    def named_as_key(self) -> bool:
        return bool(KEY_NAME.search(self.name))

    @property
    def names_rows(self) -> bool:
        """Whether no two cells are alike and none is empty, and that can hardly be chance."""
        if self.empty or self.distinct < self.rows or self.type not in ("integer", "string"):
            return False
        if self.type == "integer":
            counting = self.numbers is not None and bool((np.diff(self.numbers) == 1).all())
            return self.low is not None and self.low >= 0 and (self.named_as_key or counting)
        return not self.free_text

    @property
    def identifier(self) -> bool:
        """Whether (nearly) every row has a value of its own, so that nothing can be learned from it."""
        alone = self.distinct > 0.9 * len(self.texts) and len(self.texts) > 20
        return alone and (self.type == "string" or (self.type == "integer" and self.named_as_key))

    @property
    def free_text(self) -> bool:
        if self.type != "string" or self.few_values:
            return False
        return self.texts.str.count(r"\s").mean() >= 2 and self.distinct > 0.5 * len(self.texts)

    @property
    def unit(self) -> str:
        """The unit that the name says, "" for none."""
        if self.type not in ("integer", "number"):
            return ""
        match = re.search(r"[\[(]([^\])]+)[\])]\s*$", self.name) or re.search(r"_([a-zA-Z]+)$", self.name)
        word = match[1].strip() if match else ""
        return UNITS.get(word.lower(), word if match and match[0].startswith(("(", "[")) else "")

    @property
    def max_missing(self) -> float:
        """The share of empty cells there may be without a warning: what there is, with margin."""
        return min(1.0, math.ceil((1.5 * self.empty / self.rows + 0.02) * 100) / 100)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The range of a number with half of it as margin on either side, but not below zero where nothing is."""
        if self.type not in ("integer", "number") or self.numbers is None or not len(self.numbers):
            return None
        low, high = float(self.numbers.min()), float(self.numbers.max())
        margin = (high - low) / 2 or abs(high) / 2 or 1.0
        least = 0.0 if low >= 0 and low - margin < 0 else rounded(low - margin, math.floor)
        most = 0.0 if high <= 0 and high + margin > 0 else rounded(high + margin, math.ceil)
        return (int(least), int(most)) if self.type == "integer" else (least, most)

    @property
    def bins(self) -> list[float]:
        """Edges of about ten groups of like width over the range there is."""
        if self.numbers is None:
            return []
        low, high = float(self.numbers.min()), float(self.numbers.max())
        if low == high or (self.type == "integer" and high - low <= 30):
            return []
        exact = (high - low) / 10
        scale = 10.0 ** math.floor(math.log10(exact))
        width = next(step * scale for step in (1, 2, 2.5, 5, 10) if step * scale >= exact)
        start = math.floor(low / width)
        edges = [float(f"{(start + place) * width:.10g}") for place in range(math.ceil(high / width) - start + 1)]
        return [int(edge) if edge.is_integer() else edge for edge in edges]

    @property
    def said(self) -> str:
        """What was seen, in words."""
        if self.few_values and self.type != "boolean":
            listed = ", ".join(map(str, self.values))
            return f"{self.distinct} values: {listed[:50]}{'…' if len(listed) > 50 else ''}; others will be rejected"
        if self.bounds is not None and self.numbers is not None:
            low, high = self.bounds
            unit = f" {self.unit}" if self.unit else ""
            seen = f"{self.numbers.min():g} to {self.numbers.max():g}"
            return f"{seen}{unit}; {low:g} to {high:g} is allowed"
        if self.type in ("date", "datetime"):
            return f"dates{f' as {self.format}' if self.format else ''}, such as {self.texts.iloc[0]}"
        if self.type == "boolean":
            return f"true or false, written {' and '.join(sorted(set(self.texts.str.lower())))}"
        return f"{self.distinct} different texts"


@dataclass
class Facts:
    """A CSV as it was found."""

    name: str
    rows: int
    columns: list[Column]
    remark: str = ""
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)  # text, missing where empty

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def alone(self, column: Column, target: str, task: str) -> float:
        """How well the column predicts the target by itself, cross-validated: 0 not at all, 1 perfectly.

        The balanced accuracy above chance of a decision tree, or the share of the variance that it explains.
        """
        from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        goal = self.column(target)
        both = self.frame[[column.name, target]].head(MAX_ROWS_ALONE).dropna()
        both = both[both[target].isin(set(goal.texts))]
        if len(both) < 20 or (column.identifier and column.type == "string"):
            return 0.0
        x = (
            parse_numbers(both[column.name], column)
            if column.numbers is not None
            else pd.factorize(both[column.name], sort=True)[0].astype(float)
        )
        x = np.clip(np.nan_to_num(x, nan=-1e9), -1e30, 1e30)[:, None]  # trees hold float32
        if task == "regression":
            y = parse_numbers(both[target], goal)
            folds = KFold(5, shuffle=True, random_state=0)
            found = cross_val_score(DecisionTreeRegressor(min_samples_leaf=3, random_state=0), x, y, cv=folds)
            return max(0.0, float(found.mean()))
        y = both[target].to_numpy()
        counts = Counter(y)
        keep = np.array([counts[value] >= 5 for value in y])
        if len(set(y[keep])) < 2:
            return 0.0
        tree = DecisionTreeClassifier(min_samples_leaf=2, random_state=0)
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        found = cross_val_score(tree, x[keep], y[keep], cv=folds, scoring="balanced_accuracy")
        chance = 1 / len(set(y[keep]))
        return max(0.0, (float(found.mean()) - chance) / (1 - chance))


def look_at(csv: Path) -> Facts:
    """The CSV's columns as they were found in its first MAX_ROWS rows.

    Raises:
        StepError: not a CSV file, or a column is there twice.
    """
    from csv_reading import inspect, read_chunks, refuse_duplicate_columns
    from table import MISSING_VALUES

    source = inspect(csv)
    refuse_duplicate_columns(source.columns)
    chunks, rows, ragged = [], 0, 0
    for chunk in islice(read_chunks(source, 50_000), MAX_ROWS // 50_000):
        chunks.append(chunk.cells)
        rows += len(chunk.cells)
        ragged += len(chunk.ragged)
    cells = pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame(columns=source.columns)
    frame = pd.DataFrame(
        {name: cells[name].astype(object).str.replace(r"\s+", " ", regex=True).str.strip() for name in source.columns}
    )
    frame = frame.where(~frame.apply(lambda texts: texts.str.lower()).isin(MISSING_VALUES))
    columns = [see(Column(name, frame[name].dropna(), rows)) for name in source.columns]
    words = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
    remark = f", separated by {words[source.separator]}"
    remark += f"; rows with more or fewer cells, which will be rejected: {ragged}" if ragged else ""
    remark += f"; looked at the first {MAX_ROWS}" if rows >= MAX_ROWS else ""
    for column in columns:
        frame.loc[frame[column.name].isin(column.missing_words), column.name] = np.nan
    return Facts(csv.name, rows, columns, remark, frame)


def see(column: Column) -> Column:
    """The column with its type found out."""
    from row_checks import FALSE, TRUE

    texts = column.texts
    if texts.empty:
        return column
    lower = set(texts.str.lower())
    if len(lower) == 2 and lower & set(TRUE) and lower & set(FALSE) and not lower <= {"0", "1"}:
        column.type = "boolean"
        return column
    column.decimal_char, column.group_char = number_chars(texts)
    numbers = parse_numbers(texts, column)
    wrong = np.isnan(numbers)
    words = sorted(set(texts[wrong].str.lower()))
    coded = texts.str.match(r"0\d").any()  # 007 is no number
    are_words = len(words) <= 3 and not any(re.search(r"\d", word) for word in words)
    if not coded and wrong.mean() <= 0.2 and are_words:
        column.texts, column.missing_words, numbers = texts[~wrong], words, numbers[~wrong]
    elif coded or wrong.mean() > 0.02:
        return see_dates(column)
    else:  # a few odd cells, which cleaning will reject
        column.texts, numbers = texts[~wrong], numbers[~wrong]
    whole = bool((numbers == np.floor(numbers)).all())
    if whole and (np.abs(numbers) >= 2**53).any():
        if texts.str.fullmatch(r"[+-]?\d+").all():  # which no number holds exactly
            return Column(column.name, texts, column.rows)
        whole = False
    column.type, column.numbers = ("integer" if whole else "number"), numbers
    return column


def see_dates(column: Column) -> Column:
    """The column as dates, where all of its texts are."""
    sample = column.texts.iloc[:10_000]
    iso = sample.str.match(r"\d{4}-\d\d-\d\d")
    if iso.all():
        parsed = pd.to_datetime(sample, format="ISO8601", errors="coerce", utc=True)
        if parsed.notna().all():
            column.type = "datetime" if sample.str.len().max() > 10 else "date"
        return column
    for kind, formats in (("date", FORMATS), ("datetime", TIMES)):
        for pattern in formats:
            if pd.to_datetime(sample, format=pattern, errors="coerce").notna().all():
                column.type, column.format = kind, pattern
                return column
    return column


def number_chars(texts: pd.Series) -> tuple[str, str]:
    """decimalChar and groupChar of numbers that would be left open without; two empty texts where that is not so."""
    if not texts.str.contains(",", regex=False).any():
        return "", ""
    comma, point, points_and_comma, commas_and_point, unclear = (
        bool(texts.str.fullmatch(pattern).any())
        for pattern in (DECIMAL_COMMA, DECIMAL_POINT, POINTS_AND_COMMA, COMMAS_AND_POINT, OPEN)
    )
    if points_and_comma and not (point or commas_and_point):
        return ",", "."
    if commas_and_point and not (comma or points_and_comma):
        return ".", ","
    if unclear and comma != point and not (points_and_comma or commas_and_point):
        return (",", "") if comma else (".", ",")
    if unclear and not (comma or point or points_and_comma) and texts.str.fullmatch(THOUSANDS).all():
        return ".", ","  # whole numbers, each of which has a comma from a thousand on
    return "", ""


def parse_numbers(texts: pd.Series, column: Column) -> np.ndarray:
    """Numbers as data_cleaning reads them; NaN where there is none."""
    import pyarrow as pa
    from row_checks import parse_numbers as parse

    numbers, _, _ = parse(pa.array(texts.tolist(), pa.large_string()), column.decimal_char, column.group_char)
    return numbers


def rounded(value: float, direction: Any) -> float:
    """Two significant digits, away from the range."""
    if not value:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{direction(value / scale) * scale:.10g}")
