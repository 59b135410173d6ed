"""Where the body of an HTTP answer ends, and what it holds: pure functions of streams of bytes."""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

CHUNK_BYTES = 1 << 20  # bytes read at a time: memory stays flat whatever the file's size
PACKED_BYTES = 1 << 16  # packed bytes unpacked at a time: each of many tiny gzip members copies what follows it
LINE_BYTES = 1 << 16  # longest line of a chunked body's framing
TRAILERS = 100  # most lines after a chunked body
GZIP = 16 + zlib.MAX_WBITS


class BodyError(Exception):
    """The body is not what its headers say; the text goes on after "URL sent "."""


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Content-Length in bytes; None where there is none. The same length several times over is one.

    Raises:
        BodyError: it is not a number, or several.
    """
    if (value := headers.get("Content-Length")) is None:
        return None
    lengths = {length.strip() for length in value.split(",")}
    length = lengths.pop()
    if lengths or not re.fullmatch("[0-9]{1,18}", length):
        raise BodyError(f"Content-Length {value[:40]!r}, which is no number of bytes")
    return int(length)


def is_chunked(headers: Mapping[str, str]) -> bool:
    """Whether the body comes in chunks, each with its length.

    Raises:
        BodyError: another Transfer-Encoding.
    """
    value = headers.get("Transfer-Encoding", "identity").strip().lower()
    if value not in ("chunked", "identity", ""):
        raise BodyError(f"Transfer-Encoding {value[:40]!r}, which was not asked for and cannot be read")
    return value == "chunked"


def is_packed(headers: Mapping[str, str]) -> bool:
    """Whether the server packed the file for the way.

    Raises:
        BodyError: another Content-Encoding than gzip.
    """
    value = headers.get("Content-Encoding", "identity").strip().lower()
    if value not in ("gzip", "x-gzip", "identity", ""):
        raise BodyError(f"Content-Encoding {value[:40]!r}, which was not asked for and cannot be read")
    return value in ("gzip", "x-gzip")


def refuse_part(headers: Mapping[str, str]) -> None:
    """An answer of 200 is to be the whole file; some servers say in it that it is a part.

    Raises:
        BodyError: Content-Range is not all of the file.
    """
    value = headers.get("Content-Range", "").strip()
    if not value:
        return
    match = re.fullmatch(r"(?i)bytes 0-([0-9]{1,18})/([0-9]{1,18})", value)
    if not match or int(match[1]) + 1 != int(match[2]):
        raise BodyError(f"a part of the file (Content-Range {value[:40]!r}), which was not asked for")


def fixed_chunks(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """The next `length` bytes.

    Raises:
        BodyError: fewer came.
    """
    left = length
    while left:
        chunk = stream.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise BodyError(f"less than it had announced ({length - left} of {length} bytes)")
        left -= len(chunk)
        yield chunk


def chunked_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The content of a body in chunks, up to the chunk of length 0 and what follows it.

    Raises:
        BodyError: the end is not there, or the framing is wrong.
    """
    while length := chunk_length(stream.readline(LINE_BYTES)):
        yield from fixed_chunks(stream, length)
        if stream.readline(LINE_BYTES) not in (b"\r\n", b"\n"):
            raise BodyError("a chunk that is longer or shorter than it had announced")
    for _ in range(TRAILERS):
        if stream.readline(LINE_BYTES) in (b"\r\n", b"\n", b""):  # some servers leave the blank line out
            return
    raise BodyError("no end of its last chunk")


def chunk_length(line: bytes) -> int:
    """The length that the line before a chunk announces, in bytes."""
    if not line.endswith(b"\n") and len(line) < LINE_BYTES:
        raise BodyError("less than it had announced (the last chunk is missing)")
    match = re.fullmatch(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r?\n", line)
    if not match:
        raise BodyError(f"a chunk of length {line[:20].decode('latin-1').strip()!r}, which is no number of bytes")
    return int(match[1], 16)


def remaining_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """All that comes before the stream ends."""
    return iter(lambda: stream.read(CHUNK_BYTES), b"")


def gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, small chunks put together: a server's may have a few bytes each."""
    small = bytearray()
    for chunk in chunks:
        if not small and len(chunk) >= PACKED_BYTES:
            yield chunk
            continue
        small += chunk
        if len(small) >= PACKED_BYTES:
            yield bytes(small)
            small.clear()
    if small:
        yield bytes(small)


def gunzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip-packed bytes hold, in chunks of at most CHUNK_BYTES; no bytes hold none.

    Raises:
        BodyError: cut short, damaged, or something else follows.
    """
    member, ended = zlib.decompressobj(GZIP), True
    for chunk in chunks:
        for start in range(0, len(chunk), PACKED_BYTES):
            packed = chunk[start : start + PACKED_BYTES]
            while packed := packed.lstrip(b"\0") if ended else packed:  # NULs may pad the end
                if member.eof:
                    member = zlib.decompressobj(GZIP)
                try:
                    yield member.decompress(packed, CHUNK_BYTES)
                except zlib.error as error:
                    raise BodyError(f"damaged gzip data ({error})") from error
                ended = member.eof
                packed = member.unused_data if ended else member.unconsumed_tail
    if not ended:
        raise BodyError("gzip data that is cut short")
