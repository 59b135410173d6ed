"""A table that is declared: its columns, and the reader and writer of it when it is clean. No MLflow here.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from step_error import StepError, first_line

BINARY, MULTICLASS, REGRESSION = "binary", "multiclass", "regression"
TASKS = (BINARY, MULTICLASS, REGRESSION)
DATE_FORMATS = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%dT%H:%M:%S"}  # of a clean table: ISO 8601
NUMERIC = ("integer", "number", "boolean")  # held as float64: a gap is NaN, true is 1
HOLDS = {"integer": "whole number", "boolean": "true or false", "string": "text"}  # the others: their type's name
MISSING_VALUES = ("", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "none", "null")  # in any case
PREDICTED = ("error", "model_version", "probability", "reasons")  # columns of predictions.csv beside key and target
ROW_NUMBER = "row"  # the key of a table that has none: its rows in order, from 1


@dataclass(frozen=True)
class Field:
    """A column: what its cells hold, and which values they may have."""

    name: str
    type: str = "string"
    role: str = "feature"
    description: str = ""
    unit: str = ""
    format: str = "default"  # of a date: ISO 8601, or a pattern such as %d.%m.%Y
    required: bool = False
    minimum: float | str | None = None  # inclusive; of dates as ISO text
    maximum: float | str | None = None
    enum: tuple[Any, ...] = ()
    pattern: str = ""  # the whole cell must match
    max_missing: float = 1.0  # share of empty cells above which there is a warning
    slice: Mapping[str, tuple[float, float]] | None = None  # groups to judge a model by; {}: one for each value
    bins: tuple[float, ...] = ()  # edges of the groups that a number is drawn in
    labels: Mapping[str, str] = field(default_factory=dict)  # words for values
    decimal_char: str = ""  # of raw numbers, where it is said: then they are written so and in no other way
    group_char: str = ""  # of raw numbers: between thousands
    missing_values: tuple[str, ...] | None = None  # in place of the table's

    @property
    def numeric(self) -> bool:
        return self.type in NUMERIC

    @property
    def holds(self) -> str:
        return HOLDS.get(self.type, self.type)

    @property
    def few_values(self) -> bool:
        """Whether its values are a set of names rather than quantities or texts."""
        return bool(self.enum) or self.type == "boolean"

    def allowed(self) -> str:
        """The values that a cell may have, in words; empty where any will do."""
        if self.enum:
            return ", ".join(map(text_of, self.enum))
        if self.minimum is not None and self.maximum is not None:
            return f"{text_of(self.minimum)} to {text_of(self.maximum)}"
        if self.minimum is not None or self.maximum is not None:
            bound = self.minimum if self.maximum is None else self.maximum
            return f"{'at least' if self.maximum is None else 'at most'} {text_of(bound)}"
        return f"text of the form {self.pattern}" if self.pattern else ""

    def label(self, value: object) -> str:
        """The word for a value: its label, else itself."""
        return self.labels.get(text_of(value), text_of(value))

    def groups(self, values: pd.Series) -> pd.Series:
        """The slice that each value is in, by name; `unknown` where it is missing or in none."""
        if self.slice:
            found = pd.Series("unknown", index=values.index, dtype=object)
            for name, (low, high) in self.slice.items():
                found[(values >= low) & (values < high)] = name
            return found
        words = {
            value: self.label(bool(value) if self.type == "boolean" else value) for value in values.dropna().unique()
        }
        return values.map(words).astype(object).where(values.notna(), "unknown")


@dataclass(frozen=True)
class Table:
    """A declaration that is valid, with the words in which people speak of its rows."""

    name: str  # the registered model's, too
    task: str
    fields: tuple[Field, ...]
    row: str = "row"
    rows: str = "rows"
    title: str = ""
    description: str = ""
    group: str = ""  # the column whose value rows share that belong together, such as the people of one ticket
    positive: Any = None  # of two classes, the one whose probability is meant
    missing_values: tuple[str, ...] = MISSING_VALUES
    minimum: Mapping[str, float] = field(default_factory=dict)  # metric -> what a model must reach
    intended_use: str = ""
    limits: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict)  # as it was written

    @functools.cached_property
    def by_name(self) -> dict[str, Field]:
        return {one.name: one for one in self.fields}

    @functools.cached_property
    def key(self) -> Field:
        """The column that names a row; one of our own making where the table has none."""
        number = Field(
            ROW_NUMBER, "integer", "key", "Number of the row in the file it came in.", required=True, minimum=0
        )
        return next((one for one in self.fields if one.role == "key"), number)

    @property
    def has_key(self) -> bool:
        """Whether the key is a column of the raw table."""
        return self.key.name in self.by_name

    @functools.cached_property
    def target(self) -> Field:
        return next(one for one in self.fields if one.role == "target")

    @functools.cached_property
    def features(self) -> tuple[Field, ...]:
        """The columns that a model may read."""
        return tuple(one for one in self.fields if one.role == "feature")

    @functools.cached_property
    def slices(self) -> tuple[Field, ...]:
        return tuple(one for one in self.fields if one.slice is not None)

    @functools.cached_property
    def clean_fields(self) -> tuple[Field, ...]:
        """The columns of a clean table: the declared ones, after the rows' numbers where there is no key."""
        return self.fields if self.has_key else (self.key, *self.fields)

    @functools.cached_property
    def clean_by_name(self) -> dict[str, Field]:
        return {one.name: one for one in self.clean_fields}

    @property
    def classes(self) -> tuple[Any, ...]:
        """The values of the target, int or str, as models know them; none for a number."""
        if self.task == REGRESSION:
            return ()
        return (0, 1) if self.target.type == "boolean" else self.target.enum

    @property
    def question(self) -> tuple[Any, ...]:
        """What its models answer: only one that answers the same can stand in for another."""
        return self.task, self.target.name, self.classes, self.positive

    def class_text(self, value: object) -> str:
        """A class as it is written in a file."""
        return ("false", "true")[int(str(value))] if self.target.type == "boolean" else text_of(value)

    def class_label(self, value: object) -> str:
        """A class in words."""
        return self.target.label(self.class_text(value))

    @functools.cached_property
    def cleaned(self) -> "Table":
        """The declaration of the clean table where that is read as raw once more: its numbers are with a point."""
        return replace(self, fields=tuple(replace(one, decimal_char="", group_char="") for one in self.fields))

    def schema(self) -> dict[str, Any]:
        """The declaration as a Table Schema of the clean table."""
        content = dict(self.content)
        content["fields"] = [clean_format(one) for one in content["fields"]]
        if not self.has_key:
            added = {
                "generated": True,
                "name": ROW_NUMBER,
                "type": "integer",
                "role": "key",
                "description": self.key.description,
            }
            content["fields"] = [added | {"constraints": {"required": True, "minimum": 0}}, *content["fields"]]
        return content | {"task": self.task, "primaryKey": self.key.name}

    def json(self) -> str:
        """The declaration as it is kept in a model: the same table, the same bytes."""
        return json.dumps(self.schema(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    def parse_target(self, cells: pd.Series) -> pd.Series:
        """Clean target cells (text, NaN where not known) as numbers or classes; gaps stay.

        Raises:
            ValueError: a cell is none.
        """
        if self.task == REGRESSION:
            return pd.to_numeric(cells).astype("float64")
        values = {self.class_text(value): value for value in self.classes}
        if unknown := set(cells.dropna()) - set(values):
            raise ValueError(f"{self.target.name} {min(unknown)!r}")
        found = cells.map(values)
        whole = all(isinstance(value, int) for value in self.classes) and not found.isna().any()
        return found.astype("int64" if whole else object)

    def write(self, rows: pd.DataFrame, path: Path) -> None:
        """Write rows, as `read` gives them, as a clean table: what was read is written as it was."""
        columns: dict[str, Any] = {}
        for name in rows.columns:
            one = self.clean_by_name.get(name, Field(name))
            if one.role == "target" and self.task != REGRESSION:
                columns[name] = rows[name].map(self.class_text, na_action="ignore")
            elif one.type == "boolean":
                columns[name] = rows[name].map({1.0: "true", 0.0: "false"})
            elif one.type == "integer":
                columns[name] = rows[name].astype("Int64")
            else:  # an empty cell for a gap, 22 for 22.0: as data_cleaning writes numbers
                columns[name] = rows[name].map(text_of, na_action="ignore") if one.numeric else rows[name]
        pd.DataFrame(columns, columns=rows.columns).to_csv(path, index=False, lineterminator="\n")

    def read(self, path: Path, *, target: str = "required", columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows of a clean table; see `read_chunks`."""
        parts = list(self.read_chunks(path, 1 << 62, target=target, columns=columns))
        return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

    def read_chunks(
        self,
        path: Path,
        rows: int,
        *,
        target: str = "required",
        columns: Sequence[str] | None = None,
        part: Callable[[], IO[bytes]] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """The rows of a clean table, at most `rows` at a time: the declared columns, in the declaration's order.

        Integers, numbers and booleans are float64 (NaN: empty; the key: int64 or text), text and dates are object.
        `target` is required, optional (where it is there, with gaps) or none; `columns` are those wanted, else all.
        `part` opens the bytes of the header and of some of the rows, which alone are read then, and counted.

        Raises:
            StepError: no CSV file, a column missing, or a cell that data_cleaning would not have let through.
        """
        header = read_header(path)
        names = [one.name for one in self.clean_fields if one.role != "target" or target != "none"]
        if columns is not None:
            names = [name for name in names if name in {*columns, self.key.name, self.target.name}]
        may_lack = {one.name for one in self.fields if one.role == "ignored"}
        may_lack |= {self.target.name} if target == "optional" else set()
        names = [name for name in names if name in header or name not in may_lack]
        if missing := [name for name in names if name not in header]:
            raise StepError(f"{path.name} has no column {', '.join(missing)} (it has: {shown(header)}); {CLEAN_FIRST}")
        fields = self.clean_by_name
        kinds: dict[Any, Any] = {
            name: "float64" if fields[name].numeric and fields[name].role not in ("key", "target") else str
            for name in names
        }
        kinds |= {name: str for name in names if fields[name].type == "boolean"}
        kinds = dict.fromkeys(header, str) | kinds  # all are read: pandas drops surplus cells in silence otherwise
        options: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "encoding": "utf-8"}
        options |= {"float_precision": "round_trip", "skip_blank_lines": True}
        line, whole = 0, False
        open_rows: Callable[[], IO[bytes]] = part or (lambda: path.open("rb"))
        try:
            with open_rows() as file, pd.read_csv(file, dtype=kinds, chunksize=min(rows, 1 << 31), **options) as reader:
                for chunk in reader:
                    # pandas takes surplus cells for an index, and fills up short rows
                    if not whole and (not isinstance(chunk.index, pd.RangeIndex) or chunk[header[-1]].isna().any()):
                        refuse_ragged(path.name, open_rows)
                        whole = True
                    yield self.checked(chunk[names].reset_index(drop=True), path, line, target)
                    line += len(chunk)
        except (ValueError, OverflowError) as error:  # pandas' own errors are ValueErrors
            if not isinstance(error, UnicodeDecodeError):
                refuse_ragged(path.name, open_rows)
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else first_line(error)
            raise StepError(f"{path.name} is not clean ({reason}); {CLEAN_FIRST}") from None
        if not line:
            empty = pd.DataFrame({name: pd.Series(dtype=kinds[name]) for name in names})
            yield self.checked(empty, path, 0, target)

    def checked(self, chunk: pd.DataFrame, path: Path, start: int, target: str) -> pd.DataFrame:
        """The chunk with its last types given.

        Raises:
            StepError: a value breaks the declaration.
        """
        for name in chunk.columns:
            one, cells = self.clean_by_name[name], chunk[name]
            values: Any = cells
            try:
                if one.role == "target":
                    chunk[name] = values = self.parse_target(cells)
                elif one.type == "boolean":
                    chunk[name] = values = pd.to_numeric(
                        cells.map({"true": "1", "false": "0"}).where(cells.notna()).fillna(cells)
                    )
                elif one.role == "key" and one.type == "integer":
                    chunk[name] = values = cells.astype("int64")
                needed = one.role == "key" or (one.role == "target" and target == "required")
                broken = (
                    broken_values(one, values)
                    if one.role != "target" or self.task == REGRESSION
                    else np.zeros(len(chunk), bool)
                )
                broken |= cells.isna().to_numpy() & (needed or (one.required and one.role != "target"))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name}: {error}") from None
            if broken.any():
                place = int(np.flatnonzero(broken)[0])
                what = "is empty" if pd.isna(cells.iloc[place]) else f"{text_of(cells.iloc[place])[:40]!r}"
                raise StepError(f"{path.name} is not clean: {name} {what} in row {start + place + 1}; {CLEAN_FIRST}")
        return chunk


CLEAN_FIRST = "run data_cleaning on it first, and give its clean_data.csv"


def broken_values(one: Field, values: pd.Series) -> np.ndarray:
    """Which of the present values break the field's constraints; of dates as ISO text."""
    broken = np.zeros(len(values), bool)
    present = values.notna().to_numpy()
    known: Any
    if values.dtype.kind in "if":  # numbers, of which numpy compares a few much sooner than pandas
        kind = "int64" if values.dtype.kind == "i" else "float64"
        known = values.to_numpy(kind, na_value=0 if kind == "int64" else np.nan)[present]
        wrong = ~np.isfinite(known)
        if one.enum:
            wrong |= ~np.isin(known, one.enum)
        if one.type == "integer":
            wrong |= known != np.floor(known)
    else:
        known = values[present]
        wrong = ~known.isin(one.enum).to_numpy() if one.enum else np.zeros(len(known), bool)
    if one.minimum is not None:
        wrong |= ~np.asarray(known >= one.minimum, bool)
    if one.maximum is not None:
        wrong |= ~np.asarray(known <= one.maximum, bool)
    if one.type in DATE_FORMATS:
        wrong |= pd.to_datetime(known, format=DATE_FORMATS[one.type], errors="coerce").isna().to_numpy()
    broken[present] = wrong
    return broken


def refuse_ragged(name: str, open_rows: Callable[[], IO[bytes]]) -> None:
    """Raises StepError that names the first row with more or fewer cells than the header."""
    with io.TextIOWrapper(open_rows(), encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        number, width = 0, len(next(rows))
        try:
            for number, row in enumerate(rows, 1):
                if row and len(row) != width:
                    what = f"row {number} has {len(row)} cells, the header {width}"
                    raise StepError(f"{name} is not clean: {what}; {CLEAN_FIRST}")
        except (csv.Error, UnicodeDecodeError) as error:
            raise StepError(f"{name} is not clean: after row {number}: {error}; {CLEAN_FIRST}") from None


def read_header(path: Path) -> list[str]:
    """The column names of a clean table.

    Raises:
        StepError: the file is not there, or no text.
    """
    try:
        return list(pd.read_csv(path, nrows=0, dtype=str, encoding="utf-8").columns)
    except OSError as error:
        raise StepError(f"{str(path)!r} cannot be read ({error.strerror}); give the path of a CSV file") from None
    except ValueError as error:
        raise StepError(f"{path.name} is not a CSV file ({first_line(error)}); {CLEAN_FIRST}") from None


def raw_format(content: Mapping[str, Any]) -> str:
    """How a raw table writes the field's dates, whether the declaration is of that or of the clean one."""
    return str(content.get("raw_format") or content.get("format") or "default")


def clean_format(content: Mapping[str, Any]) -> dict[str, Any]:
    """A field as it is in a clean table: dates are ISO 8601, numbers with a point; how raw ones are written is kept."""
    chars = ("decimalChar", "groupChar")
    found = {f"raw_{key}" if key in chars else key: value for key, value in content.items()}
    raw = raw_format(content)
    return {**found, "format": "default", "raw_format": raw} if raw != "default" else found


def shown(names: Sequence[str], most: int = 15) -> str:
    return ", ".join(str(name)[:40] for name in names[:most]) + (", …" if len(names) > most else "")


def text_of(value: object) -> str:
    """A value as it is written in a file: whole numbers without a point."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating) and float(value).is_integer() and abs(float(value)) < 2**53:
        return str(int(value))
    return str(value)


def metric_name(text: str) -> str:
    """The text with what MLflow does not take in a metric's name as underscores: a column may be called anything."""
    return re.sub(r"[^\w.:-]", "_", text)[:250]
