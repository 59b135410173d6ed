"""Fetch a CSV file, checked on the way in. No MLflow here."""

import gzip
import hashlib
import re
import shutil
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests
from address import refuse_credentials
from download_error import DownloadError
from requests.adapters import HTTPAdapter
from table_check import refuse_other_than_table
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

CHUNK_BYTES = 1 << 20  # bytes read at a time: memory stays flat whatever the file's size
WRITE_BYTES = 1 << 18  # bytes written at a time: Linux takes twice as long to find room for a mebibyte at once


@dataclass(frozen=True)
class Download:
    """What came: size of the CSV in bytes, its lines, digests in hex, and the address as given."""

    source: str
    bytes: int
    lines: int
    sha256: str  # of the CSV
    published_sha256: str  # of the file as published; differs where that was packed


def download(
    data_url: str,
    target: Path,
    *,
    sha256: str = "",
    columns: str = "",
    max_bytes: int = 2 << 30,
    timeout: float = 30,
    retries: int = 4,
) -> Download:
    """Write what is at `data_url` to `target`, byte for byte (a gzip file is unpacked).

    `timeout` is in seconds, `max_bytes` counts after unpacking; `columns` are the names, separated by
    commas, that the header must hold. `target` appears whole or not at all.

    Raises:
        DownloadError: nothing there, not a CSV, too large, cut short, or another digest.
    """
    refuse_credentials(data_url)
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"sha256 {sha256!r} is not 64 hex digits; leave it empty to take any content")
    partial = target.with_name(target.name + ".part")
    try:
        with open_source(data_url, timeout=timeout, retries=retries) as stream:
            published = save(stream, partial, max_bytes, data_url)
        if sha256 and published.sha256 != sha256.lower():
            raise DownloadError(
                f"{data_url} has SHA-256 {published.sha256}, but sha256={sha256} was asked for; "
                "check the address, or update sha256 if the new content is meant"
            )
        unpacked = published
        if is_gzip(partial):
            unpacked = unpack(partial, max_bytes, data_url)
        refuse_other_than_table(partial, data_url, columns)
        partial.replace(target)
        return Download(data_url, unpacked.bytes, unpacked.lines, unpacked.sha256, published.sha256)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def open_source(data_url: str, *, timeout: float, retries: int) -> Iterator[Iterator[bytes]]:
    """The content at `data_url` in chunks of at most CHUNK_BYTES bytes."""
    scheme = urllib.parse.urlsplit(data_url).scheme.lower()
    if scheme in ("http", "https"):
        with requests.Session() as session:
            session.mount(f"{scheme}://", HTTPAdapter(max_retries=retry_policy(retries)))
            yield http_chunks(session, data_url, timeout)
    elif scheme in ("", "file") or len(scheme) == 1:  # one letter: a Windows drive
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(data_url).path) if scheme == "file" else data_url)
        if not path.is_file():
            where = "" if path.is_absolute() else f" in {Path.cwd()}; give an absolute path"
            raise DownloadError(f"data_url {data_url!r} names no file{where}")
        with path.open("rb") as stream:
            yield iter(lambda: stream.read(CHUNK_BYTES), b"")
    else:
        raise DownloadError(f"data_url {data_url!r} has scheme {scheme!r}; http, https, file or a path is needed")


def retry_policy(retries: int) -> Retry:
    """Connection errors, 429 and 5xx are tried again after 0, 1, 2, 4 … seconds, or as Retry-After says."""
    return Retry(
        total=retries,
        backoff_factor=0.5,
        status_forcelist=[429, 500, 502, 503, 504],
        allowed_methods=["GET"],
        raise_on_status=False,
    )


def http_chunks(session: requests.Session, data_url: str, timeout: float) -> Iterator[bytes]:
    """The body of the answer.

    Raises:
        DownloadError: no answer, one other than 200, an HTML page, or less than was announced.
    """
    try:
        with session.get(data_url, stream=True, timeout=timeout) as response:
            if response.status_code != 200:
                raise DownloadError(
                    f"{data_url} answered {response.status_code} {response.reason}; check the address in a browser"
                )
            if "html" in response.headers.get("Content-Type", ""):
                raise DownloadError(f"{data_url} answered with an HTML page, not a CSV file; use its raw download link")
            yield from response.iter_content(CHUNK_BYTES)
    except requests.exceptions.ChunkedEncodingError as error:
        raise DownloadError(f"{data_url} sent less than it had announced ({root_cause(error)}); try again") from error
    except requests.exceptions.InvalidURL as error:
        raise DownloadError(f"data_url {data_url!r} is not a valid address ({error})") from error
    except requests.exceptions.Timeout as error:
        raise DownloadError(f"{data_url} did not answer within {timeout:g} s; try again, or raise timeout") from error
    except (requests.exceptions.RequestException, HTTPError) as error:
        raise DownloadError(f"{data_url} cannot be reached ({root_cause(error)}); check the address") from error


def root_cause(error: BaseException) -> str:
    """The innermost cause in a few words: the outer ones only repeat the address."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or str(error).strip() or type(error).__name__


@dataclass(frozen=True)
class Saved:
    """What was written: SHA-256 in hex, size in bytes, and lines; a last line without a line end counts."""

    sha256: str
    bytes: int
    lines: int


def save(stream: Iterator[bytes], partial: Path, max_bytes: int, data_url: str) -> Saved:
    """Write the chunks to `partial`, counting and hashing them on the way."""
    digest, size, lines, last_byte = hashlib.sha256(), 0, 0, b"\n"

    def update(chunk: bytes) -> None:
        nonlocal lines
        digest.update(chunk)
        lines += chunk.count(b"\n")

    # Counting and hashing run beside the writing: for a large file they take as long as the network.
    with partial.open("wb") as file, ThreadPoolExecutor(1) as worker:
        pending = worker.submit(update, b"")
        for chunk in filter(None, stream):
            size += len(chunk)
            if size > max_bytes:
                raise DownloadError(
                    f"{data_url} is larger than max_bytes={max_bytes}; raise max_bytes if that size is meant"
                )
            pending.result()
            pending = worker.submit(update, chunk)
            for start in range(0, len(chunk), WRITE_BYTES):
                file.write(memoryview(chunk)[start : start + WRITE_BYTES])
            last_byte = chunk[-1:]
        pending.result()
    return Saved(digest.hexdigest(), size, lines + (last_byte != b"\n"))


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def unpack(partial: Path, max_bytes: int, data_url: str) -> Saved:
    """Replace a gzip file by its content."""
    unpacked = partial.with_name(partial.name + ".unpacked")
    try:
        with gzip.open(partial, "rb") as stream:
            saved = save(read_chunks(stream), unpacked, max_bytes, data_url)
        shutil.move(unpacked, partial)
        return saved
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DownloadError(f"{data_url} is a damaged gzip file ({error}); download it again") from error
    finally:
        unpacked.unlink(missing_ok=True)


def read_chunks(stream: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK_BYTES), b"")
