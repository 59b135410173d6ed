"""Which passengers can be scored: each row judged by itself, against the model's types and what a passenger can be."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

ID = "PassengerId"
# Text that stands for "no value", in any case: exactly what data_cleaning takes for it (a test compares).
MISSING = ["", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "none", "null"]
NUMBER, WHOLE, TEXT = "number", "whole", "text"
NAMES = {NUMBER: "a number", WHOLE: "a whole number", TEXT: "text"}
MAX_EXACT_INTEGER = 2**53  # up to which a float64 holds every whole number
MAX_SHOWN = 40  # characters of a value that a message repeats


@dataclass(frozen=True)
class Rule:
    """What a cell may hold: inclusive bounds (`whole`: only whole numbers) or listed values; whether it must be there.

    Whole numbers are of the rules and not only of a signature, where `double` is what lets an empty cell be.
    """

    low: float = -math.inf
    high: float = math.inf
    allowed: tuple[object, ...] = ()
    required: bool = False
    whole: bool = False

    def __str__(self) -> str:
        if self.allowed:
            return "one of " + ", ".join(map(str, self.allowed))
        kind = "a whole number " if self.whole else ""
        return kind + (f"at least {self.low:g}" if self.high == math.inf else f"from {self.low:g} to {self.high:g}")


# What no passenger can be, whichever model is asked; gaps are the model's to fill, where its signature allows them.
# Applied to the columns that the model takes, and to the ID.
RULES = {
    ID: Rule(low=0, required=True),
    "Pclass": Rule(allowed=(1, 2, 3)),
    "Sex": Rule(allowed=("female", "male")),
    "Age": Rule(low=0, high=120),
    "SibSp": Rule(low=0, high=20, whole=True),
    "Parch": Rule(low=0, high=20, whole=True),
    "Fare": Rule(low=0, high=10_000),
    "Embarked": Rule(allowed=("C", "Q", "S")),
}


@dataclass(frozen=True)
class ParsedColumn:
    """A column read in its type; all of one length."""

    values: np.ndarray  # float64, or object for text; NaN where empty or wrong
    empty: np.ndarray  # booleans
    wrong: np.ndarray  # booleans: not of the type
    raw: Callable[[int], object]  # the cell as it came, by its place


@dataclass(frozen=True)
class CheckedRows:
    """Rows in the model's types, and for each row the reasons against it, "" where there are none."""

    frame: pd.DataFrame  # one row for each input row; cells that could not be read are empty
    reasons: np.ndarray  # text, same length
    by_column: Mapping[str, int]  # how many rows each column was a reason in

    @property
    def good(self) -> np.ndarray:
        """Booleans, one for each row."""
        good: np.ndarray = self.reasons == ""
        return good


def check(columns: Mapping[str, ParsedColumn], kinds: Mapping[str, str]) -> CheckedRows:
    """Judge each row by itself; `kinds` says NUMBER, WHOLE or TEXT for each column."""
    rows = len(next(iter(columns.values())).values) if columns else 0
    reasons = np.full(rows, "", dtype=object)
    by_column = {}
    for name, cells in columns.items():
        rule = RULES.get(name, Rule())
        missing = cells.empty if rule.required or kinds[name] == WHOLE else np.zeros(rows, bool)
        outside = ~cells.empty & ~cells.wrong & ~satisfies(cells.values, rule)
        for mask, text in ((cells.wrong, f"is not {NAMES[kinds[name]]}"), (outside, f"is not {rule}")):
            for place in np.flatnonzero(mask).tolist():
                add_reason(reasons, place, f"{name} {shorten(cells.raw(place))} {text}")
        for place in np.flatnonzero(missing).tolist():
            add_reason(reasons, place, f"{name} is missing")
        if count := int((missing | cells.wrong | outside).sum()):
            by_column[name] = count
    return CheckedRows(pd.DataFrame({name: cells.values for name, cells in columns.items()}), reasons, by_column)


def add_reason(reasons: np.ndarray, place: int, text: str) -> None:
    reasons[place] = f"{reasons[place]}; {text}" if reasons[place] else text


def satisfies(values: np.ndarray, rule: Rule) -> np.ndarray:
    """Which values the rule allows."""
    if rule.allowed:
        return pd.Series(values).isin(rule.allowed).to_numpy()
    if values.dtype == object:
        return np.ones(len(values), bool)
    fits = (values >= rule.low) & (values <= rule.high)
    return fits & (values == np.floor(values)) if rule.whole else fits


def from_text(column: pa.Array | pa.ChunkedArray, kind: str) -> ParsedColumn:
    """A CSV's column: trimmed, numbers read from text, the usual words for "no value" empty."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    text = pc.utf8_trim_whitespace(column)
    empty = pc.is_in(pc.ascii_lower(text), pa.array([None, *MISSING], pa.string()))
    text = pc.if_else(empty, pa.scalar(None, pa.string()), text)
    missing = empty.to_numpy(zero_copy_only=False)
    if kind == TEXT:
        values = text.to_numpy(zero_copy_only=False)
        if missing.any():
            values = np.where(missing, np.nan, values)
        wrong = np.zeros(len(values), bool)
    else:
        values = numbers(text)
        wrong = ~missing & not_representable(values, kind)
        values[wrong] = np.nan
    return ParsedColumn(values, missing, wrong, lambda place: column[int(place)].as_py())


def numbers(text: pa.Array) -> np.ndarray:
    """Text to float64, correctly rounded; NaN for none, and for what is no number."""
    try:
        values: np.ndarray = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False).copy()
        return values
    except pa.ArrowInvalid:  # some cell is no number: then one by one
        return np.array([number(cell) for cell in text.to_pylist()], float)


def number(cell: str | None) -> float:
    try:
        return math.nan if cell is None or "_" in cell else float(cell)
    except ValueError:
        return math.nan


def from_objects(column: Sequence[object], kind: str) -> ParsedColumn:
    """A JSON's column: "22" is no number, and only null is empty (with text: also the usual words)."""
    empty = np.array([cell is None or (isinstance(cell, float) and math.isnan(cell)) for cell in column], bool)
    wrong = ~empty & ~np.array([is_text(cell) if kind == TEXT else is_number(cell) for cell in column], bool)
    plain = np.array([None, *column], dtype=object)[1:]  # the None keeps numpy from making lists to rows
    plain[empty | wrong] = np.nan
    if kind == TEXT:
        missing = np.array([isinstance(cell, str) and is_missing(cell) for cell in plain], bool)
        plain[missing] = np.nan
        empty |= missing
    else:
        plain = plain.astype(float)
        wrong |= ~empty & not_representable(plain, kind)
        plain[wrong] = np.nan
    return ParsedColumn(plain, empty, wrong, lambda place: column[place])


def is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def is_text(cell: object) -> bool:
    return isinstance(cell, str)


def is_number(cell: Any) -> bool:
    """Also False for a whole number that no float64 can hold."""
    numeric = isinstance(cell, int | float | np.number) and not isinstance(cell, bool)
    return numeric and bool(abs(cell) <= 2**63)


def not_representable(values: np.ndarray, kind: str) -> np.ndarray:
    """Which numbers are not finite, or not whole where they must be."""
    refused: np.ndarray = ~np.isfinite(values)
    if kind == WHOLE:
        with np.errstate(invalid="ignore"):
            refused |= (values != np.floor(values)) | (np.abs(values) > MAX_EXACT_INTEGER)
    return refused


def shorten(value: object) -> str:
    """A value for a message: short, in one line."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
