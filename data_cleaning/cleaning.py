"""Clean a table, row by row: a pure function of a data frame. No files, no MLflow here.

Nothing is learned from other rows (that is for the model, after the split): a row's fate depends on that row alone,
and on whether its key was seen before.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
from csv_reading import name_columns, refuse_duplicate_columns, require_columns
from csv_writing import csv_lines
from duplicates import DuplicateDetector
from row_checks import judge
from table import Table

DUPLICATE = "duplicate"  # the same row again
INCOMPLETE = "incomplete"  # a gap, with missing=drop
ROW = "(row)"  # the place of a column's name, where the whole row is meant


@dataclass
class Cleaned:
    """What `clean` gives back.

    rows: typed as declared, in the declaration's order; indexed like the input.
    lines: the CSV text of each of these rows.
    reasons: for each row that was dropped, by input index, why; several reasons are joined by `; `.
    findings: for each (column, rule) that was broken, the positions of the rows.
    missing: for each column, how many cells were empty.
    unknown: how many targets cannot be, where none is needed: they count as not known.
    """

    rows: pd.DataFrame
    lines: pa.Array
    reasons: pd.Series
    findings: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    unknown: int = 0


def clean(
    cells: pd.DataFrame,
    table: Table,
    *,
    missing: str = "keep",
    require_target: bool = True,
    extra_columns: str = "drop",
    detector: DuplicateDetector | None = None,
    numbers: np.ndarray | None = None,
) -> Cleaned:
    """Trim, give types, drop rows that cannot be or that were there before.

    Args:
        cells: the declared columns in any order and spelling; text or typed.
        table: the declaration.
        missing: `keep` leaves gaps to the model, `drop` drops each row with any gap.
        require_target: rows without the target are rejected, and the column must be there.
        extra_columns: `drop`, or `keep` as text after the declared columns.
        detector: knows the rows of earlier chunks; those of this one are added to it.
        numbers: of the rows in their file, where the table has no key of its own; else 1, 2, 3 …

    Raises:
        StepError: a column is missing, or there twice.
    """
    names = name_columns([str(name) for name in cells.columns], list(table.clean_by_name))
    require_columns(names, table, require_target=require_target)
    refuse_duplicate_columns(names)
    columns = {name: cells.iloc[:, place].reset_index(drop=True) for place, name in enumerate(names)}
    if extra_columns == "drop":
        columns = {name: values for name, values in columns.items() if name in (*table.by_name, table.key.name)}
    if table.key.name not in columns:
        columns[table.key.name] = pd.Series(np.arange(1, len(cells) + 1) if numbers is None else numbers)
    judged = judge(columns, table, target="required" if require_target else "unneeded")
    frame, findings = judged.frame, dict(judged.findings)
    reasons = DropReasons(judged.reasons())

    accepted_rows = np.flatnonzero(~reasons.dropped)
    accepted = frame.iloc[accepted_rows]
    lines = csv_lines(accepted)
    new, same = (DuplicateDetector() if detector is None else detector).add(
        key_numbers(accepted[table.key.name]), hashes(lines)
    )
    conflicting = reasons.mask_at(accepted_rows[~new & ~same])
    reasons.add(conflicting, f"{table.key.name}_{DUPLICATE}")
    reasons.add(reasons.mask_at(accepted_rows[same]), DUPLICATE)
    findings[table.key.name, DUPLICATE] = conflicting
    findings[ROW, DUPLICATE] = reasons.mask_at(accepted_rows[same])
    if missing == "drop":
        required = frame if require_target else frame.drop(columns=table.target.name, errors="ignore")
        gaps = required.isna().any(axis=1).to_numpy() & ~reasons.dropped
        reasons.add(gaps, INCOMPLETE)
        findings[ROW, INCOMPLETE] = gaps
    kept = ~reasons.dropped
    return Cleaned(
        rows=frame.set_axis(cells.index)[kept],
        lines=lines.filter(pa.array(kept[accepted_rows])),
        reasons=pd.Series(reasons.texts[~kept], index=cells.index[~kept], dtype=object),
        findings={key: np.flatnonzero(mask) for key, mask in findings.items() if mask.any()},
        missing=judged.missing,
        unknown=judged.unknown,
    )


class DropReasons:
    """Why rows are dropped, gathered check by check; `texts` are those of the single rows, "" for none."""

    def __init__(self, texts: np.ndarray) -> None:
        self.texts = texts
        self.dropped: np.ndarray = texts != ""

    def add(self, mask: np.ndarray, reason: str) -> None:
        self.texts[mask & self.dropped] += f"; {reason}"
        self.texts[mask & ~self.dropped] = reason
        self.dropped |= mask

    def mask_at(self, positions: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(self.dropped), bool)
        mask[positions] = True
        return mask


def key_numbers(keys: pd.Series) -> np.ndarray:
    """A number, not negative, for each key: itself, or of a text 63 bits of its hash."""
    if pd.api.types.is_integer_dtype(keys.dtype):
        return keys.to_numpy(np.int64)
    hashed = pd.util.hash_array(keys.to_numpy(object), categorize=False)
    return (hashed >> np.uint64(1)).astype(np.int64)


def hashes(lines: pa.Array) -> np.ndarray:
    """64 bits for each row's text; shape (rows,)."""
    return pd.util.hash_array(lines.to_numpy(zero_copy_only=False).astype(object), categorize=False)
