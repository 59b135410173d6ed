"""Clean passengers, row by row: a pure function of a data frame. No files, no MLflow here.

Nothing is learned from other rows (that is for the model, after the split): a row's fate depends on that row alone,
and on whether its PassengerId was seen before.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from csv_reading import CleaningError, name_columns, refuse_duplicate_columns, require_columns
from csv_writing import csv_lines
from duplicates import DuplicateDetector
from pandas.api.extensions import ExtensionArray
from schema import KEY, SCHEMA, TARGET, TEXT, kind, row_schema, rule

MISSING_TEXTS = pa.array(["", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "none", "null"], pa.large_string())
NUMBER = r"^[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?$"
IRREGULAR_SPACES = r"[\t\n\v\f\r\x{00a0}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{3000}]|  "
MAX_EXACT_INTEGER = 2**53  # whole numbers up to here are exact as float64

DUPLICATE = "duplicate"  # the same row again
INCOMPLETE = "incomplete"  # a gap, with missing=drop
NOT_REJECTED = (DUPLICATE, INCOMPLETE)  # dropped, but nothing is wrong with them


@dataclass
class Cleaned:
    """What `clean` gives back.

    passengers: typed as in the schema, in its order; indexed like the input.
    lines: the CSV text of each of these rows.
    reasons: for each row that was dropped, by input index, why; several reasons are joined by `; `.
    findings: for each (column, rule) that was broken, the positions of the rows.
    missing: for each column, how many cells were empty.
    """

    passengers: pd.DataFrame
    lines: pa.Array
    reasons: pd.Series
    findings: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)


def clean(
    passengers: pd.DataFrame,
    *,
    missing: str = "keep",
    require_target: bool = True,
    extra_columns: str = "drop",
    detector: DuplicateDetector | None = None,
) -> Cleaned:
    """Trim, give types, drop rows that cannot be or that were there before.

    Args:
        passengers: the columns of the schema in any order and spelling; text or typed.
        missing: `keep` leaves gaps to the model, `drop` drops each row with any gap.
        require_target: rows without `Survived` are rejected, and the column must be there.
        extra_columns: `drop`, or `keep` as text after the schema's columns.
        detector: knows the passengers of earlier chunks; those of this one are added to it.

    Raises:
        CleaningError: a column is missing, or a parameter is none of its choices.
    """
    check_choice("missing", missing, ("keep", "drop"))
    check_choice("extra_columns", extra_columns, ("drop", "keep"))
    names = name_columns([str(name) for name in passengers.columns])
    require_columns(names, require_target=require_target)
    refuse_duplicate_columns(names)
    texts = {name: clean_text(name, passengers.iloc[:, place]) for place, name in enumerate(names)}
    order = [name for name in SCHEMA.columns if name in texts]
    if extra_columns == "keep":
        order += [name for name in texts if name not in SCHEMA.columns]

    findings: dict[tuple[str, str], np.ndarray] = {}  # masks at first
    frame = pd.DataFrame({name: convert(name, texts[name], findings) for name in order}, index=passengers.index)
    check_rows(frame, findings, require_target=require_target)
    reasons = DropReasons(len(frame))
    for (name, broken), mask in findings.items():
        reasons.add(mask, f"{name}_{broken}")

    accepted_rows = np.flatnonzero(~reasons.dropped)
    accepted = frame.iloc[accepted_rows]
    lines = csv_lines(accepted)
    new, same = (DuplicateDetector() if detector is None else detector).add(
        accepted[KEY].to_numpy(np.int64), hashes(lines)
    )
    conflicting = reasons.mask_at(accepted_rows[~new & ~same])
    reasons.add(conflicting, f"{KEY}_duplicate")
    reasons.add(reasons.mask_at(accepted_rows[same]), DUPLICATE)
    findings[KEY, "duplicate"] = conflicting
    findings["(row)", DUPLICATE] = reasons.mask_at(accepted_rows[same])
    if missing == "drop":
        required = frame if require_target else frame.drop(columns=TARGET, errors="ignore")
        gaps = required.isna().any(axis=1).to_numpy() & ~reasons.dropped
        reasons.add(gaps, INCOMPLETE)
        findings["(row)", INCOMPLETE] = gaps
    kept = ~reasons.dropped
    return Cleaned(
        passengers=frame[kept],
        lines=lines.filter(pa.array(kept[accepted_rows])),
        reasons=pd.Series(reasons.texts[~kept], index=frame.index[~kept], dtype=object),
        findings={key: np.flatnonzero(mask) for key, mask in findings.items() if mask.any()},
        missing={name: int(texts[name].null_count) for name in order},
    )


def check_choice(parameter: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises CleaningError if the parameter has another value than one of its choices."""
    if value not in choices:
        raise CleaningError(f"{parameter}={value!r} is not one of {', '.join(choices)}")


class DropReasons:
    """Why rows are dropped, gathered column by column."""

    def __init__(self, rows: int) -> None:
        self.dropped = np.zeros(rows, bool)
        self.texts = np.full(rows, "", object)

    def add(self, mask: np.ndarray, reason: str) -> None:
        self.texts[mask & self.dropped] += f"; {reason}"
        self.texts[mask & ~self.dropped] = reason
        self.dropped |= mask

    def mask_at(self, positions: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self.dropped), bool)
        mask[positions] = True
        return mask


def clean_text(name: str, values: pd.Series) -> pa.Array:
    """Trimmed, text with single spaces, and null for everything that stands for a missing value."""
    cells = pa.array(values.astype(TEXT), pa.large_string(), from_pandas=True)
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    if is_text(name) and pc.any(pc.match_substring_regex(cells, IRREGULAR_SPACES)).as_py():
        cells = pc.replace_substring_regex(cells, r"[\s\p{Z}]+", " ")
    cells = pc.utf8_trim_whitespace(cells)
    short = pc.if_else(pc.less_equal(pc.binary_length(cells), 4), cells, "x")  # the others need no look
    gaps = pc.is_in(pc.ascii_lower(short), MISSING_TEXTS)
    return pc.if_else(gaps, pa.scalar(None, pa.large_string()), cells)


def is_text(name: str) -> bool:
    return name not in SCHEMA.columns or kind(name) == "text"


def convert(name: str, cells: pa.Array, findings: dict[tuple[str, str], np.ndarray]) -> np.ndarray | ExtensionArray:
    """The column in its declared type; what cannot be converted becomes a gap and a finding."""
    if is_text(name):
        return pd.array(canonical_spelling(name, cells), dtype=TEXT)
    if kind(name) == "number":
        return convert_numbers(name, cells, findings)
    return convert_whole_numbers(name, cells, findings)


def convert_numbers(name: str, cells: pa.Array, findings: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """The column as float64."""
    numbers, wrong = parse_numbers(cells)
    if wrong.any():
        findings[name, "not_a_number"] = wrong
    return numbers


def convert_whole_numbers(
    name: str, cells: pa.Array, findings: dict[tuple[str, str], np.ndarray]
) -> pd.arrays.IntegerArray:
    """The column as Int64."""
    numbers = convert_numbers(name, cells, findings)
    gaps = np.isnan(numbers)
    broken = ~gaps & ((numbers != np.floor(numbers)) | (np.abs(numbers) > MAX_EXACT_INTEGER))
    if broken.any():
        findings[name, "not_a_whole_number"] = broken
    whole = np.where(gaps | broken, 0, numbers).astype(np.int64)
    return pd.arrays.IntegerArray(whole, gaps | broken)


def canonical_spelling(name: str, cells: pa.Array) -> pa.Array:
    """Where only some values are allowed, these in their own spelling: `Male` is `male`, `s` is `S`."""
    checks = SCHEMA.columns[name].checks if name in SCHEMA.columns else []
    for value in [value for check in checks for value in check.statistics["allowed_values"]]:
        differs = pc.and_(pc.equal(pc.utf8_lower(cells), value.lower()), pc.not_equal(cells, value))
        if pc.any(differs).as_py():
            cells = pc.if_else(differs, pa.scalar(value, cells.type), cells)
    return cells


def parse_numbers(cells: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The numbers (NaN for gaps and for what is none), and where a cell is no number. `7,25` is 7.25."""
    none = np.zeros(len(cells), bool)
    try:
        numbers = as_float(cells)
        if not np.isinf(numbers).any() and np.isnan(numbers).sum() == cells.null_count:
            return numbers, none
    except pa.ArrowInvalid:
        pass
    matching = pc.match_substring_regex(cells, NUMBER)
    plain = pc.if_else(matching, pc.replace_substring(pc.utf8_ltrim(cells, "+"), ",", "."), None)
    numbers = as_float(plain)
    numbers[np.isinf(numbers)] = np.nan
    wrong = pc.is_valid(cells).to_numpy(zero_copy_only=False) & np.isnan(numbers)
    return numbers, wrong


def as_float(cells: pa.Array) -> np.ndarray:
    numbers: np.ndarray = pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False).copy()
    return numbers


def check_rows(frame: pd.DataFrame, findings: dict[tuple[str, str], np.ndarray], *, require_target: bool) -> None:
    """The schema's own checks, as masks of the rows that break them."""
    unreadable = {name: mask for (name, _), mask in findings.items()}
    for name, declared in row_schema(list(frame.columns), require_target=require_target).columns.items():
        values = frame[name]
        present = values.notna().to_numpy()
        if not declared.nullable:
            gaps = ~present & ~unreadable.get(name, np.zeros(len(frame), bool))
            if gaps.any():
                findings[name, "missing"] = gaps
        for check in declared.checks:
            broken = np.zeros(len(frame), bool)
            broken[present] = ~check(values[present]).check_output.to_numpy(bool)
            if broken.any():
                findings[name, rule(check)] = broken


def hashes(lines: pa.Array) -> np.ndarray:
    """64 bits for each row's text; shape (rows,)."""
    return pd.util.hash_array(lines.to_numpy(zero_copy_only=False).astype(object), categorize=False)
