"""Where a body ends and what it holds, whatever the sizes in which it comes."""

import gzip
import io
import random

import pytest
from http_body import BodyError, chunked_chunks, fixed_chunks, gathered, gunzip

DATA = random.Random(0).randbytes(300_000) + bytes(3_000_000)


@pytest.mark.parametrize("size", [1, 7, 65_536, 65_537, 10_000_000])
def test_gzip_is_unpacked_in_chunks_of_any_size(size):
    packed = gzip.compress(DATA, mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(b"end", mtime=0) + b"\0" * 9
    chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
    unpacked = list(gunzip(chunks))
    assert b"".join(unpacked) == DATA + b"end"
    assert max(map(len, unpacked)) <= 1 << 20


def test_gzip_cut_anywhere_is_refused():
    packed = gzip.compress(b"a,b\n1,2\n", mtime=0)
    for length in range(1, len(packed)):
        with pytest.raises(BodyError, match="cut short"):
            b"".join(gunzip([packed[:length]]))
    assert b"".join(gunzip([])) == b""


def test_gathered_keeps_the_bytes_and_makes_few_chunks():
    chunks = [DATA[at : at + 100] for at in range(0, 200_000, 100)] + [DATA[200_000:]]
    together = list(gathered(chunks))
    assert b"".join(together) == DATA
    assert len(together) < 6


def test_a_fixed_length_takes_no_more():
    stream = io.BytesIO(b"12345rest")
    assert b"".join(fixed_chunks(stream, 5)) == b"12345"
    assert stream.read() == b"rest"
    assert list(fixed_chunks(stream, 0)) == []


def test_a_chunked_body_cut_anywhere_is_refused():
    body = b"3;x\r\na,b\r\nA\r\n\n1,2\n3,45\n\r\n0\r\n"
    assert b"".join(chunked_chunks(io.BytesIO(body + b"\r\n"))) == b"a,b\n1,2\n3,45\n"
    for length in range(len(body) - 1):  # with the last line end but one it is whole
        with pytest.raises(BodyError):
            b"".join(chunked_chunks(io.BytesIO(body[:length])))
