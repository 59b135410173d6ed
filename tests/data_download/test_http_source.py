"""What servers do wrong: real ones on loopback. A file is taken whole, or refused in one sentence and soon."""

import contextlib
import functools
import gzip
import hashlib
import random
import socket
import ssl
import tempfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import mlflow
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from download import DownloadError, download
from mlflow.entities import Run

from tests.data_download.servers import (
    Send,
    drips,
    floods,
    sends,
    sends_and_keeps,
    sends_and_resets,
    serving,
)
from tests.step_programs import run_program

CSV = b"PassengerId,Name,Survived\n" + b"".join(b'%d,"Doe, J.",%d\n' % (number, number % 2) for number in range(100))
HALF = CSV[: len(CSV) // 2]
PACKED = gzip.compress(CSV, mtime=0)
NEVER = b""  # a server that has nothing to say


def ok(*lines: str, version: str = "1.1") -> bytes:
    """The head of an answer of 200 with these headers."""
    return "\r\n".join([f"HTTP/{version} 200 OK", *lines, "", ""]).encode("latin-1")


def announced(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    return ok(f"Content-Length: {len(body)}", *lines, version=version) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return ok("Transfer-Encoding: chunked") + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks) + end


@pytest.fixture
def fetch(tmp_path: Path) -> Callable:
    return functools.partial(download, target=tmp_path / "data.csv", retries=0, timeout=20)


def refused(
    fetch: Callable, tmp_path: Path, send: Send, context: ssl.SSLContext | None = None, **options: object
) -> str:
    """The sentence with which the server's file is refused; nothing of it is left."""
    with serving(send, context=context) as server, pytest.raises(DownloadError) as error:
        fetch(server.url, **options)
    assert list(tmp_path.iterdir()) == [], "something half-written was left"
    message = str(error.value)
    assert message.isprintable() and len(message) < 500, message
    return message.replace(server.url, "URL")


def taken(
    fetch: Callable, tmp_path: Path, send: Send, context: ssl.SSLContext | None = None, **options: object
) -> bool:
    """The server's file is CSV, all of it; whether its length was announced."""
    with serving(send, context=context) as server:
        result = fetch(server.url, **options)
    assert (tmp_path / "data.csv").read_bytes() == CSV
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]
    return result.announced


SLOW = {
    "accepts and never answers": sends_and_keeps(NEVER),
    "drips the status": drips(NEVER, b"HTTP/1.1 200 OK"),
    "drips a header": drips(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "drips headers": drips(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "continues for ever": floods(NEVER, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips an announced body": drips(ok("Content-Length: 100000"), CSV),
    "drips a body without an end": drips(ok("Connection: close"), CSV),
    "stops half-way": sends_and_keeps(ok(f"Content-Length: {len(CSV)}"), HALF),
    "stops half-way without length": sends_and_keeps(ok("Connection: close"), HALF),
    "drips a chunk": drips(ok("Transfer-Encoding: chunked") + b"fffff\r\n", CSV),
    "drips the length of a chunk": drips(ok("Transfer-Encoding: chunked"), b"0"),
    "drips chunks": drips(ok("Transfer-Encoding: chunked"), b"1\r\na\r\n"),
    "drips what follows the chunks": drips(chunked(CSV, end=b"0\r\nX: "), b"a"),
    "drips a packed body": drips(ok("Content-Encoding: gzip", "Content-Length: 100000"), PACKED),
    "floods with empty gzip members": floods(ok("Content-Encoding: gzip"), gzip.compress(b"", mtime=0) * 1000),
    "is busy, and drips why": drips(b"HTTP/1.1 503 Busy\r\nContent-Length: 9999\r\n", b"X: a\r\n"),
}


@pytest.mark.parametrize("send", SLOW.values(), ids=SLOW)
def test_a_server_that_never_ends_is_given_up_after_the_total_time(send, fetch, tmp_path):
    assert refused(fetch, tmp_path, send, timeout=1) == (
        "URL was not downloaded within timeout=1 s; try again, or raise timeout"
    )


def test_a_server_that_does_not_accept_is_given_up_after_the_total_time(fetch, tmp_path):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # its queue is full; who comes now gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        with pytest.raises(DownloadError, match="was not downloaded within timeout=1 s"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/list.csv", timeout=1)


def test_a_silent_server_is_told_from_a_slow_one_where_the_total_time_is_long(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("clock.SILENCE_SECONDS", 1)
    for send in (sends_and_keeps(NEVER), sends_and_keeps(ok(f"Content-Length: {len(CSV)}"), HALF)):
        assert "URL did not answer for 1 s; try again" in refused(fetch, tmp_path, send, timeout=10)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("when", ["86400", "9" * 5000, "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_server_that_wants_to_be_left_alone_for_longer_is_not_waited_for(status, when, fetch, tmp_path):
    send = sends(f"HTTP/1.1 {status} Busy\r\nRetry-After: {when}\r\nContent-Length: 0\r\n\r\n".encode())
    message = refused(fetch, tmp_path, send, retries=4)
    assert f"URL answered {status} Busy and wants to be asked again in " in message
    assert "beyond timeout=20 s; try again later" in message


@pytest.mark.parametrize(
    "when", ["soon", "-5", "1e9", "Mon, 01 Jan 99999 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"]
)
def test_a_retry_after_that_says_nothing_is_passed_over(when, fetch, tmp_path):
    answers = [f"HTTP/1.1 503 Busy\r\nRetry-After: {when}\r\n\r\n".encode(), announced(CSV)]
    assert taken(fetch, tmp_path, lambda connection, stop: connection.sendall(answers.pop(0)), retries=1)


def test_pauses_between_tries_count(fetch, tmp_path):
    """The first pause is 0 s, the second 1 s, which is not left."""
    with serving(sends(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")) as server:
        with pytest.raises(DownloadError, match=r"answered 503 Busy|within timeout=1 s"):
            fetch(server.url, retries=50, timeout=1)
        assert len(server.requests) <= 2


def test_the_body_of_a_busy_server_is_not_waited_for(fetch, tmp_path):
    send = drips(b"HTTP/1.1 503 Busy\r\nContent-Length: 9999\r\n\r\n", b"a")
    assert "answered 503 Busy" in refused(fetch, tmp_path, send, retries=1)


CUT = {
    "in a row": (sends(ok("Connection: close"), HALF.rpartition(b"\n")[0], b"\n7,"), "may be cut short"),
    "in a row, HTTP/1.0": (sends(ok(version="1.0"), CSV[:-2]), "may be cut short"),
    "within quotes": (sends(ok(), b'a,b\n1,2\n3,"x\n'), "may be cut short"),
    "in a row of UTF-16": (sends(ok(), CSV.decode()[:-3].encode("utf-16")), "may be cut short"),
    "by a reset": (sends_and_resets(ok(), HALF), "broke off (Connection reset by peer)"),
    "by a reset, announced": (sends_and_resets(ok(f"Content-Length: {len(CSV)}"), HALF), "broke off"),
    "announced": (sends(ok(f"Content-Length: {len(CSV)}"), HALF), f"less than it had announced ({len(HALF)} of "),
    "in a gzip file": (sends(ok(), PACKED[:-20]), "damaged gzip file"),
    "in the gzip encoding": (sends(ok("Content-Encoding: gzip"), PACKED[:-20]), "gzip data that is cut short"),
    "in the gzip trailer": (sends(announced(PACKED[:-1], "Content-Encoding: gzip")), "gzip data that is cut short"),
    "in a chunk": (sends(chunked(HALF, end=b"64\r\n1,")), "less than it had announced"),
    "between two chunks": (sends(chunked(HALF, end=b"")), "the last chunk is missing"),
    "in the length of a chunk": (sends(chunked(HALF, end=b"6")), "the last chunk is missing"),
    "before anything": (sends(NEVER), "cannot be reached"),
}


@pytest.mark.parametrize(("send", "message"), CUT.values(), ids=CUT)
def test_half_a_file_is_not_taken_for_the_whole(send, message, fetch, tmp_path):
    assert message in refused(fetch, tmp_path, send)


def test_without_a_length_a_whole_record_will_do_and_it_is_said(fetch, tmp_path):
    assert taken(fetch, tmp_path, sends(ok("Connection: close"), CSV)) is False
    assert taken(fetch, tmp_path, sends(ok("Content-Encoding: gzip"), PACKED)) is False
    assert taken(fetch, tmp_path, sends(announced(CSV))) is True


def test_without_a_length_a_digest_is_as_good(fetch, tmp_path):
    body = CSV.removesuffix(b"\n")
    with serving(sends(ok(), body)) as server:
        result = fetch(server.url, sha256=hashlib.sha256(body).hexdigest())
    assert (result.bytes, result.announced) == (len(body), False)


LONGER = {
    "closing": sends(announced(CSV, "Connection: close"), b"101,x,1\n"),
    "HTTP/1.0": sends(announced(CSV, version="1.0"), b"x"),
    "keeping the connection": sends_and_keeps(announced(CSV), b"101,x,1\n"),
    "another answer": sends_and_keeps(announced(CSV, "Connection: keep-alive"), announced(CSV)),
    "after the last chunk": sends(chunked(HALF, b"", CSV[len(HALF) :])),  # a chunk of length 0 is the last
    "announced as nothing": sends(ok("Content-Length: 0", "Connection: close"), CSV),
}


@pytest.mark.parametrize("send", LONGER.values(), ids=LONGER)
def test_more_than_announced_is_refused(send, fetch, tmp_path):
    assert "URL sent more than it had announced" in refused(fetch, tmp_path, send)


def test_a_server_that_keeps_the_connection_is_not_waited_for(fetch, tmp_path):
    assert taken(fetch, tmp_path, sends_and_keeps(announced(CSV)))
    assert taken(fetch, tmp_path, sends_and_keeps(announced(CSV, "Connection: close")))  # it said it would not
    assert taken(fetch, tmp_path, sends_and_keeps(chunked(CSV)))


@pytest.mark.parametrize("value", ["-1", "abc", "", "+10", "1_0", "0x10", "1.5", "\xb2", "9" * 5000, "10, 11", "10 11"])
def test_a_length_that_is_none_is_refused(value, fetch, tmp_path):
    message = refused(fetch, tmp_path, sends(ok(f"Content-Length: {value}"), CSV))
    assert "Content-Length" in message


def test_the_same_length_twice_is_one(fetch, tmp_path):
    assert taken(fetch, tmp_path, sends(announced(CSV, f"Content-Length: {len(CSV)}")))


@pytest.mark.parametrize("value", ["br", "zstd", "deflate", "compress", "gzip, gzip", "utf-8", "secret\x1b[2J"])
def test_another_encoding_is_refused_by_name(value, fetch, tmp_path):
    body = zlib.compress(CSV) if value == "deflate" else CSV
    message = refused(fetch, tmp_path, sends(announced(body, f"Content-Encoding: {value}")))
    assert "Content-Encoding" in message and "cannot be read" in message


@pytest.mark.parametrize("value", ["gzip, chunked", "gzip", "chunked, chunked", "unheard-of"])
def test_another_transfer_encoding_is_refused_by_name(value, fetch, tmp_path):
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CSV), CSV)
    message = refused(fetch, tmp_path, sends(ok(f"Transfer-Encoding: {value}"), body))
    assert "Transfer-Encoding" in message


@pytest.mark.parametrize("value", ["gzip", "GZIP", "x-gzip", "identity"])
def test_gzip_for_the_way_is_unpacked_and_the_digest_is_the_files(value, fetch, tmp_path):
    body = CSV if value == "identity" else gzip.compress(CSV[:99], mtime=0) + gzip.compress(CSV[99:], mtime=0) + b"\0\0"
    digest = hashlib.sha256(CSV).hexdigest()
    assert taken(fetch, tmp_path, sends(announced(body, f"Content-Encoding: {value}")), sha256=digest)


@pytest.mark.parametrize("body", [CSV, PACKED + b"and more", PACKED[:30] + b"\0\1\2" + PACKED[33:]])
def test_what_is_not_gzip_is_refused(body, fetch, tmp_path):
    message = refused(fetch, tmp_path, sends(announced(body, "Content-Encoding: gzip")))
    assert "URL sent damaged gzip data" in message


BOMB = gzip.compress(CSV + b"1,x,0\n" * 2_000_000)  # 12 MB
BOMBS = {
    "in the gzip encoding": sends(announced(BOMB, "Content-Encoding: gzip")),
    "in a gzip file": sends(announced(BOMB)),
    "in a gzip file in the gzip encoding": sends(announced(gzip.compress(BOMB), "Content-Encoding: gzip")),
    "without an end": floods(ok(), b"1,x,0\n" * 1000),
    "announced": sends_and_keeps(ok(f"Content-Length: {1 << 40}")),
    "in chunks": floods(ok("Transfer-Encoding: chunked"), b"%x\r\n%b\r\n" % (6000, b"1,x,0\n" * 1000)),
}


@pytest.mark.parametrize("send", BOMBS.values(), ids=BOMBS)
def test_more_than_max_bytes_is_refused(send, fetch, tmp_path):
    assert "URL is larger than max_bytes=1000000; raise" in refused(fetch, tmp_path, send, max_bytes=1_000_000)


GOOD_CHUNKS = {
    "extension and trailer": chunked(b"", end=b"") + b"%x ;a=b\r\n%b\r\n0;last\r\nX-Sum: 1\r\n\r\n" % (len(CSV), CSV),
    "upper case and leading zeros": ok("Transfer-Encoding: Chunked") + b"%08X\r\n%b\r\n000\r\n\r\n" % (len(CSV), CSV),
    "no blank line at the end": chunked(CSV, end=b"0\r\n"),
    "byte by byte": chunked(*(CSV[at : at + 1] for at in range(len(CSV)))),
    "with a length, which does not count": ok("Transfer-Encoding: chunked", "Content-Length: 5")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(CSV), CSV),
}
GOOD_CHUNKS["extension and trailer"] = GOOD_CHUNKS["extension and trailer"].replace(b"0\r\n\r\n", b"", 1)


@pytest.mark.parametrize("answer", GOOD_CHUNKS.values(), ids=GOOD_CHUNKS)
def test_chunks_are_put_together(answer, fetch, tmp_path):
    assert taken(fetch, tmp_path, sends(answer)) is True


@pytest.mark.parametrize(
    ("framing", "message"),
    [
        (b"-1\r\n" + CSV, "a chunk of length '-1'"),
        (b"+5\r\n1,2,3\r\n", "a chunk of length '+5'"),
        (b"0x5\r\n1,2,3\r\n", "a chunk of length '0x5'"),
        (b"none\r\n", "a chunk of length 'none'"),
        (b"\r\n", "a chunk of length ''"),
        (b"f" * 40 + b"\r\n", "a chunk of length 'ffff"),
        (b"1" * 100_000, "a chunk of length '1111"),
        (b"5\r\n1,2,3,4\r\n", "longer or shorter"),
        (b"5\r\n1,2\r\n0\r\n\r\n", "longer or shorter"),
        (b"0\r\n" + b"X: a\r\n" * 1000, "no end of its last chunk"),
    ],
)
def test_chunks_that_are_wrong_are_refused(framing, message, fetch, tmp_path):
    assert message in refused(fetch, tmp_path, sends(chunked(HALF, end=framing)))


@pytest.mark.parametrize(
    "value", ["bytes 0-99/1000", "bytes 500-1000/1001", "bytes 0-99/*", "lines 0-9/10", "nonsense"]
)
def test_a_part_of_the_file_is_refused(value, fetch, tmp_path):
    assert "sent a part of the file" in refused(fetch, tmp_path, sends(announced(CSV, f"Content-Range: {value}")))


def test_a_part_that_is_all_is_the_file(fetch, tmp_path):
    assert taken(fetch, tmp_path, sends(announced(CSV, f"Content-Range: bytes 0-{len(CSV) - 1}/{len(CSV)}")))


@pytest.mark.parametrize(
    "status", ["206 Partial Content", "204 No Content", "304 Not Modified", "203 Changed", "300 Many"]
)
def test_any_other_answer_than_200_is_refused(status, fetch, tmp_path):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(CSV)}\r\n\r\n".encode() + CSV
    assert f"URL answered {status}; check" in refused(fetch, tmp_path, sends(answer))


def redirect(target: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 999999999\r\n\r\n".encode("latin-1") + body


REDIRECTS = {
    "to a file": ("file:///etc/passwd", "scheme 'file'; only http and https"),
    "to ftp": ("ftp://127.0.0.1/list.csv", "scheme 'ftp'"),
    "to itself": ("/list.csv", "redirects more than 30 times"),
    "to no host": ("http://", "redirects more than 30 times"),
    "to a host of dots": ("http://../", "not a valid address"),
    "to half a host": ("http://[::1/list.csv?sig=s3cret", "redirects to what is not an address"),
    "to no text": ("/\xff\xfe", "redirects to what is not an address"),
    "to a host too long": (f"http://{'a' * 100}.example/?sig=s3cret", "not a valid address"),
    "to a port that is none": ("http://127.0.0.1:99999999/?sig=s3cret", "not a valid address"),
    "to nobody": ("http://s3cret:s3cret@127.0.0.1:9/x?sig=s3cret", "cannot be reached (Connection refused)"),
    "nowhere": ("", ""),
}


@pytest.mark.parametrize(("target", "message"), REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_that_leads_nowhere_is_refused_without_its_secrets(target, message, fetch, tmp_path):
    told = refused(fetch, tmp_path, sends(redirect(target)))
    assert message in told
    assert "s3cret" not in told


def test_a_redirect_is_followed_without_its_body_being_read(fetch, tmp_path):
    with serving(sends(announced(CSV))) as other:
        assert taken(fetch, tmp_path, floods(redirect(other.url), b"a" * 10_000))


def test_a_relative_redirect_and_a_busy_server_after_it(fetch, tmp_path):
    answers = [redirect("other.csv?s=1"), b"HTTP/1.1 503 Busy\r\n\r\n", announced(CSV)]
    assert taken(fetch, tmp_path, lambda connection, stop: connection.sendall(answers.pop(0)), retries=1)


HEADS = {
    "too many headers": (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000, "more than 100 headers"),
    "a header too long": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "header line"),
    "a status too long": (b"HTTP/1.1 200 " + b"a" * 100_000, "status line"),
    "no HTTP": (b"\x1b[2J\x07" + b"hello " * 1000 + b"\r\n\r\n", "cannot be reached"),
    "HTTP/0.9": (CSV, "cannot be reached"),
    "HTTP/7": (b"HTTP/7 200 OK\r\n\r\n" + CSV, "cannot be reached"),
    "a reason of control characters": (b"HTTP/1.1 404 \x1b[2J\x07no\r\n\r\n", "answered 404  [2J no"),
    "a long reason": (b"HTTP/1.1 404 " + b"no " * 1000 + b"\r\n\r\n", "answered 404 no no"),
}


@pytest.mark.parametrize(("head", "message"), HEADS.values(), ids=HEADS)
def test_a_head_that_is_none_is_one_short_sentence(head, message, fetch, tmp_path):
    assert message in refused(fetch, tmp_path, sends(head))


MESSAGES = {
    "one line": b"Error: you are not logged in\n",
    "two lines": b"Error: you are not logged in\nPlease log in and try again\n",
    "with a comma in the second": b"Error: you are not logged in\n\nPlease log in, and try again.\n",
    "with commas in the first": b"Sorry, you are not logged in\nPlease log in and try again\n",
    "markdown": b"# Not found\n\nThe list has moved.\n",
}


@pytest.mark.parametrize("body", MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_not_taken_for_a_table(body, fetch, tmp_path):
    told = refused(fetch, tmp_path, sends(announced(body, "Content-Type: text/plain")))
    assert "not a CSV file" in told or "no rows" in told


def test_a_message_with_as_many_commas_as_a_table_is_told_by_the_columns(fetch, tmp_path):
    body = b"Sorry, you are not logged in\nPlease, log in\n"
    told = refused(fetch, tmp_path, sends(announced(body)), columns="PassengerId,Survived")
    assert "lacks the declared columns PassengerId, Survived" in told
    assert "'Sorry, you are not logged in'" in told
    assert taken(fetch, tmp_path, sends(announced(CSV)), columns=" survived, passenger_id")


@pytest.mark.parametrize("nuls", [b"\0" * 5000, CSV + b"\0" * 5000, CSV * 2000 + b"\0"])
def test_nuls_are_no_table(nuls, fetch, tmp_path):
    assert "is a binary file" in refused(fetch, tmp_path, sends(announced(nuls)))


def test_an_html_page_is_told_by_its_type_in_any_case(fetch, tmp_path):
    assert "HTML page" in refused(fetch, tmp_path, sends(announced(CSV, "Content-Type: Text/HTML")))


def test_ipv6(fetch, tmp_path):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(sends(announced(CSV)), host="::1") as server:
        assert fetch(server.url).announced
    assert (tmp_path / "data.csv").read_bytes() == CSV


def test_a_redirect_hides_no_secret_from_the_log(fetch, tmp_path, caplog):
    caplog.set_level("INFO")
    target = "http://127.0.0.1:9/x?sig=s3cret"
    refused(fetch, tmp_path, sends(redirect(target)), retries=1)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(timeout, fetch, tmp_path):
    assert "timeout=" in refused(fetch, tmp_path, sends(announced(CSV)), timeout=timeout)


def test_a_number_of_tries_that_is_none_is_refused(fetch, tmp_path):
    assert "retries=-1" in refused(fetch, tmp_path, sends(announced(CSV)), retries=-1)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the certificate to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    public = certificate.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(public)
    both = path.with_name("both.pem")
    both.write_bytes(
        public
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, path


OVER_TLS = {
    "announced": (sends(announced(CSV)), None),
    "keeping the connection": (sends_and_keeps(announced(CSV)), None),
    "in chunks": (sends(chunked(HALF, CSV[len(HALF) :])), None),
    "never answering": (sends_and_keeps(NEVER), "within timeout=1 s"),
    "dripping headers": (SLOW["drips headers"], "within timeout=1 s"),
    "dripping a body": (SLOW["drips an announced body"], "within timeout=1 s"),
    "cut": (CUT["in a row"][0], "may be cut short"),
    "cut by a reset": (CUT["by a reset, announced"][0], "URL "),
    "more than announced": (LONGER["closing"], "more than it had announced"),
}


@pytest.mark.parametrize(("send", "message"), OVER_TLS.values(), ids=OVER_TLS)
def test_the_same_holds_over_tls(send, message, fetch, tmp_path, tls, monkeypatch):
    context, certificate = tls
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    if message is None:
        assert taken(fetch, tmp_path, send, context=context)
    else:
        assert message in refused(fetch, tmp_path, send, context=context, timeout=1 if "timeout" in message else 20)


@pytest.mark.parametrize(
    ("send", "message"),
    [
        (sends_and_keeps(NEVER), "within timeout=1 s"),
        (drips(b"\x16\x03\x03\x40\x00", b"a"), "within timeout=1 s"),
        (sends(announced(CSV)), "cannot be reached ([SSL"),
    ],
)
def test_a_server_that_speaks_no_tls_is_not_waited_for(send, message, fetch, tmp_path):
    with serving(send) as server, pytest.raises(DownloadError) as error:
        fetch(server.url.replace("http:", "https:"), timeout=1 if "timeout" in message else 20)
    assert message in str(error.value)


def test_a_certificate_that_is_not_trusted_is_refused_at_once(fetch, tmp_path, tls):
    assert "certificate verify failed" in refused(fetch, tmp_path, sends(announced(CSV)), context=tls[0], retries=4)


SHORT = b"a,b\n" + b"1,22\n" * 9
WHOLE = {
    "announced": announced(SHORT),
    "in chunks": chunked(SHORT[:20], SHORT[20:]),
    "packed": announced(gzip.compress(SHORT, mtime=0), "Content-Encoding: gzip"),
    "packed in chunks": chunked(gzip.compress(SHORT, mtime=0)).replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1),
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
def test_an_answer_cut_at_any_byte_is_refused(answer, fetch, tmp_path):
    answers = [answer[:length] for length in range(len(answer) + 1)]
    outcomes = []
    with serving(lambda connection, stop: connection.sendall(answers[len(outcomes)])) as server:
        for _ in answers:
            try:
                fetch(server.url)
                outcomes.append((tmp_path / "data.csv").read_bytes())
                (tmp_path / "data.csv").unlink()
            except DownloadError as error:
                outcomes.append(str(error))
            assert list(tmp_path.iterdir()) == []
    assert outcomes[-1] == SHORT
    taken = [outcome for outcome in outcomes[:-1] if isinstance(outcome, bytes)]
    assert set(taken) <= {SHORT}
    assert len(taken) <= 2  # without the blank line after the last chunk it is whole


def test_an_answer_with_any_byte_changed_ends_in_a_sentence_or_in_a_file(fetch, tmp_path):
    """Whatever the server sends: no other error, nothing half-written."""
    random_ = random.Random(0)
    answers = []
    for answer in WHOLE.values():
        for _ in range(60):
            place, byte = random_.randrange(len(answer)), random_.choice(b'\0\r\n \t,;"19afx-\x80\xff')
            answers.append(answer[:place] + bytes([byte]) + answer[place + 1 :])
    done = []
    with serving(lambda connection, stop: connection.sendall(answers[len(done)])) as server:
        for _ in answers:
            with contextlib.suppress(DownloadError):
                fetch(server.url)
            (tmp_path / "data.csv").unlink(missing_ok=True)
            assert list(tmp_path.iterdir()) == []
            done.append(True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_used_and_as_little_waited_for(scheme, fetch, tmp_path, monkeypatch):
    url = f"{scheme}://example.invalid/list.csv"
    with serving(SLOW["drips headers"]) as server:
        monkeypatch.setenv(f"{scheme}_proxy", server.url)
        with pytest.raises(DownloadError, match="within timeout=1 s"):
            fetch(url, timeout=1)
    if scheme == "http":
        with serving(sends(announced(CSV))) as server:
            monkeypatch.setenv("http_proxy", server.url)
            assert fetch(url).announced
            assert server.requests[0].startswith(b"GET http://example.invalid/list.csv ")


def test_credentials_of_netrc_are_not_sent_on_to_another_host(fetch, tmp_path, monkeypatch):
    netrc = tmp_path.parent / f"{tmp_path.name}.netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(sends(announced(CSV))) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        with serving(sends(redirect(elsewhere))) as server:
            assert fetch(server.url).announced
    assert b"\r\nAuthorization: Basic " in server.requests[0]
    assert b"Authorization" not in other.requests[0]


def test_an_address_with_control_characters_is_told_in_one_line(fetch, tmp_path):
    with serving(sends(NEVER)) as server, pytest.raises(DownloadError) as error:
        fetch(server.url + "\n\x1b[2J")
    assert str(error.value).isprintable()


@pytest.fixture
def step(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """The step's program by MLproject's command: exit code, output, errors. Nothing is left in the temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def step(**parameters: object) -> tuple[int, str, str]:
        code = run_program("data_download", **parameters)
        assert list(folder.iterdir()) == []
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return step


def last_run() -> Run:
    (run,) = mlflow.search_runs(search_all_experiments=True, max_results=1, output_format="list")
    return run


STEP = {
    "a body without an end": SLOW["drips a body without an end"],
    "headers without an end": SLOW["drips a header"],
    "cut": CUT["in a row"][0],
    "reset": CUT["by a reset"][0],
    "cut gzip encoding": CUT["in the gzip encoding"][0],
    "more than announced": LONGER["closing"],
    "bomb": BOMBS["in a gzip file"],
    "message": sends(announced(MESSAGES["two lines"])),
    "unknown encoding": sends(announced(CSV, "Content-Encoding: br")),
    "left alone": sends(b"HTTP/1.1 429 Busy\r\nRetry-After: 86400\r\n\r\n"),
}


@pytest.mark.parametrize("send", STEP.values(), ids=STEP)
def test_the_step_says_it_in_one_sentence_and_leaves_nothing(send, step):
    with serving(send) as server:
        code, out, err = step(data_url=server.url, timeout=1, retries=1, max_bytes=1_000_000)
    assert (code, out) == (1, "")
    assert err.startswith(f"data_download: {server.url} ")
    assert err.count("\n") == 1
    assert last_run().info.status == "FAILED"


@pytest.mark.parametrize(("head", "announces"), [(ok(), "false"), (ok(f"Content-Length: {len(CSV)}"), "true")])
def test_the_step_says_that_the_length_was_not_announced(head, announces, step):
    with serving(sends(head, CSV)) as server:
        code, out, _ = step(data_url=server.url, columns="PassengerId, Name, Survived")
    assert code == 0
    assert ("did not announce the file's length" in out) == (announces == "false")
    assert last_run().data.tags["data.length_announced"] == announces


def test_the_step_stores_no_secret_that_it_refuses(step, tmp_path):
    code, out, err = step(data_url="https://s3cret@example.com/x.csv?sig=s3cret")
    assert code == 1
    run = last_run()
    assert "s3cret" not in out + err + str(run.to_dictionary())
    assert "s3cret" not in (tmp_path / "mlflow.db").read_bytes().decode("latin-1")
