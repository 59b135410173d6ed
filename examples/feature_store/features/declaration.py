"""What a table is, declared once: dataset.yaml, and the reader of tables that are clean by it. No MLflow here.

A declaration is a Table Schema (https://specs.frictionlessdata.io/table-schema/) with a few keys of ours. It travels as
`datapackage.json` beside a clean table, and as `dataset.json` in a model.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import csv
import difflib
import functools
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import yaml
from step_error import StepError, first_line

BINARY, MULTICLASS, REGRESSION = "binary", "multiclass", "regression"
TASKS = (BINARY, MULTICLASS, REGRESSION)
TYPES = ("integer", "number", "boolean", "string", "date", "datetime")
ROLES = ("feature", "target", "key", "ignored")
DATE_FORMATS = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%dT%H:%M:%S"}  # of a clean table: ISO 8601
NUMERIC = ("integer", "number", "boolean")  # held as float64: a gap is NaN, true is 1
HOLDS = {"integer": "whole number", "boolean": "true or false", "string": "text"}  # the others: their type's name
MISSING_VALUES = ("", "-", "?", "#n/a", "<na>", "n/a", "na", "nan", "none", "null")  # in any case
PREDICTED = ("error", "model_version", "probability", "reasons")  # columns of predictions.csv beside key and target
ROW_NUMBER = "row"  # the key of a table that has none: its rows in order, from 1
TABLE_KEYS = {"name", "title", "description", "task", "row", "rows", "primaryKey", "missingValues", "fields"}
TABLE_KEYS |= {"group", "positive", "minimum", "intended_use", "limits", "$schema", "profile"}
FIELD_KEYS = {"name", "type", "title", "description", "format", "constraints"}
FIELD_KEYS |= {
    "missingValues",
    "decimalChar",
    "groupChar",
    "raw_decimalChar",
    "raw_groupChar",
    "raw_format",
    "role",
    "unit",
    "max_missing",
    "slice",
    "bins",
    "labels",
}
CONSTRAINTS = ("required", "unique", "minimum", "maximum", "enum", "pattern")
DECIMAL_CHARS, GROUP_CHARS = (",", "."), (",", ".", " ", "'")
MODEL_NAME = re.compile(r"[\w-][\w.-]{0,99}")


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


def read_declaration(path: Path) -> Table:
    """The table that dataset.yaml declares, or datapackage.json or dataset.json beside what came of it.

    Raises:
        StepError: it is not there, or not valid; everything that is wrong with it is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=CautiousLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise StepError(f"the declaration {str(path)!r} cannot be read ({error.strerror}); give dataset.yaml") from None
    except (ValueError, yaml.YAMLError) as error:
        raise StepError(f"{path.name} cannot be read ({' '.join(str(error).split())[:200]}); correct it") from None
    if isinstance(content, dict) and isinstance(content.get("resources"), list) and content["resources"]:
        content = content["resources"][0].get("schema")
    return parse_declaration(content, path.name)


def parse_declaration(content: Any, name: str) -> Table:
    """The table of a declaration that was read from a file of that `name`.

    Raises:
        StepError: it is not valid; everything that is wrong with it is named.
    """
    problems: list[str] = []
    if not isinstance(content, dict) or not isinstance(content.get("fields"), list) or not content["fields"]:
        raise StepError(f"{name} declares no table: it needs a list `fields`, each with a name and a type")
    content = without_row_numbers(content)
    refuse_unknown_keys(content, TABLE_KEYS, "", problems)
    key = content.get("primaryKey")
    key = key[0] if isinstance(key, list) and len(key) == 1 else key
    if isinstance(key, list):
        problems.append(f"primaryKey names {len(key)} columns; give one that names a row, or leave it out")
        key = None
    fields = [parse_field(one, key, problems) for one in content["fields"]]
    names = [one.name for one in fields]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        problems.append(f"the field {', '.join(twice)} is there more than once")
    for one in fields:
        if one.role in ("key", "target") and (one.name in PREDICTED or one.name.startswith("probability_")):
            problems.append(f"the {one.role} {one.name} has the name of a column of predictions.csv; rename it")
    if key is None and ROW_NUMBER in names:
        problems.append(f"the field {ROW_NUMBER} has the name of the rows' numbers; rename it, or give a primaryKey")
    if key is not None and key not in names:
        problems.append(f"primaryKey {key!r} is no field{nearest(str(key), names)}")
    if len(keys := [one.name for one in fields if one.role == "key"]) > 1:
        problems.append(f"{' and '.join(keys)} have both the role key; give it to one")
    targets = [one for one in fields if one.role == "target"]
    if len(targets) != 1:
        problems.append(
            f"{'no field has' if not targets else 'more than one field has'} the role target; give it to one"
        )
    if problems:
        raise StepError(f"{name}: {'; '.join(problems)}")
    target = targets[0]
    task = str(content.get("task") or task_of(target))
    refuse_target(target, task, problems)
    classes = ((0, 1) if target.type == "boolean" else target.enum) if task == BINARY else ()
    positive = content.get("positive", classes[-1] if classes else None)
    positive = int(positive) if isinstance(positive, bool) else positive
    if task == BINARY and not problems and positive not in classes:
        problems.append(f"positive {positive!r} is none of {target.name}'s values {', '.join(map(text_of, classes))}")
    group = str(content.get("group") or "")
    if group and (group not in names or group == target.name):
        problems.append(f"group {group!r} is no field{nearest(group, names)}, or is the target")
    minimum = content.get("minimum") or {}
    if not isinstance(minimum, dict) or not all(is_number(value) for value in minimum.values()):
        problems.append("minimum is not a block of metrics, each with a number")
    missing = missing_values_of(content.get("missingValues", list(MISSING_VALUES)), "", problems)
    limits = content.get("limits") or []
    if not isinstance(limits, list):
        problems.append("limits is not a list of sentences")
    model = str(content.get("name") or "model")
    if not MODEL_NAME.fullmatch(model):
        problems.append(f"name {model!r} is not made of letters, digits, dots, - and _")
    if problems:
        raise StepError(f"{name}: {'; '.join(problems)}")
    row = str(content.get("row") or "row")
    return Table(
        name=model,
        task=task,
        fields=tuple(fields),
        row=row,
        rows=str(content.get("rows") or f"{row}s"),
        title=str(content.get("title") or ""),
        description=str(content.get("description") or ""),
        group=group,
        positive=positive if task == BINARY else None,
        missing_values=missing,
        minimum={str(metric): float(value) for metric, value in minimum.items()},
        intended_use=str(content.get("intended_use") or ""),
        limits=tuple(map(str, limits)),
        content=content,
    )


def parse_field(content: Any, key: Any, problems: list[str]) -> Field:
    """A field; what is wrong with it is added to `problems`."""
    if not isinstance(content, dict) or not isinstance(content.get("name"), str) or not content["name"].strip():
        problems.append(f"the field {content!r} has no name"[:200])
        return Field("")
    name = content["name"]
    where = f"{name}: "
    refuse_unknown_keys(content, FIELD_KEYS, where, problems)
    kind = content.get("type", "string")
    if kind not in TYPES:
        problems.append(f"{where}type {kind!r} is none of {', '.join(TYPES)}{nearest(str(kind), TYPES)}")
        return Field(name)
    role = content.get("role", "key" if name == key else "feature")
    if role not in ROLES:
        problems.append(f"{where}role {role!r} is none of {', '.join(ROLES)}{nearest(str(role), ROLES)}")
    if (role == "key") != (name == key):
        problems.append(f"{where}the role key and primaryKey do not name the same field")
    if role == "key" and kind not in ("integer", "string"):
        problems.append(f"{where}a key holds whole numbers or text, no {kind}")
    rules = content.get("constraints") or {}
    if not isinstance(rules, dict):
        problems.append(f"{where}constraints is not a block of keys")
        rules = {}
    refuse_unknown_keys(rules, set(CONSTRAINTS), f"{where}constraints: ", problems)
    if rules.get("unique") and role != "key":
        problems.append(f"{where}unique is for the primary key alone")
    enum = values_of(kind, rules.get("enum") or [], where, problems)
    low, high = (bound(kind, rules.get(side), f"{where}{side} ", problems) for side in ("minimum", "maximum"))
    if low is not None and high is not None and not problems and low > high:  # type: ignore[operator]  # of one type
        problems.append(f"{where}minimum {low} is over maximum {high}")
    pattern = rules.get("pattern") or ""
    if not isinstance(pattern, str):
        problems.append(f"{where}pattern {pattern!r} is no text; put it in quotes")
        pattern = ""
    if pattern and kind != "string":
        problems.append(f"{where}pattern is for text, not for {kind}")
    try:
        re.compile(pattern)
    except re.error as error:
        problems.append(f"{where}pattern {pattern!r} is no regular expression ({error})")
    refuse_format(content, kind, where, problems)
    share = content.get("max_missing", 1.0)
    if not is_number(share) or not 0 <= share <= 1:
        problems.append(f"{where}max_missing {share!r} is not a share from 0 to 1")
        share = 1.0
    bins = content.get("bins") or []
    if not isinstance(bins, list) or not all(map(is_number, bins)) or sorted(set(bins)) != bins:
        problems.append(f"{where}bins is not a list of growing numbers")
        bins = []
    labels = content.get("labels") or {}
    if not isinstance(labels, dict):
        problems.append(f"{where}labels is not a block of a word for each value")
        labels = {}
    decimal_char, group_char = number_chars(content, kind, where, problems)
    missing = content.get("missingValues")
    return Field(
        name=name,
        type=kind,
        role=role,
        description=str(content.get("description") or ""),
        unit=str(content.get("unit") or ""),
        format=raw_format(content),
        required=bool(rules.get("required")) or role == "key",
        minimum=low,
        maximum=high,
        enum=enum,
        pattern=pattern,
        max_missing=float(share),
        slice=slices_of(content.get("slice"), kind, bool(enum) or kind == "boolean", where, problems),
        bins=tuple(map(float, bins)),
        labels={text_of(value): str(word) for value, word in labels.items()},
        decimal_char=decimal_char,
        group_char=group_char,
        missing_values=None if missing is None else missing_values_of(missing, where, problems),
    )


def number_chars(content: Mapping[str, Any], kind: str, where: str, problems: list[str]) -> tuple[str, str]:
    """What stands before a raw number's decimals and between its thousands; two empty texts where nothing is said."""
    said = [(key, content.get(f"raw_{key}") or content.get(key) or "") for key in ("decimalChar", "groupChar")]
    for (key, char), known in zip(said, (DECIMAL_CHARS, GROUP_CHARS), strict=True):
        if char and char not in known:
            problems.append(f"{where}{key} {char!r} is none of {'  '.join(map(repr, known))}")
        if char and kind not in ("integer", "number"):
            problems.append(f"{where}{key} is for numbers, not for {kind}")
    group_char = said[1][1]
    decimal_char = said[0][1] or ("." if group_char else "")
    if decimal_char and decimal_char == group_char:
        problems.append(f"{where}decimalChar and groupChar are both {group_char!r}; say both, and differently")
    return str(decimal_char), str(group_char)


def missing_values_of(words: Any, where: str, problems: list[str]) -> tuple[str, ...]:
    """What stands for a missing value, in lower case; an empty cell always does."""
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        problems.append(f"{where}missingValues is not a list of texts; put each in quotes")
        return ("",)
    return tuple(dict.fromkeys(["", *(one.strip().lower() for one in words)]))


def without_row_numbers(content: dict[str, Any]) -> dict[str, Any]:
    """The declaration of the raw table: without the key that a clean table was given for want of one."""
    fields = [one for one in content["fields"] if not (isinstance(one, dict) and one.get("generated"))]
    if len(fields) == len(content["fields"]):
        return content
    return {key: value for key, value in content.items() if key != "primaryKey"} | {"fields": fields}


def raw_format(content: Mapping[str, Any]) -> str:
    """How a raw table writes the field's dates, whether the declaration is of that or of the clean one."""
    return str(content.get("raw_format") or content.get("format") or "default")


def clean_format(content: Mapping[str, Any]) -> dict[str, Any]:
    """A field as it is in a clean table: dates are ISO 8601, numbers with a point; how raw ones are written is kept."""
    chars = ("decimalChar", "groupChar")
    found = {f"raw_{key}" if key in chars else key: value for key, value in content.items()}
    raw = raw_format(content)
    return {**found, "format": "default", "raw_format": raw} if raw != "default" else found


def refuse_format(content: Mapping[str, Any], kind: str, where: str, problems: list[str]) -> None:
    """Add to `problems` where a date's format is none that dates can be read by."""
    pattern = raw_format(content)
    if pattern == "default" or kind not in ("date", "datetime"):
        return
    try:
        if "%" not in pattern:
            raise ValueError
        datetime.strptime(datetime(2024, 12, 31, 23, 59, 58).strftime(pattern), pattern)
    except ValueError:
        problems.append(f"{where}format {pattern!r} is none for dates; write it as in %d.%m.%Y")


def values_of(kind: str, values: Any, where: str, problems: list[str]) -> tuple[Any, ...]:
    """The values of `enum`, each of the field's type."""
    wanted: Any = {"integer": int, "number": (int, float), "string": str}.get(kind)
    if not isinstance(values, list) or (values and wanted is None):
        problems.append(f"{where}enum is {'not a list' if wanted else f'not for {kind}'}")
        return ()
    if wrong := [value for value in values if not isinstance(value, wanted or str) or isinstance(value, bool)]:
        hint = "; put it in quotes" if kind == "string" else ""
        problems.append(f"{where}enum has {wrong[0]!r}, which is no {HOLDS.get(kind, kind)}{hint}")
    return tuple(values)


def bound(kind: str, value: Any, what: str, problems: list[str]) -> float | str | None:
    """A minimum or maximum: a number, or a date as ISO text."""
    if value is None:
        return None
    if kind in ("date", "datetime"):
        text = value.isoformat() if isinstance(value, date | datetime) else str(value)
        try:
            datetime.fromisoformat(text)
        except ValueError:
            problems.append(f"{what}{text!r} is not a date such as 2024-12-31")
        return text
    if kind not in ("integer", "number") or not is_number(value):
        problems.append(
            f"{what}{value!r} is not a number" if kind in ("integer", "number") else f"{what}is not for {kind}"
        )
        return None
    return float(value) if isinstance(value, float) else int(value)


def slices_of(
    content: Any, kind: str, few_values: bool, where: str, problems: list[str]
) -> dict[str, tuple[float, float]] | None:
    """The groups of a field by which a model is judged; {} where each value is one, None where it has none."""
    if content is None or content is False:
        return None
    if content is True and few_values:
        return {}
    if not isinstance(content, dict) or kind not in ("integer", "number"):
        problems.append(
            f"{where}slice is true (of a field with few values), or names ranges of a number: {{young: [0, 30], …}}"
        )
        return None
    found = {}
    for name, ends in content.items():
        if not isinstance(ends, list) or len(ends) != 2 or not all(one is None or is_number(one) for one in ends):
            problems.append(f"{where}slice {name} is not a range such as [0, 30], the end not included (or null)")
            continue
        low, high = ends
        found[str(name)] = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return found


def task_of(target: Field) -> str:
    """What kind of problem a target makes, where it is not said."""
    if target.type == "boolean" or len(target.enum) == 2:
        return BINARY
    return MULTICLASS if target.enum else REGRESSION


def refuse_target(target: Field, task: str, problems: list[str]) -> None:
    """Add to `problems` where the target cannot be what the task says."""
    if task not in TASKS:
        problems.append(f"task {task!r} is none of {', '.join(TASKS)}{nearest(task, TASKS)}")
    elif task == REGRESSION and (target.type not in ("integer", "number") or target.enum):
        problems.append(f"{target.name} is no number that can be predicted, but task is regression; use type number")
    elif task != REGRESSION and target.type not in ("integer", "string", "boolean"):
        problems.append(
            f"{target.name} has the type {target.type}, but the classes of task {task} are text or integers"
        )
    elif task != REGRESSION and (count := 2 if target.type == "boolean" else len(target.enum)) != 2 and task == BINARY:
        problems.append(f"{target.name} has {count} values in enum, and task binary needs two; list them")
    elif task == MULTICLASS and len(target.enum) < 3:
        problems.append(f"{target.name} has {len(target.enum)} values in enum, and task multiclass needs three or more")


def refuse_unknown_keys(content: Mapping[Any, Any], known: Iterable[str], where: str, problems: list[str]) -> None:
    for key in content:
        if key not in known:
            problems.append(f"{where}{str(key)[:40]!r} is no key of a declaration{nearest(str(key), known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?`, where something is near."""
    found = difflib.get_close_matches(name, sorted(known), 1)
    return f": did you mean {found[0]}?" if found else ""


def shown(names: Sequence[str], most: int = 15) -> str:
    return ", ".join(str(name)[:40] for name in names[:most]) + (", …" if len(names) > most else "")


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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


class CautiousLoader(yaml.SafeLoader):
    """YAML without aliases, which can make a small file very large; `yes`, `no`, `on`, `off` and dates are text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not for declarations")
        return super().compose_node(parent, index)


CautiousLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag.rpartition(":")[2] not in ("bool", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
CautiousLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|True|false|False"), list("tTfF"))
