"""Fetch a table as a CSV file, checked on the way in. No MLflow here."""

import hashlib
import math
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from address import refuse_credentials
from download_error import DownloadError, printable, root_cause, too_large
from http_body import CHUNK_BYTES, BodyError, gunzip
from http_source import open_http
from object_source import SCHEMES, open_object
from secret_address import DATABASES
from table_check import binary, refuse_cut_record, refuse_other_than_table
from table_file import csv_of, kind_of

WRITE_BYTES = 1 << 18  # bytes written at a time: Linux takes twice as long to find room for a mebibyte at once
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Download:
    """What came: size of the CSV in bytes, its lines, digests in hex, and the address as given.

    `announced`: whether the source said where the file ends; if not, a part could look like the whole.
    """

    source: str
    bytes: int
    lines: int
    sha256: str  # of the CSV
    published_sha256: str  # of the file as published; differs where that was packed
    announced: bool


def download(
    data_url: str,
    target: Path,
    *,
    sha256: str = "",
    columns: str = "",
    query: str = "",
    sheet: str = "",
    max_bytes: int = 2 << 30,
    timeout: float = 300,
    retries: int = 4,
) -> Download:
    """Write what is at `data_url` to `target`: a CSV file byte for byte (gzip is unpacked), Parquet, Excel and the rows
    that a database gives for `query` as CSV. `sheet` is an Excel file's.

    `timeout` is the whole download's, in seconds; `max_bytes` counts after unpacking; `columns` are the names,
    separated by commas, that the header must hold. `target` appears whole or not at all.

    Raises:
        DownloadError: nothing there, not the table that is meant, too large, too slow, cut short, or another digest.
    """
    refuse_credentials(data_url)
    refuse_parameters(sha256, timeout, retries)
    name = printable(data_url, 500)
    partial = target.with_name(target.name + ".part")
    try:
        source = open_source(data_url, query, timeout=timeout, retries=retries, max_bytes=max_bytes)
        with source as (stream, announced):
            published = save(stream, partial, max_bytes, name)
        if sha256 and published.sha256 != sha256.lower():
            raise DownloadError(
                f"{name} has SHA-256 {published.sha256}, but sha256={sha256} was asked for; "
                "check the address, or update sha256 if the new content is meant"
            )
        unpacked = published
        if is_gzip(partial):
            unpacked = unpack(partial, max_bytes, name)
        if kind := kind_of(partial):
            unpacked, announced = (
                replaced(partial, csv_of(partial, kind, name, sheet, max_bytes), max_bytes, name),
                True,
            )
        elif sheet:
            raise DownloadError(f"{name} is no Excel file, so that there is no sheet {sheet!r}; leave sheet empty")
        if unpacked.binary:
            raise binary(name)
        refuse_other_than_table(partial, name, columns)
        if not announced and not sha256:
            refuse_cut_record(partial, name)
        partial.replace(target)
        return Download(
            data_url, unpacked.bytes, unpacked.lines, unpacked.sha256, published.sha256, announced=announced
        )
    except OSError as error:  # of the disk: the network's are told already
        raise DownloadError(
            f"{name} cannot be read or kept ({root_cause(error)}); check the disk and its rights"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def refuse_parameters(sha256: str, timeout: float, retries: int) -> None:
    """
    Raises:
        DownloadError: one of them has no meaning.
    """
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"sha256 {sha256!r} is not 64 hex digits; leave it empty to take any content")
    if not (timeout > 0 and math.isfinite(timeout)):
        raise DownloadError(f"timeout={timeout:g} is not a time that a download may take; give seconds above 0")
    if retries < 0:
        raise DownloadError(f"retries={retries} is not a number of further tries; give 0 or more")


@contextmanager
def open_source(
    data_url: str, query: str, *, timeout: float, retries: int, max_bytes: int
) -> Iterator[tuple[Iterator[bytes], bool]]:
    """The content at `data_url` in chunks, and whether its end is announced."""
    scheme = urllib.parse.urlsplit(data_url).scheme.lower()
    if scheme.partition("+")[0] in DATABASES:
        from database_source import open_query  # here: SQLAlchemy's import takes longer than a small download

        with open_query(data_url, query, timeout=timeout) as chunks:
            yield chunks, True
        return
    if query:
        raise DownloadError(f"data_url {data_url!r} is no database that a query could be put to; leave query empty")
    if scheme in ("http", "https"):
        with open_http(data_url, timeout=timeout, retries=retries, max_bytes=max_bytes) as source:
            yield source
    elif scheme in SCHEMES:
        with open_object(data_url, timeout=timeout, retries=retries, max_bytes=max_bytes) as chunks:
            yield chunks, True
    elif scheme in ("", "file") or len(scheme) == 1:  # one letter: a Windows drive
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(data_url).path) if scheme == "file" else data_url)
        if not path.is_file():
            where = "" if path.is_absolute() else f" in {Path.cwd()}; give an absolute path"
            raise DownloadError(f"data_url {data_url!r} names no file{where}")
        yield file_chunks(path), True
    else:
        raise DownloadError(
            f"data_url {data_url!r} has scheme {scheme!r}; {', '.join(['http', 'https', *SCHEMES])}, a database's "
            f"({', '.join(DATABASES)}), file or a path is needed"
        )


def file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from iter(lambda: stream.read(CHUNK_BYTES), b"")


@dataclass(frozen=True)
class Saved:
    """What was written: SHA-256 in hex, size in bytes, lines (a last one without a line end counts), and whether a NUL
    is in it that UTF-16 does not explain."""

    sha256: str
    bytes: int
    lines: int
    binary: bool


def save(stream: Iterator[bytes], partial: Path, max_bytes: int, name: str) -> Saved:
    """Write the chunks to `partial`, counting and hashing them on the way."""
    digest, size, lines, nul, first_bytes, last_byte = hashlib.sha256(), 0, 0, False, b"", b"\n"

    def update(chunk: bytes) -> None:
        nonlocal lines, nul
        digest.update(chunk)
        lines += chunk.count(b"\n")
        nul = nul or b"\0" in chunk

    # Counting and hashing run beside the writing: for a large file they take as long as the network.
    with partial.open("wb") as file, ThreadPoolExecutor(1) as worker:
        pending = worker.submit(update, b"")
        for chunk in filter(None, stream):
            size += len(chunk)
            if size > max_bytes:
                raise DownloadError(too_large(name, max_bytes))
            pending.result()
            pending = worker.submit(update, chunk)
            for start in range(0, len(chunk), WRITE_BYTES):
                file.write(memoryview(chunk)[start : start + WRITE_BYTES])
            first_bytes, last_byte = first_bytes or chunk[:2], chunk[-1:]
        pending.result()
    return Saved(digest.hexdigest(), size, lines + (last_byte != b"\n"), nul and first_bytes not in UTF_16)


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def unpack(partial: Path, max_bytes: int, name: str) -> Saved:
    """Replace a gzip file by its content."""
    try:
        return replaced(partial, gunzip(file_chunks(partial)), max_bytes, name)
    except BodyError as error:
        raise DownloadError(f"{name} is a damaged gzip file ({error}); download it again") from error


def replaced(partial: Path, content: Iterator[bytes], max_bytes: int, name: str) -> Saved:
    """Replace a file by other content, which may be made of it."""
    other = partial.with_name(partial.name + ".unpacked")
    try:
        saved = save(content, other, max_bytes, name)
        shutil.move(other, partial)
        return saved
    finally:
        other.unlink(missing_ok=True)
