"""Cut a CSV file into byte ranges that end where a row ends, outside quotes: each can be read by itself.

The rows of all ranges, in order, are the rows of the file. This file is of kit/, which `make kit` copies to the steps
that use it: edit it there.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RANGE_BYTES = 8 << 20  # what a process reads at a time; the results must not depend on how many processes there are
MOST_READ = 8  # ranges' sizes that are looked through for a row's end; beyond, the rest of the file is one range
UTF_8 = ("ascii", "utf-8", "utf-8-sig")
QUOTE, LF, CR = b'"\n\r'


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` to before `end` of a file; `line` lines end before them."""

    start: int
    end: int
    line: int = 0

    @property
    def size(self) -> int:
        return self.end - self.start

    def open(self, path: Path, encoding: str, newline: str | None = None) -> io.TextIOWrapper:
        """The text of the range; `newline` as for the built-in `open`."""
        plain = "utf-8" if encoding == "utf-8-sig" and self.start else encoding  # in the middle it is no mark
        return io.TextIOWrapper(open_ranges(path, self), plain, newline=newline)


def open_ranges(path: Path, *parts: ByteRange) -> io.BufferedReader:
    """The bytes of the ranges, one after the other."""
    return io.BufferedReader(RangesReader(path, parts), 1 << 20)


class RangesReader(io.RawIOBase):
    """The bytes of some ranges, as a file."""

    def __init__(self, path: Path, parts: Iterable[ByteRange]) -> None:
        self.file, self.parts, self.left = path.open("rb", buffering=0), iter(parts), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a private type here
        while not self.left and (part := next(self.parts, None)):
            self.file.seek(part.start)
            self.left = part.size
        done = self.file.readinto(buffer[: self.left])
        self.left -= done
        return done

    def close(self) -> None:
        self.file.close()
        super().close()


def can_be_cut(encoding: str, separator: str) -> bool:
    """Whether line ends, quotes and separators are bytes of their own in this encoding: each character is one byte, or
    it is UTF-8."""
    if not separator.isascii() or len(separator) != 1:
        return False
    if encoding in UTF_8:
        return True
    text = bytes(range(256)).decode(encoding, "replace")
    return len(text) == 256 and text[:128] == bytes(range(128)).decode() and set(text[128:]) != {"\ufffd"}


def byte_ranges(
    path: Path, separator: str, start: ByteRange, size: int = RANGE_BYTES, *, skip_spaces: bool = False
) -> Iterator[ByteRange]:
    """The file after `start` (what stands above its rows), in ranges of about `size` bytes.

    `skip_spaces`: a quote after a separator and spaces opens a cell, as with `skipinitialspace` of `csv`. A row that
    is longer than `size` has a longer range; where no row seems to end any more, as after a quote that is never
    closed, the rest of the file is one.
    """
    begin, line, data = start.end, start.line, b""
    total = path.stat().st_size
    with path.open("rb") as file:
        file.seek(begin)
        while block := file.read(max(size, len(data))):  # twice as much each time that no row ended
            data += block
            if begin + len(data) >= total:
                break
            if end := last_row_end(data, separator, skip_spaces=skip_spaces):
                yield ByteRange(begin, begin + end, line)
                begin, line, data = begin + end, line + line_ends(data[:end]), data[end:]
            elif len(data) > MOST_READ * size:
                break
    if begin < total or begin == start.end:  # one at least
        yield ByteRange(begin, total, line)


def first_lines(path: Path, lines: int) -> ByteRange:
    """The range of the first lines of a file, whichever way they end; its `line` is where the next range begins."""
    with path.open(encoding="latin-1", newline="") as file:  # a character for each byte
        return ByteRange(0, sum(len(file.readline()) for _ in range(lines)), lines)


def header_range(path: Path) -> ByteRange:
    """The range of a clean table's header, with the blank lines above it."""
    with path.open(encoding="latin-1", newline="") as file:
        rows = csv.reader(file)
        next((row for row in rows if any(map(str.strip, row))), None)
        lines = rows.line_num
    return first_lines(path, lines)


def line_ends(data: bytes) -> int:
    """How many lines end in the data: with LF, CR or both."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def last_row_end(data: bytes, separator: str, *, skip_spaces: bool = False) -> int:
    """How many bytes of the data are whole rows, more data being to come; 0 where no row ends.

    Data that begin where a row does, with bytes of their own for separators, quotes and line ends.
    """
    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == QUOTE)
    # Every other quote opens a cell, or is the second of two that stand for one: then the others close what is open.
    opening = quotes[::2]
    before = array[opening - 1]  # of the first byte the last one, which does not count
    plain = (opening == 0) | (before == LF) | (before == CR) | (before == ord(separator))
    plain[1:] |= opening[1:] == quotes[1::2][: len(opening) - 1] + 1
    if not plain.all():  # a quote in the middle of a cell, or behind a space: it depends on all that came before
        return last_row_end_by_csv(data, separator, skip_spaces)
    end, closed = len(data), len(quotes)
    if closed % 2:
        closed -= 1
        end = int(quotes[closed])
    while True:
        begin = int(quotes[closed - 1]) + 1 if closed else 0
        if found := last_line_end(data, begin, end):
            return found
        if not closed:
            return 0
        closed -= 2
        end = int(quotes[closed])


def last_line_end(data: bytes, begin: int, end: int) -> int:
    """Behind the last line end in data[begin:end]; 0 where there is none. A last CR does not count: LF may follow."""
    lf = data.rfind(b"\n", begin, end)
    cr = data.rfind(b"\r", begin, min(end, len(data) - 1))
    return max(lf, cr) + 1


def last_row_end_by_csv(data: bytes, separator: str, skip_spaces: bool) -> int:
    """The same by Python's `csv`, which reads row by row: slower, but it knows every case."""
    read = ends = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for text in io.StringIO(data.decode("latin-1"), newline=""):  # a character for each byte
            read += len(text)
            yield text

    found = 0
    try:
        for _ in csv.reader(lines(), delimiter=separator, skipinitialspace=skip_spaces):
            found, ends = ends, read  # the last row may go on in what is to come
    except csv.Error:  # a cell that is too long to be one
        found = ends
    return found
