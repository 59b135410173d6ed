"""Is a downloaded file a table, the one that is meant, and all of it? Read from its first and last bytes."""

import codecs
import csv
import re
from pathlib import Path

from download_error import DownloadError, printable

HEAD_BYTES = 1 << 20  # bytes looked at to tell a table from something else
HEAD_LINES = 1000
TITLE_LINES = 20  # in which the header may be, below titles, where its columns are said: else a message looks like that
READ_CHARACTERS = 1 << 20
SEPARATORS = ",;\t|"
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def refuse_other_than_table(path: Path, name: str, columns: str = "") -> None:
    """Tell pages, JSON, binary files and messages from a table by the first bytes; `name` is the file's in messages.

    `columns` are the names that the header must hold, separated by commas; in any order, whatever their case, spaces
    and punctuation. Without them a header of two cells or more and a row of as many must be there.

    Raises:
        DownloadError: the file is something else, has no rows, or lacks a column.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        whole = not file.read(1)
    text = decode(head).lstrip("\ufeff")
    start = text.strip()
    if whole and not start:
        raise DownloadError(f"{name} is empty; a CSV file with a header and rows is needed")
    if start.startswith("<"):
        raise DownloadError(f"{name} is an HTML or XML page, not a CSV file; use its raw download link")
    if start.startswith(("{", "[")):
        raise DownloadError(f"{name} is JSON, not a CSV file; a CSV file with a header and rows is needed")
    if "\0" in text:
        raise binary(name)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [line for line in (lines if whole else lines[:-1])[:HEAD_LINES] if line.strip()]
    if not lines:
        raise DownloadError(f"{name} is not a CSV file: its first line is longer than {HEAD_BYTES} bytes")
    if re.match(r'(?i)"?sep=\W', lines[0]) and len(lines) > 1:  # Excel's line, which data_cleaning reads
        del lines[0]
    tables = [read_table(lines, separator) for separator in SEPARATORS]
    if columns:
        refuse_missing_columns(tables, columns, lines[0], name)
    if whole and len(lines) < 2:
        raise DownloadError(f"{name} has a header but no rows; check that it is the whole file")
    if not columns and not any(looks_like_table(table) for table in tables):
        raise DownloadError(
            f"{name} is text, not a CSV file: it begins with {printable(start, 60)!r}, and no row has the "
            "separators of the first line; check the address"
        )


def binary(name: str) -> DownloadError:
    return DownloadError(f"{name} is a binary file, not a CSV file; a CSV file with a header and rows is needed")


def decode(head: bytes) -> str:
    """The text of the first bytes; a character that is cut in two at their end is no matter."""
    for bom, encoding in BOMS.items():
        if head.startswith(bom):
            return head.decode(encoding, errors="replace")
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return head.decode("cp1252", errors="replace")


def read_table(lines: list[str], separator: str) -> list[list[str]]:
    """The header and the rows as cells, as far as they can be read with this separator."""
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
    except csv.Error:  # a quote that is not closed: the rows before it are enough
        pass
    return rows


def looks_like_table(rows: list[list[str]]) -> bool:
    """Whether the header has two cells or more and a row has as many; separators may end a row."""
    if not rows or len(rows[0]) < 2:
        return False
    width = len(rows[0])
    # Where the first bytes hold a header alone, it is the only one to go by.
    return any(len(row) >= width and not any(cell.strip() for cell in row[width:]) for row in rows[1:] or rows)


def refuse_missing_columns(tables: list[list[list[str]]], columns: str, first_line: str, name: str) -> None:
    """
    Raises:
        DownloadError: with no separator does the header hold all columns.
    """
    wanted = {normalise_name(column): column.strip() for column in columns.split(",") if column.strip()}
    headers = [{normalise_name(cell) for cell in row} for table in tables for row in table[:TITLE_LINES]]
    missing = min(
        ([column for key, column in wanted.items() if key not in header] for header in headers),
        key=len,
        default=list(wanted.values()),
    )
    if missing:
        noun = "column" if len(missing) == 1 else "columns"
        raise DownloadError(
            f"{name} lacks the declared {noun} {', '.join(missing)}: its header is {printable(first_line, 100)!r}; "
            "check the address, or correct columns"
        )


def normalise_name(name: str) -> str:
    """A column's name as data_cleaning compares it, by letters and digits; one without any is trimmed."""
    return re.sub(r"[\W_]+", "", name).casefold() or name.strip()


def refuse_cut_record(path: Path, name: str) -> None:
    """Where nothing told the file's length, at least its last record must be whole: a line end, outside quotes.

    Raises:
        DownloadError: it is not.
    """
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "latin-1"
    quotes, last = 0, ""
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        while chunk := text.read(READ_CHARACTERS):
            quotes += chunk.count('"')
            last = chunk[-1]
    if last not in ("\n", "\r") or quotes % 2:
        raise DownloadError(
            f"{name} did not announce its length and does not end in a whole line, so it may be cut short; "
            "try again, or give its sha256 if it is meant to end so"
        )
