"""Judge raw rows by the declaration: the one place where text becomes values, and where it is said what is wrong.

A row's fate depends on that row alone: nothing is learned from others. No files, no MLflow here.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from step_error import StepError
from table import DATE_FORMATS, REGRESSION, Field, Table, broken_values

TEXT = pd.StringDtype("pyarrow")
NUMBER = r"^[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?$"
OPEN_NUMBER = r"^[+-]?[1-9][0-9]{0,2},[0-9]{3}$"  # 1,234 may be 1.234 or 1234
OPEN_WHOLE_NUMBER = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"  # and among whole numbers 1.000 may be 1 or 1000
PLAIN_WHOLE_NUMBER = r"^[+-]?0*[0-9]{1,18}$"  # fits int64
GROUP_CHARS = {" ": r"[ \x{00a0}\x{202f}]", "'": "['\u2019]"}  # ways in which the character is written
IRREGULAR_SPACES = r"[\t\n\v\f\r\x{00a0}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{3000}]|  "
MAX_EXACT_INTEGER = 2**53  # whole numbers up to here are exact as float64
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

Findings = dict[tuple[str, str], np.ndarray]  # (column, rule) -> booleans, the rows that break it


@dataclass
class Judged:
    """What came of some rows.

    frame: the declared columns that are there (and others, as text), typed; what could not be read is empty.
    findings: for each rule that was broken, which rows broke it.
    missing: for each column, how many cells were empty.
    """

    frame: pd.DataFrame
    findings: Findings
    missing: dict[str, int]
    unknown: int = 0  # targets that cannot be, where none is needed

    def reasons(self) -> np.ndarray:
        """For each row why it is refused, such as `Age_out_of_range; Sex_not_allowed`; "" where it is not."""
        texts = np.full(len(self.frame), "", object)
        for (name, broken), mask in self.findings.items():
            texts[mask & (texts != "")] += "; "
            texts[mask] += f"{name}_{broken}"
        return texts


def judge(cells: Mapping[str, pd.Series], table: Table, *, target: str = "required") -> Judged:
    """Columns of text, by the declaration's names, in its types and against its rules.

    `target`: required; optional: it may be absent or empty; or unneeded: what cannot be is not known either, and no
    fault of the row. Columns that are not declared stay text.
    """
    fields = table.clean_by_name
    texts = {name: clean_text(fields.get(name), values, table) for name, values in cells.items()}
    order = [name for name in fields if name in texts] + [name for name in texts if name not in fields]
    findings: Findings = {}
    frame = pd.DataFrame({name: convert(fields.get(name), texts[name], findings) for name in order})
    unreadable: dict[str, np.ndarray] = {}
    for (name, _), mask in findings.items():
        unreadable[name] = mask | unreadable.get(name, False)
    for name in order:
        if one := fields.get(name):
            needed = target == "required" if one.role == "target" else one.required
            check_values(one, frame[name], needed, unreadable.get(name), findings)
    unknown = np.zeros(len(frame), bool)
    if target == "unneeded":
        for rule in [rule for rule in findings if rule[0] == table.target.name]:
            unknown |= findings.pop(rule)
        if unknown.any():
            frame.loc[unknown, table.target.name] = np.nan if table.task == REGRESSION else pd.NA
    return Judged(frame, findings, {name: int(texts[name].null_count) for name in order}, int(unknown.sum()))


def clean_text(one: Field | None, values: pd.Series, table: Table) -> pa.Array:
    """Trimmed, text with single spaces, and null for everything that stands for a missing value."""
    cells = pa.array(values.astype(TEXT), pa.large_string(), from_pandas=True)
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    is_text = one is None or one.type == "string"
    if is_text and pc.any(pc.match_substring_regex(cells, IRREGULAR_SPACES)).as_py():
        cells = pc.replace_substring_regex(cells, r"[\s\p{Z}]+", " ")
    cells = pc.utf8_trim_whitespace(cells)
    words = table.missing_values if one is None or one.missing_values is None else one.missing_values
    longest = max(len(word.encode()) for word in words)
    short = pc.if_else(pc.less_equal(pc.binary_length(cells), longest), cells, "x" * (longest + 1))  # no look at others
    gaps = pc.is_in(pc.utf8_lower(short), pa.array(words, pa.large_string()))
    return pc.if_else(gaps, pa.scalar(None, pa.large_string()), cells)


def convert(one: Field | None, cells: pa.Array, findings: Findings) -> Any:
    """The column in its declared type; what cannot be converted becomes a gap and a finding."""
    if one is None or one.type == "string":
        return pd.array(canonical_spelling(one, cells), dtype=TEXT)
    if one.type == "number":
        return convert_numbers(one, cells, findings)
    if one.type == "integer":
        return convert_whole_numbers(one, cells, findings)
    if one.type == "boolean":
        return pd.array(convert_booleans(one, cells, findings), dtype=TEXT)
    return convert_dates(one, cells, findings).astype(TEXT).array


def convert_numbers(one: Field, cells: pa.Array, findings: Findings) -> np.ndarray:
    """The column as float64."""
    numbers, wrong, ambiguous = parse_numbers(cells, one.decimal_char, one.group_char)
    if wrong.any():
        findings[one.name, "not_a_number"] = wrong
    if ambiguous.any():
        findings[one.name, "ambiguous_number"] = ambiguous
    return numbers


def convert_whole_numbers(one: Field, cells: pa.Array, findings: Findings) -> pd.arrays.IntegerArray:
    """The column as Int64; each number is read from its own digits, so that none is rounded."""
    hexadecimal = pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py()  # Arrow reads 0x10 as 16
    try:
        exact = None if hexadecimal else pc.cast(cells, pa.int64())
    except pa.ArrowInvalid:
        exact = None
    if exact is not None:
        whole, gaps = as_integers(exact)
        broken = np.zeros(len(cells), bool)
    else:
        if not one.decimal_char:
            open_cells = matches(cells, OPEN_WHOLE_NUMBER)
            if open_cells.any():
                findings[one.name, "ambiguous_number"] = open_cells
                cells = pc.if_else(pa.array(open_cells), pa.scalar(None, cells.type), cells)
        else:
            cells = with_point(cells, one.decimal_char, one.group_char)
        numbers = convert_numbers(replace(one, decimal_char="", group_char=""), cells, findings)
        whole, not_plain = as_integers(
            pc.cast(
                pc.if_else(pc.match_substring_regex(cells, PLAIN_WHOLE_NUMBER), pc.utf8_ltrim(cells, "+"), None),
                pa.int64(),
            )
        )
        gaps = np.isnan(numbers)
        # Of what is written otherwise (3.0, 1e2) the digits beyond what float64 holds are lost.
        broken = ~gaps & not_plain & ((numbers != np.floor(numbers)) | (np.abs(numbers) >= MAX_EXACT_INTEGER))
        rounded = not_plain & ~gaps & ~broken
        whole[rounded] = numbers[rounded].astype(np.int64)
    broken |= ~gaps & ((whole > MAX_EXACT_INTEGER) | (whole < -MAX_EXACT_INTEGER))
    if broken.any():
        findings[one.name, "not_a_whole_number"] = broken
    return pd.arrays.IntegerArray(np.where(gaps | broken, 0, whole), gaps | broken)


def as_integers(cells: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The numbers as int64, 0 for gaps; and where the gaps are."""
    whole: np.ndarray = pc.fill_null(cells, 0).to_numpy(zero_copy_only=False).copy()
    gaps: np.ndarray = pc.is_null(cells).to_numpy(zero_copy_only=False)
    return whole, gaps


def convert_booleans(one: Field, cells: pa.Array, findings: Findings) -> pa.Array:
    """`true` and `false`, in whichever of the usual ways they were written."""
    lower, kind = pc.utf8_lower(cells), pa.large_string()
    yes, no = (pc.is_in(lower, pa.array(words, kind)) for words in (TRUE, FALSE))
    wrong = pc.and_(pc.is_valid(cells), pc.invert(pc.or_(yes, no))).to_numpy(zero_copy_only=False)
    if wrong.any():
        findings[one.name, "not_true_or_false"] = wrong
    return pc.if_else(yes, pa.scalar("true", kind), pc.if_else(no, pa.scalar("false", kind), pa.scalar(None, kind)))


def convert_dates(one: Field, cells: pa.Array, findings: Findings) -> Any:
    """Dates as ISO text, 2024-12-31 or 2024-12-31T23:59:59; read in the declared format, and in ISO 8601."""
    texts = pd.Series(cells.to_pandas(), dtype=object)
    parsed = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[ns]")
    own = one.format != "default"
    # Not a year alone, which pandas takes for its first of January; where there is a format, nothing it could mean.
    iso = texts.str.match(r"\d{4}-\d\d-\d\d" if own else r"\d{4}-?\d\d-?\d\d", na=False)
    # Times with an offset become UTC, each by itself: pandas reads those without by the offset of the one before.
    aware = iso & texts.str.contains(r":.*(?:Z|[+-]\d\d:?\d\d)$", na=False)
    for rows, pattern, utc in ((iso & ~aware, "ISO8601", False), (aware, "ISO8601", True), (~iso, one.format, False)):
        if rows.any() and (own or pattern == "ISO8601"):
            found = pd.to_datetime(texts[rows], format=pattern, errors="coerce", utc=utc)
            parsed[rows] = found.dt.tz_localize(None) if utc else found
    wrong = (texts.notna() & parsed.isna()).to_numpy()
    if wrong.any():
        findings[one.name, "not_a_date"] = wrong
    return parsed.dt.strftime(DATE_FORMATS[one.type])


def canonical_spelling(one: Field | None, cells: pa.Array) -> pa.Array:
    """Where only some values are allowed, these in their own spelling: `Male` is `male`, `s` is `S`."""
    values = one.enum if one else ()
    lower = pc.utf8_lower(cells) if values else cells
    folded = [value.lower() for value in values]
    for value in values:
        if folded.count(value.lower()) > 1:
            continue  # two values that only their case tells apart
        differs = pc.and_(pc.equal(lower, value.lower()), pc.not_equal(cells, value))
        if pc.any(differs).as_py():
            cells = pc.if_else(differs, pa.scalar(value, cells.type), cells)
    return cells


def parse_numbers(
    cells: pa.Array, decimal_char: str = "", group_char: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers (NaN for gaps and for what is none), where a cell is no number, and where it may be one of two.

    Without a `decimal_char` both `7.25` and `7,25` are 7.25, and `1,234` may be 1.234 or 1234.
    """
    none = np.zeros(len(cells), bool)
    if decimal_char:
        cells = with_point(cells, decimal_char, group_char)
    try:
        numbers = as_float(cells)
        if not np.isinf(numbers).any() and np.isnan(numbers).sum() == cells.null_count:
            return numbers, none, none
    except pa.ArrowInvalid:
        pass
    ambiguous = matches(cells, OPEN_NUMBER)
    matching = pc.and_(pc.match_substring_regex(cells, NUMBER), pa.array(~ambiguous))
    plain = pc.if_else(matching, pc.replace_substring(pc.utf8_ltrim(cells, "+"), ",", "."), None)
    numbers = as_float(plain)
    numbers[np.isinf(numbers)] = np.nan
    wrong = pc.is_valid(cells).to_numpy(zero_copy_only=False) & np.isnan(numbers) & ~ambiguous
    return numbers, wrong, ambiguous


def with_point(cells: pa.Array, decimal_char: str, group_char: str) -> pa.Array:
    """Numbers that are written with these characters as 1234.5; what is none becomes `x`."""
    point, group = re.escape(decimal_char), GROUP_CHARS.get(group_char, re.escape(group_char))
    digits = f"([0-9]+|[0-9]{{1,3}}({group}[0-9]{{3}})+)" if group else "[0-9]+"
    fits = pc.match_substring_regex(cells, f"^[+-]?({digits}({point}[0-9]*)?|{point}[0-9]+)([eE][+-]?[0-9]+)?$")
    plain = pc.replace_substring_regex(cells, group, "") if group else cells
    return pc.if_else(fits, pc.replace_substring(plain, decimal_char, "."), pa.scalar("x", cells.type))


def matches(cells: pa.Array, pattern: str) -> np.ndarray:
    """Which cells match; a gap does not."""
    found: np.ndarray = pc.fill_null(pc.match_substring_regex(cells, pattern), False).to_numpy(zero_copy_only=False)
    return found


def as_float(cells: pa.Array) -> np.ndarray:
    numbers: np.ndarray = pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False).copy()
    return numbers


def check_values(
    one: Field, values: pd.Series, needed: bool, unreadable: np.ndarray | None, findings: Findings
) -> None:
    """The declaration's own rules for a column, as masks of the rows that break them."""
    present = values.notna().to_numpy()
    if needed:
        gaps = ~present & (True if unreadable is None else ~unreadable)
        if gaps.any():
            findings[one.name, "missing"] = gaps
    if one.enum or one.minimum is not None or one.maximum is not None:
        broken = broken_values(one, values)
        if broken.any():
            findings[one.name, "not_allowed" if one.enum else "out_of_range"] = broken
    if one.pattern:
        try:
            whole = pc.match_substring_regex(pa.array(values, from_pandas=True), f"^(?:{one.pattern})$")
        except pa.ArrowInvalid as error:  # RE2 takes fewer than Python, and none that can take for ever
            reason = str(error).partition(": ")[2] or str(error)
            raise StepError(
                f"the pattern {one.pattern!r} of {one.name} cannot be used ({reason}); write a simpler one"
            ) from None
        broken = ~pc.fill_null(whole, True).to_numpy(zero_copy_only=False)
        if broken.any():
            findings[one.name, "not_of_the_form"] = broken


def rules(one: Field, *, needed: bool) -> dict[str, str]:
    """The rules that a column's cells can break, each with its meaning in words."""
    found = {"missing": "must be given"} if needed else {}
    if one.type in ("integer", "number"):
        found["not_a_number"] = "must be a number"
        if one.decimal_char:
            found["not_a_number"] += f" such as 1{one.group_char}234{one.decimal_char}5"
        else:
            found["ambiguous_number"] = (
                "must not be open to two readings: 1,234 may be 1.234 or 1234; "
                "write it as one of these, or say decimalChar and groupChar in the declaration"
            )
    if one.type == "integer":
        found["not_a_whole_number"] = "must be a whole number"
        if not (one.enum or (is_small(one.minimum) and is_small(one.maximum))):
            found["not_a_whole_number"] += f" of at most {MAX_EXACT_INTEGER} either way, beyond which digits are lost"
    if one.type == "boolean":
        found["not_true_or_false"] = "must be true or false"
    if one.type in ("date", "datetime"):
        found["not_a_date"] = "must be a date such as " + ("2024-12-31" if one.format == "default" else one.format)
    if one.enum:
        found["not_allowed"] = f"must be: {one.allowed()}"
    elif one.minimum is not None or one.maximum is not None:
        found["out_of_range"] = f"must be: {one.allowed()}"
    if one.pattern:
        found["not_of_the_form"] = f"must be: text of the form {one.pattern}"
    return found


def is_small(limit: object) -> bool:
    """Whether a bound keeps whole numbers to those that are exact."""
    return isinstance(limit, int | float) and abs(limit) < MAX_EXACT_INTEGER
