"""A CSV file in chunks, as text, with flat memory. No MLflow here.

Arrow does the parsing, which is several times faster than Python's csv module and as strict about the number of cells;
the csv module finds the header, and says which line is wrong where Arrow refuses.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

BLOCK_BYTES = 4 << 20  # read at a time
MAX_ROW_BYTES = 16 << 20  # more without a line end means quotes that never close
MAX_SHOWN = 40  # characters of a name that a message repeats
BOM = b"\xef\xbb\xbf"


class InputError(Exception):
    """The file cannot be scored as a whole; the text is meant for the user."""


def read_chunks(path: Path, columns: Sequence[str], chunk_rows: int) -> Iterator[tuple[pa.Table, int]]:
    """The file's `columns` as a table of text, at most `chunk_rows` rows at a time; with it the bytes read so far.

    Other columns are left out, blank lines are no rows.

    Raises:
        InputError: no CSV file, a column missing or twice, a row with too few or too many cells, broken quotes,
            another encoding than UTF-8; the line is named.
    """
    header: list[str] = []
    position = 0
    for block in row_aligned_blocks(path):
        position += len(block)
        if not header:
            header, block = split_header(path, block)
            refuse_columns(path, header, columns)
        if not block.strip():
            continue
        table = parse(path, block, header, columns)
        for start in range(0, len(table), chunk_rows):
            yield table.slice(start, chunk_rows), position
    if not header:
        refuse_columns(path, [], columns)


def row_aligned_blocks(path: Path) -> Iterator[bytes]:
    """The file in blocks that end where a row does: at a line end outside quotes."""
    rest = b""
    try:
        with path.open("rb") as file:
            rest = file.read(len(BOM)).removeprefix(BOM)
            while block := file.read(BLOCK_BYTES):
                rest += block
                if row_end := last_row_end(rest):
                    yield rest[:row_end]
                    rest = rest[row_end:]
                elif len(rest) > MAX_ROW_BYTES:
                    raise InputError(describe_error(path))
    except OSError as error:
        raise InputError(f"input {str(path)!r} cannot be read ({error.strerror}); give a CSV file's path") from None
    if rest.count(b'"') % 2:
        raise InputError(describe_error(path))
    if rest:
        yield rest


def last_row_end(text: bytes) -> int:
    """Where the last whole row of `text`, which starts with a row, ends; 0 if none does."""
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:
        previous = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', previous, end)
        end = previous
    return end


def split_header(path: Path, block: bytes) -> tuple[list[str], bytes]:
    """The column names, trimmed, and what follows them."""
    block = block.lstrip(b"\r\n")
    try:
        lines = io.StringIO(block.decode("utf-8"), newline="")
        header = next(csv.reader(lines, strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        raise InputError(describe_error(path)) from None
    return [name.strip() for name in header], lines.read().encode()


def refuse_columns(path: Path, header: list[str], columns: Sequence[str]) -> None:
    """Raises InputError if one of `columns` is not there, or there twice."""
    if not any(header):
        raise InputError(f"{path.name} is empty; a CSV file with a header and a row for each passenger is needed")
    if missing := [name for name in columns if name not in header]:
        has = ", ".join(name[:MAX_SHOWN] for name in header[:15])
        raise InputError(
            f"{path.name} has no column {', '.join(missing)} (it has: {has}); "
            "give a comma-separated file with these names, or run data_cleaning on it first"
        )
    if duplicates := sorted({name for name in columns if header.count(name) > 1}):
        raise InputError(f"{path.name} has the column {', '.join(duplicates)} more than once; remove one of them")


def parse(path: Path, block: bytes, header: list[str], columns: Sequence[str]) -> pa.Table:
    """A block of whole rows as a table of text with `columns`.

    Raises:
        InputError: Arrow refuses the block; the message names the line.
    """
    names = [str(place) for place in range(len(header))]
    places = [str(header.index(name)) for name in columns]
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(block),
            read_options=arrow_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + 1),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=places, column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        raise InputError(describe_error(path)) from None
    return table.rename_columns(list(columns)).combine_chunks()


def describe_error(path: Path) -> str:
    """Look again, slowly and line by line, for what is wrong with the file: the message for the user."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"{path.name} is not UTF-8 in line {number}; save it as UTF-8, or run data_cleaning on it first"
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader, start, width = csv.reader(file, strict=True), 1, 0
        try:
            for row in reader:
                width = width or len(row)
                if row and len(row) != width:
                    return (
                        f"{path.name} has {len(row)} cells in line {start} where the header has {width}; "
                        "correct that line, or run data_cleaning on the file first"
                    )
                start = reader.line_num + 1
        except csv.Error as error:
            return f"{path.name} is broken in the row that starts in line {start} ({error}); check its quotes"
    return f"{path.name} is not a comma-separated file that can be read; check its quotes and line ends"
