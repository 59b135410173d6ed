"""What a request holds: the cells of the columns that are asked for, as text. No HTTP, no MLflow here.

The forms are those of MLflow's scoring server.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from step_error import first_line
from table import Table

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
KINDS = (JSON, CSV, ARROW)
RECORD_FORMS, COLUMN_FORMS = ("dataframe_records", "instances", "inputs"), ("instances", "inputs")
FORMS = ("dataframe_split", *RECORD_FORMS)

Cells = dict[str, list[str | None]]  # column -> its cells as text, None for a gap


class RequestError(Exception):
    """The request is refused with that HTTP status; the text is one sentence for whoever sent it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def media_type(header: str) -> str:
    """One of KINDS, from a Content-Type.

    Raises:
        RequestError: it is another one, or another encoding than UTF-8.
    """
    kind, *parameters = (part.strip().lower().replace('"', "") for part in header.split(";"))
    if kind not in KINDS:
        raise RequestError(415, f"the Content-Type is none of {', '.join(KINDS)}")
    if any(parameter not in ("", "charset=utf-8") for parameter in parameters):
        raise RequestError(415, f"the Content-Type has a parameter other than charset=utf-8; send {kind} alone")
    return kind


class PlainNumber(str):
    """The text of a number that JSON and Arrow write with a point, whatever the raw table's decimalChar is."""


def read_rows(
    kind: str, body: bytes, names: Sequence[str], chars: Mapping[str, str] | None = None, also: Sequence[str] = ()
) -> Cells:
    """The columns `names` of a body of that `media_type`, and those of `also` that it has; others are left out.

    `chars` are what stands before decimals in columns that say so: numbers of JSON and Arrow are written like that.

    Raises:
        RequestError: it is no table, or a column is missing; never with the body in its text.
    """
    cells = read_arrow(body, names, also) if kind == ARROW else read_text(kind, body, names, also)
    for name, char in (chars or {}).items():
        if name in cells:
            cells[name] = [cell.replace(".", char) if isinstance(cell, PlainNumber) else cell for cell in cells[name]]
    return cells


def decimal_chars(table: Table) -> dict[str, str]:
    """What stands before decimals, in the columns of raw tables that say so."""
    return {one.name: one.decimal_char for one in table.fields if one.decimal_char}


def read_text(kind: str, body: bytes, names: Sequence[str], also: Sequence[str]) -> Cells:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RequestError(400, "the request is not UTF-8") from None
    if not text.strip():
        raise RequestError(400, "the request is empty")
    cells = read_csv(text, names, also) if kind == CSV else read_json(text, names, also)
    if kind == JSON and "\\u" in text:  # which can write half of a surrogate pair
        try:
            "".join(cell for column in cells.values() for cell in column if cell).encode()
        except UnicodeEncodeError:
            raise RequestError(400, "the request has text that is not Unicode") from None
    return cells


def as_columns(cells: Cells) -> dict[str, pd.Series]:
    """What row_checks judges."""
    return {name: pd.Series(column, dtype="string[pyarrow]") for name, column in cells.items()}


def read_arrow(body: bytes, names: Sequence[str], also: Sequence[str]) -> Cells:
    try:
        with pa.ipc.open_stream(body) as stream:
            table = stream.read_all()
        table.validate(full=True)
        refuse_missing([name for name in names if name not in table.column_names])
        names = [*names, *(name for name in also if name in table.column_names)]
        refuse_twice([name for name in names if table.column_names.count(name) > 1])
        return {name: arrow_cells(table[name]) for name in names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RequestError(400, f"the request is no Arrow stream of plain columns ({first_line(error, 100)})") from None


def arrow_cells(column: pa.ChunkedArray) -> list[str | None]:
    """The cells as text; numbers as such."""
    cells = column.cast(pa.string()).to_pylist()
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return [None if cell is None else PlainNumber(cell) for cell in cells]
    return cells  # type: ignore[no-any-return]  # pyarrow has no types


def read_csv(text: str, names: Sequence[str], also: Sequence[str]) -> Cells:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header, *rows = (row for row in reader if row)
    except csv.Error as error:
        raise RequestError(400, f"the CSV is broken in line {reader.line_num} ({error}); check its quotes") from None
    return read_split([name.strip() for name in header], rows, names, also)


def read_json(text: str, names: Sequence[str], also: Sequence[str]) -> Cells:
    try:  # numbers stay the text that they are, as in a CSV
        request = json.loads(text, parse_int=str, parse_float=PlainNumber, parse_constant=read_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the request is not JSON ({str(error)[:100]})") from None
    found = [form for form in FORMS if form in request] if isinstance(request, dict) else []
    if len(found) != 1:
        raise RequestError(400, f"the request is not a JSON object with one of {', '.join(FORMS)}")
    (form,) = found
    content = request[form]
    if form == "dataframe_split":
        content = content if isinstance(content, dict) else {}
        header, rows = content.get("columns"), content.get("data")
        if not isinstance(header, list) or not isinstance(rows, list):
            raise RequestError(400, "dataframe_split is not an object with the lists columns and data")
        return read_split(header, rows, names, also)
    if isinstance(content, list):
        return read_records(content, names, also)
    if not isinstance(content, dict) or form not in COLUMN_FORMS:
        raise RequestError(400, f"{form} is not a list of objects, one for each row")
    if not any(isinstance(content.get(name), list) for name in names):
        return read_records([content], names, also)
    refuse_missing([name for name in names if name not in content])
    names = [*names, *(name for name in also if name in content)]
    lengths = {len(content[name]) if isinstance(content[name], list) else -1 for name in names}
    if len(lengths) != 1:
        raise RequestError(400, f"the columns of {form} are not lists of the same length")
    return {name: as_text(name, content[name]) for name in names}


def read_constant(text: str) -> str | None:
    """NaN is how some write a gap; Infinity is judged like any other text."""
    return None if text == "NaN" else text


def read_records(records: list[Any], names: Sequence[str], also: Sequence[str]) -> Cells:
    if not records:
        raise RequestError(400, "the request has no rows")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise RequestError(400, f"row {number} is not an object of named fields")
        refuse_missing([name for name in names if name not in record], f"row {number}: ")
    names = [*names, *(name for name in also if any(name in record for record in records))]
    return {name: as_text(name, [record.get(name) for record in records]) for name in names}


def read_split(header: list[Any], rows: list[Any], names: Sequence[str], also: Sequence[str]) -> Cells:
    refuse_missing([name for name in names if name not in header])
    names = [*names, *(name for name in also if name in header)]
    refuse_twice([name for name in names if header.count(name) > 1])
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(header):
            count = f"{len(row)} cells" if isinstance(row, list) else "no list of cells"
            raise RequestError(400, f"row {number} has {count} where there are {len(header)} columns")
    places = {name: header.index(name) for name in names}
    return {name: as_text(name, [row[place] for row in rows]) for name, place in places.items()}


def refuse_missing(names: list[str], where: str = "") -> None:
    if names:
        raise RequestError(400, f"{where}missing fields: {', '.join(names)}")


def refuse_twice(names: list[str]) -> None:
    if names:
        raise RequestError(400, f"there is more than one column {', '.join(names)}")


def as_text(name: str, cells: list[Any]) -> list[str | None]:
    """JSON's cells as a CSV has them: true is `true`.

    Raises:
        RequestError: one is a list or an object.
    """
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, list | dict):
            raise RequestError(400, f"row {number}: {name} is a list or an object; give one value")
    return [("true" if cell else "false") if isinstance(cell, bool) else cell for cell in cells]
