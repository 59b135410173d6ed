"""Read any CSV that people send, in chunks, each row with its line number. No MLflow here.

A chunk goes through Arrow's reader. Where that could differ from Python's own `csv` in the least (a ragged
row, a blank line, a space before a quote), the chunk goes through `csv`, which is slower and knows each line.
"""

import codecs
import contextlib
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from byte_ranges import ByteRange, byte_ranges, can_be_cut, first_lines
from row_checks import TEXT
from step_error import StepError
from table import Table

SEPARATORS = ",;\t|"
BLOCK_BYTES = 1 << 20
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
WORDS = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp1252": "Windows-1252"}
UTF_8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
SEPARATOR_LINE = re.compile(r'(?i)"?sep=([^\w\s"]|\t)"?(\1|[,;\t|])*')  # Excel's first line, which says the separator
HEADER_LINES = 20  # in which the header is looked for below titles


@dataclass(frozen=True)
class Source:
    """A CSV file as found: `columns` are its columns in order, declared ones by the declaration's own names.

    `skip` are the lines above the header, `header_end` the line on which it ends; `notes` say in sentences what was
    assumed.
    """

    path: Path
    bytes: int
    sha256: str
    encoding: str
    separator: str
    header: list[str]
    columns: list[str]
    skip: int = 0
    header_end: int = 0
    notes: tuple[str, ...] = ()

    @property
    def can_be_cut(self) -> bool:
        """Whether parts of the file can be read by themselves."""
        return can_be_cut(self.encoding, self.separator)


@dataclass
class RaggedRow:
    """A row with more or fewer cells than the header."""

    line: int
    cells: list[str]


@dataclass
class Chunk:
    """Rows of text: `cells` has the source's columns, `lines` the line in the file on which each row begins.

    `start` is the number of rows that came before in the file, ragged ones included.
    """

    cells: pd.DataFrame
    lines: np.ndarray
    ragged: list[RaggedRow] = field(default_factory=list)
    start: int = 0

    def __len__(self) -> int:
        return len(self.lines) + len(self.ragged)

    def numbers(self, lines: np.ndarray) -> np.ndarray:
        """The number in the file, from 1, of the rows that begin on `lines`; int64, of the same length."""
        every = np.sort(np.concatenate([self.lines, np.array([row.line for row in self.ragged], np.int64)]))
        found: np.ndarray = self.start + 1 + np.searchsorted(every, lines)
        return found


def inspect(path: Path, names: Iterable[str] = (), encoding: str = "") -> Source:
    """Find out how the file is written, and which column is which of those that have `names`.

    Lines above the header are left out: `sep=;`, and titles, where a later line has the `names`. `encoding` is a
    codec's name; "" to find it out.

    Raises:
        StepError: not a text file, not in that encoding or in one that is not said, or empty.
    """
    if not path.is_file():
        raise StepError(f"input {str(path)!r} names no file; give the path of a CSV file")
    encoding, digest, notes = detect_encoding(path, encoding)
    names = list(names)
    with open_text(path, encoding) as file:
        lines = list(islice(file, HEADER_LINES))
    separators, first = SEPARATORS, 0
    if said := SEPARATOR_LINE.fullmatch(lines[0].rstrip("\n") if lines else ""):
        separators, first = said[1], 1
        notes.append(f"line 1 says that {said[1]!r} is the separator")
    candidates = []
    for separator in separators:
        skip = find_header(lines, first, separator, names)
        with open_text(path, encoding) as file:
            header, end = read_header(file, separator, skip)
        candidates.append(((known_names(header, names), len(header)), separator, skip, header, end))
    _, separator, skip, header, end = max(candidates, key=lambda candidate: candidate[0])  # of equal ones the first
    if not header:
        raise StepError(f"{path.name} is empty; a CSV file with a header and rows is needed")
    if skip > first:
        titles = " / ".join(line.strip() for line in lines[first:skip] if line.strip())
        notes.append(f"the header is line {end}; what stands above it was left out: {titles[:80]!r}")
    columns = name_columns(header, names)
    return Source(path, path.stat().st_size, digest, encoding, separator, header, columns, skip, end, tuple(notes))


def find_header(lines: list[str], first: int, separator: str, names: list[str]) -> int:
    """How many lines are above the header: `first`, unless a later line has at least half of the names, and more."""
    known: list[int] = []
    for skip in range(first, len(lines)):
        try:
            header, _ = read_header(lines[skip:], separator)
        except StepError:
            header = []
        known.append(known_names(header, names))
        if 2 * known[0] >= len(names):
            return first
    best = known.index(max(known)) if known else 0
    return first + best if best and known[best] >= max(2, len(names) / 2) and known[best] > 2 * known[0] else first


def known_names(header: list[str], names: list[str]) -> int:
    """How many of the names are there."""
    return len(set(name_columns(header, names)) & set(names))


def refuse_duplicate_columns(columns: list[str]) -> None:
    """A column that is there twice is an error: which one is meant?"""
    if duplicates := sorted({name for name in columns if columns.count(name) > 1}):
        raise StepError(f"the input has the column {', '.join(duplicates)} more than once; rename or remove one")


def detect_encoding(path: Path, encoding: str = "") -> tuple[str, str, list[str]]:
    """The file's encoding, its SHA-256, and what is to be said of it.

    UTF-8 where all of the file is that, or UTF-16 where it begins so. What has no character of UTF-8 at all may be
    Windows-1252. A file that is mostly UTF-8 has a broken byte, and other code pages are not guessed.

    Raises:
        StepError: no text, no such codec, or not in that encoding: with the first line and byte that are not.
    """
    try:
        b"a".decode(encoding or "utf-8", errors="replace")
    except LookupError:
        raise StepError(f"encoding={encoding!r} is no encoding; give one such as utf-8, cp1250, or shift_jis") from None
    with path.open("rb") as file:
        start = file.read(BLOCK_BYTES)
    found = encoding or next((name for bom, name in BOMS.items() if start.startswith(bom)), "")
    packed = start.startswith((b"\x1f\x8b", b"PK\x03\x04"))
    if packed or (not found and start.count(0) > 2 + len(start) // 500):
        raise StepError(f"{path.name} is a binary or packed file, not a CSV file; unpack or export it first")
    given = codecs.lookup(found or "utf-8").name
    codec = "utf-8-sig" if given == "utf-8" and start.startswith(codecs.BOM_UTF8) else given
    digest, sound = read_through(path, codec)
    if sound:
        return codec, digest, []
    line, wrong = first_fault(path, codec)
    if wrong == b"\0":
        raise StepError(
            f"{path.name}, line {line}: a NUL character, which no text has; remove it, or save the file again"
        )
    if found:
        what = f"{shown_bytes(wrong)} is not {WORDS.get(codec, codec)}"
        raise StepError(f"{path.name}, line {line}: {what}; correct that line, or say what it is: encoding=…")
    if has_utf_8_characters(path):
        raise StepError(
            f"{path.name}, line {line}: {shown_bytes(wrong)} is not UTF-8, which other lines are; correct that line, "
            "or say encoding=cp1252 if that is what the whole file is"
        )
    _, sound = read_through(path, "cp1252")
    if not sound:
        line, wrong = first_fault(path, "cp1252")
        raise StepError(
            f"{path.name}, line {line}: {shown_bytes(wrong)} is neither UTF-8 nor Windows-1252; save the file as "
            "UTF-8, or say what it is, such as encoding=cp1250"
        )
    return "cp1252", digest, ["read as Windows-1252; save it as UTF-8, or say its encoding, to be sure"]


def read_through(path: Path, encoding: str) -> tuple[str, bool]:
    """The SHA-256 of the file, and whether all of it is text in the encoding."""
    digest, decoder, sound = hashlib.sha256(), codecs.getincrementaldecoder(encoding)(), True
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            try:
                sound = sound and "\0" not in decoder.decode(block)
            except UnicodeError:
                sound = False
    try:
        decoder.decode(b"", final=True)
    except UnicodeError:
        sound = False
    return digest.hexdigest(), sound


def first_fault(path: Path, encoding: str) -> tuple[int, bytes]:
    """The first line that is not text in the encoding, and the bytes that are not."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    line = 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            before = decoder.getstate()
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                sound = max(0, error.start - len(error.object) + len(block))  # bytes of this block
                decoder.setstate(before)
                with contextlib.suppress(UnicodeError):  # of UTF-16 that begins without a byte-order mark
                    line += decoder.decode(block[:sound], final=sound > 0).count("\n")
                return line, error.object[error.start : error.end]
            except UnicodeError as error:  # of codecs that do not say where
                raise StepError(f"{path.name} is not {encoding} ({error}); say what it is: encoding=…") from None
            if "\0" in text:
                return line + text[: text.index("\0")].count("\n"), b"\0"
            line += text.count("\n")
            if not block:
                return line, b""


def has_utf_8_characters(path: Path) -> bool:
    """Whether there is a character of more than one byte in UTF-8 anywhere."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            if UTF_8_CHARACTER.search(rest + block):
                return True
            rest = block[-3:]
    return False


def shown_bytes(found: bytes) -> str:
    """`the byte 0xfc`."""
    return f"the byte{'s' if len(found) > 1 else ''} {' '.join(f'0x{byte:02x}' for byte in found[:4])}"


def open_text(path: Path, encoding: str) -> TextIO:
    """The text of the file with every kind of line end as LF, inside quotes too."""
    return path.open(encoding=encoding, newline=None)


def read_header(file: Iterable[str], separator: str, skip: int = 0) -> tuple[list[str], int]:
    """The first line after `skip` that is not blank, as cells, and the line number on which it ends."""
    reader = csv.reader(islice(file, skip, None), delimiter=separator, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                return cells, skip + reader.line_num
    except csv.Error as error:
        raise StepError(f"the header cannot be read ({error}); is this a CSV file?") from error
    return [], skip + reader.line_num


def name_columns(header: list[str], known: Iterable[str]) -> list[str]:
    """The `known` names for their columns, whatever their case, spaces or underscores; other names only trimmed."""
    exact = set(known)
    alike: dict[str, list[str]] = {}
    for name in filter(normalise_name, exact):  # a name of signs alone is like no other
        alike.setdefault(normalise_name(name), []).append(name)
    found = []
    for index, name in enumerate([" ".join(name.split()) for name in header], start=1):
        same = alike.get(normalise_name(name), [])
        found.append(name if name in exact else same[0] if len(same) == 1 else name or f"column_{index}")
    return found


def normalise_name(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def require_columns(columns: list[str], table: Table, *, require_target: bool) -> None:
    """Name every column that is missing, at once. What models may not read need not be there to be scored.

    Raises:
        StepError: a declared column is not there.
    """
    roles = {"key", "feature"} | ({"target", "ignored"} if require_target else set())
    missing = [one.name for one in table.fields if one.role in roles and one.name not in columns]
    if not missing:
        return
    noun = "column" if len(missing) == 1 else "columns"
    found = ", ".join(repr(name[:40]) for name in columns[:15])
    hint = "; without the target, use require_target=false" if missing == [table.target.name] else "; add or rename it"
    raise StepError(f"missing {noun} {', '.join(missing)}; the input has {found}{hint}")


def ranges(source: Source, size: int) -> Iterator[ByteRange | None]:
    """The file below its header in parts of about `size` bytes, for `read_chunks`; None, all of it, if it has none."""
    if source.can_be_cut:
        yield from byte_ranges(
            source.path, source.separator, first_lines(source.path, source.header_end), size, skip_spaces=True
        )
    else:
        yield None


def read_chunks(source: Source, rows: int, part: ByteRange | None = None, start: int = 0) -> Iterator[Chunk]:
    """The rows of the file, or of a part of it before which `start` rows come, about `rows` at a time.

    Raises:
        StepError: a quote is opened and never closed.
    """
    with part.open(source.path, source.encoding) if part else open_text(source.path, source.encoding) as file:
        line = part.line if part else read_header(file, source.separator, source.skip)[1]
        while lines := list(islice(file, rows)):
            chunk = read_with_arrow(source, lines, line)
            if chunk is None:
                chunk, used = read_with_csv(source, lines, file, line)
            else:
                used = len(lines)
            line += used
            chunk.start = start
            start += len(chunk)
            yield chunk


def read_with_arrow(source: Source, lines: list[str], line: int) -> Chunk | None:
    """The chunk by Arrow's reader, or None where the lines are not plainly all rows of the right width."""
    text = "".join(lines)
    spaced = text.startswith(' "') or any(f'{before} "' in text for before in ("\n", source.separator))
    alone = len(source.columns) == 1  # a row may look like a blank line
    if alone or spaced or text.count('"') % 2 or "\0" in text:
        return None
    data = (text if text.endswith("\n") else f"{text}\n").encode()
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(data),
            read_options=pyarrow.csv.ReadOptions(
                column_names=source.columns, block_size=len(data) + 1, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=source.separator, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(source.columns, pa.large_string()),
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    if any(column[-1].as_py().endswith("\n") for column in table.columns if len(column)):
        return None  # Arrow ends a quote that is open where the chunk ends, and the row goes on behind it
    line_counts = np.ones(table.num_rows, np.int64)  # lines of each row: more than one with line ends in quotes
    if table.num_rows != len(lines):
        for column in table.columns:
            line_counts += pc.count_substring(column, "\n").to_numpy()
    if line_counts.sum() != len(lines):
        return None
    cells = pd.DataFrame({name: pd.array(table[name], dtype=TEXT) for name in source.columns})
    return Chunk(cells, line + 1 + np.cumsum(line_counts) - line_counts)


def read_with_csv(source: Source, lines: list[str], file: TextIO, line: int) -> tuple[Chunk, int]:
    """The chunk by Python's `csv`, and the lines used: more than given where the last row goes on in the file."""
    record: list[str] = []  # the lines of the row that is being read

    def recorded_lines() -> Iterator[str]:
        for text in chain(lines, file):
            record.append(text)
            yield text

    reader = csv.reader(recorded_lines(), delimiter=source.separator, skipinitialspace=True)
    width = len(source.columns)
    rows, numbers, ragged = [], [], []
    while reader.line_num < len(lines):
        first_line = line + reader.line_num + 1
        record.clear()
        try:
            cells = next(reader)
        except csv.Error as error:  # a cell beyond 131072 characters
            raise StepError(unclosed_quote(source, first_line)) from error
        if not any(cell.strip() for cell in cells[1:]) and not "".join(cells[:1]).strip() and len(cells) < 2:
            continue  # a blank line
        if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
            cells = cells[:width]  # separators at the line's end
        if len(cells) == width:
            rows.append(cells)
            numbers.append(first_line)
        else:
            ragged.append(RaggedRow(first_line, cells))
    if ends_within_quotes(record, source.separator):
        raise StepError(unclosed_quote(source, first_line))
    columns = zip(*rows, strict=True) if rows else [()] * width
    frame = pd.DataFrame(
        {name: pd.array(values, dtype=TEXT) for name, values in zip(source.columns, columns, strict=True)}
    )
    return Chunk(frame, np.array(numbers, dtype=np.int64), ragged), reader.line_num


def ends_within_quotes(record: list[str], separator: str) -> bool:
    """Whether the lines of a row leave a quote open."""
    try:
        list(csv.reader(record, delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def unclosed_quote(source: Source, line: int) -> str:
    return f"{source.path.name}, line {line}: a quote is opened here that is never closed; correct that line"
