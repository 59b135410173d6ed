"""Tables in files of other kinds than CSV, Parquet and Excel, as CSV: told by their first bytes. No MLflow here.

Numbers, dates (ISO 8601), true and false are written as text, and a gap is an empty cell.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from download_error import DownloadError, printable, root_cause, too_large

PARQUET, EXCEL = "Parquet", "Excel"
FIRST_BYTES = {b"PAR1": PARQUET, b"PK\x03\x04": EXCEL, b"\xd0\xcf\x11\xe0": EXCEL}
ROWS = 4096  # turned into text at a time


def kind_of(path: Path) -> str:
    """PARQUET, EXCEL, or "" for neither."""
    with path.open("rb") as file:
        return FIRST_BYTES.get(file.read(4), "")


def csv_of(path: Path, kind: str, name: str, sheet: str, max_bytes: int) -> Iterator[bytes]:
    """The table in a file of that kind as CSV in UTF-8, in chunks; `name` is the file's in messages.

    `sheet` is an Excel file's; "": the one that has cells.

    Raises:
        DownloadError: the file is damaged, or of another kind after all, or holds what is no cell of a table.
    """
    return of_parquet(path, name) if kind == PARQUET else of_excel(path, name, sheet, max_bytes)


def of_parquet(path: Path, name: str) -> Iterator[bytes]:
    from parquet_text import NestedColumnsError, csv_chunks  # here: its import takes longer than a small download
    from pyarrow import ArrowException

    try:
        yield from csv_chunks(path, ROWS)
    except NestedColumnsError as error:
        raise DownloadError(
            f"{name} is no table of single values: {printable(str(error))} holds lists or records; "
            "publish it with a column for each value"
        ) from None
    except (ArrowException, OSError) as error:
        raise damaged(name, PARQUET, error) from error


def of_excel(path: Path, name: str, sheet: str, max_bytes: int) -> Iterator[bytes]:
    from python_calamine import CalamineError, CalamineWorkbook  # here: only those who have such a file need it

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                if sum(part.file_size for part in packed.infolist()) > max_bytes:
                    raise DownloadError(too_large(f"what is packed in {name}", max_bytes))
        with CalamineWorkbook.from_path(path) as book:
            found = {one: book.get_sheet_by_name(one) for one in book.sheet_names}
            rows = chosen(found, sheet, name).to_python()
    except (CalamineError, zipfile.BadZipFile, OSError) as error:
        raise damaged(name, EXCEL, error) from error
    yield from csv_text(rows)


def chosen(sheets: dict[str, Any], sheet: str, name: str) -> Any:
    """
    Raises:
        DownloadError: there is no such sheet, or several could be meant.
    """
    names = printable(", ".join(sheets))
    if sheet:
        if sheet not in sheets:
            raise DownloadError(f"{name} has no sheet {sheet!r}; it has: {names}")
        return sheets[sheet]
    filled = [one for one in sheets.values() if one.height]
    if len(filled) != 1:
        raise DownloadError(
            f"{name} has {len(filled)} sheets with cells, of {names}; say with sheet which one is meant"
        )
    return filled[0]


def damaged(name: str, kind: str, error: Exception) -> DownloadError:
    return DownloadError(
        f"{name} is a binary file that begins as {kind} does, and cannot be read as that ({root_cause(error)}); "
        "publish it again, or as CSV"
    )


def csv_text(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Rows of values, the header first, as CSV in chunks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows, start=1):
        writer.writerow([cell(value) for value in row])
        if number % ROWS == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def cell(value: Any) -> str:
    """A value as a cell.

    Raises:
        DownloadError: it is not a single one that text could stand for.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:  # Excel knows no other numbers
        return str(int(value))
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, str | int | float | timedelta | UUID):
        return str(value)
    raise DownloadError(
        f"a cell holds {type(value).__name__}, which is no number, text, date or truth; leave its column out, or "
        "convert it to text"
    )
