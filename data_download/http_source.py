"""Ask a web server for a file: in a limited time, and to its very end. No MLflow here.

requests does the asking (addresses, ~/.netrc, proxies, certificates). Redirects, further tries and the reading of the
body are our own: its own know no total time, read a redirect's body into memory, and take half a file for the whole.
"""

import http.client
import io
import socket
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from address import with_variables
from clock import Clock, TimeIsUp
from download_error import DownloadError, out_of_time, printable, root_cause, too_large
from http_body import (
    BodyError,
    announced_length,
    chunked_chunks,
    fixed_chunks,
    gathered,
    gunzip,
    is_chunked,
    is_packed,
    refuse_part,
    remaining_chunks,
)
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, LocationParseError

# Who closes the connection after the file shows where it ends, whatever was announced.
HEADERS = {"Accept-Encoding": "gzip", "Connection": "close"}
TRY_AGAIN = (429, 500, 502, 503, 504)
REDIRECTS = 30
CLOSING_SECONDS = 2  # waited after the last byte for the server to close the connection, as it said it would
LONGEST_PAUSE = 120  # seconds between two tries where the server does not say how long


class Wire(io.RawIOBase):
    """What a server sends; no read waits longer than the clock, or `patience` in seconds, allows."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, clock: Clock) -> None:
        self.raw, self.connection, self.clock = raw, connection, clock
        self.patience = clock.silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.clock.left()
        self.connection.settimeout(min(left, self.patience))
        try:
            return self.raw.readinto(buffer)
        except TimeoutError:
            if left <= self.patience:
                raise TimeIsUp from None
            raise

    def close(self) -> None:
        self.raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """An answer whose headers and body come over a Wire."""

    def __init__(self, connection: socket.socket, *, clock: Clock, **options: Any) -> None:
        super().__init__(connection, **options)
        self.wire = Wire(self.fp.detach(), connection, clock)
        self.fp = io.BufferedReader(self.wire)

    def goes_on(self) -> bool:
        """Whether anything follows the body. A server that keeps the connection is not waited for."""
        self.wire.patience = CLOSING_SECONDS if self.will_close else 0
        try:
            return bool(self.fp.peek(1))
        except (OSError, TimeIsUp):  # no end and no byte: the body is whole
            return False


class ClockedAdapter(HTTPAdapter):
    """Makes connections whose answers are read against the clock; `answer` is the latest."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.answer: Answer | None = None

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        kind: Any = type(pool).ConnectionCls  # of http, https or a proxy

        def connection(**options: Any) -> Any:
            made = kind(**options)
            made.response_class = self.read_answer
            return made

        pool.ConnectionCls = connection  # only ever called
        return pool

    def read_answer(self, connection: socket.socket, **options: Any) -> Answer:
        self.close_answer()
        self.answer = Answer(connection, clock=self.clock, **options)
        return self.answer

    def close_answer(self) -> None:
        """urllib3 leaves one open whose headers it does not understand."""
        if self.answer:
            self.answer.close()

    def close(self) -> None:
        self.close_answer()
        super().close()


class Session(requests.Session):
    """Follows no redirect by itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


@contextmanager
def open_http(data_url: str, *, timeout: float, retries: int, max_bytes: int) -> Iterator[tuple[Iterator[bytes], bool]]:
    """The file at `data_url` in chunks, unpacked where the server packed it for the way, and whether it said where
    the file ends.

    Raises:
        DownloadError: no answer in time, one other than 200, an HTML page, or more or less than was announced.
    """
    clock, name = Clock(timeout), printable(data_url, 500)
    adapter = ClockedAdapter(clock)
    with Session() as session:
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        with told_as_sentence(name, clock):
            response = follow(session, with_variables(data_url), name, clock, retries)
        with response:
            refuse_other_than_file(name, response)
            if adapter.answer is None:  # pragma: no cover  # there is one with every response
                raise TypeError("a response without an answer")
            with told_as_sentence(name, clock):
                chunks, announced = body(name, response, adapter.answer, max_bytes)
            yield told_while_read(chunks, name, clock), announced


def follow(session: requests.Session, url: str, name: str, clock: Clock, retries: int) -> requests.Response:
    """The answer at the end of the redirects; `name` is the address in messages, as in what follows."""
    for _ in range(REDIRECTS + 1):
        response = ask(session, url, name, clock, retries)
        if not response.is_redirect:
            return response
        response.close()
        try:
            # http.client reads headers as Latin-1; what servers send is UTF-8.
            url = urllib.parse.urljoin(url, response.headers["Location"].encode("latin-1").decode("utf-8"))
            scheme = urllib.parse.urlsplit(url).scheme
        except ValueError:
            raise DownloadError(f"{name} redirects to what is not an address; look for its new place") from None
        if scheme not in ("http", "https"):
            raise DownloadError(
                f"{name} redirects to an address of scheme {printable(scheme, 20)!r}; only http and https are followed"
            )
    raise DownloadError(f"{name} redirects more than {REDIRECTS} times; check the address in a browser")


def ask(session: requests.Session, url: str, name: str, clock: Clock, retries: int) -> requests.Response:
    """One answer from `url`. Connection errors, 429 and 5xx are tried again after 0, 1, 2, 4 … seconds, or when the
    server says, as long as there is time."""
    for attempt in range(retries + 1):
        pause = min(2.0 ** min(attempt - 1, 10), LONGEST_PAUSE) if attempt else 0
        left = clock.left()
        try:
            response = session.get(url, stream=True, timeout=min(left, clock.silence), headers=HEADERS)
        except requests.exceptions.SSLError:
            raise  # a certificate does not become valid by asking again
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            if left <= clock.silence and isinstance(error, requests.exceptions.Timeout):
                raise TimeIsUp from None
            if attempt == retries or pause >= clock.left():
                raise
        else:
            if attempt == retries or response.status_code not in TRY_AGAIN:
                return response
            response.close()
            wished = retry_after(response.headers.get("Retry-After", ""))
            if wished is not None and wished >= clock.left():
                raise DownloadError(
                    f"{name} answered {status(response)} and wants to be asked again in {wished:.0f} s, which is "
                    f"beyond timeout={clock.timeout:g} s; try again later, or raise timeout"
                )
            pause = pause if wished is None else wished
            if pause >= clock.left():
                return response
        time.sleep(pause)
    raise AssertionError("the last try neither answered nor failed")


def retry_after(value: str) -> float | None:
    """The seconds that the header Retry-After asks for, as a number or until a date; None: it says nothing."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), 1e9)  # also of more digits than an int may be read from
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None


def status(response: requests.Response) -> str:
    return printable(f"{response.status_code} {response.reason}", 80)


def refuse_other_than_file(name: str, response: requests.Response) -> None:
    """
    Raises:
        DownloadError: the answer is an error, or a page.
    """
    if response.status_code != 200:
        raise DownloadError(f"{name} answered {status(response)}; check the address in a browser")
    if "html" in response.headers.get("Content-Type", "").lower():
        raise DownloadError(f"{name} answered with an HTML page, not a CSV file; use its raw download link")


def body(name: str, response: requests.Response, answer: Answer, max_bytes: int) -> tuple[Iterator[bytes], bool]:
    """The body of the answer, and whether the server says where it ends.

    Raises:
        BodyError: the headers are not to be believed.
        DownloadError: they announce more than `max_bytes`.
    """
    headers = response.headers
    refuse_part(headers)
    chunked, packed, length = is_chunked(headers), is_packed(headers), announced_length(headers)
    if chunked:
        chunks = gathered(to_the_end(chunked_chunks(answer.fp), answer))
    elif length is None:
        chunks = remaining_chunks(answer.fp)
    elif length > max_bytes and not packed:
        raise DownloadError(too_large(name, max_bytes))
    else:
        chunks = to_the_end(fixed_chunks(answer.fp, length), answer)
    return gunzip(chunks) if packed else chunks, chunked or length is not None


def to_the_end(chunks: Iterator[bytes], answer: Answer) -> Iterator[bytes]:
    yield from chunks
    if answer.goes_on():
        raise BodyError("more than it had announced")


def told_while_read(chunks: Iterator[bytes], name: str, clock: Clock) -> Iterator[bytes]:
    with told_as_sentence(name, clock):
        yield from chunks


@contextmanager
def told_as_sentence(name: str, clock: Clock) -> Iterator[None]:
    """What goes wrong on the way, as a DownloadError."""
    try:
        yield
    except TimeIsUp:
        raise DownloadError(out_of_time(name, clock.timeout)) from None
    except BodyError as error:
        raise DownloadError(f"{name} sent {printable(str(error))}; try again, or check the address") from error
    except (
        requests.exceptions.InvalidURL,
        LocationParseError,
        UnicodeError,
    ):  # whose text repeats an address, redirected to or a proxy's
        raise DownloadError(f"data_url {name!r} is not a valid address, or leads to one that is not") from None
    except (requests.exceptions.Timeout, TimeoutError) as error:
        raise DownloadError(f"{name} did not answer for {clock.silence:g} s; try again later") from error
    except requests.exceptions.InvalidHeader as error:
        raise DownloadError(f"{name} sent a header that cannot be right ({root_cause(error)})") from error
    except (requests.exceptions.RequestException, HTTPError) as error:
        raise DownloadError(f"{name} cannot be reached ({root_cause(error)}); check the address") from error
    except OSError as error:
        raise DownloadError(f"{name} broke off ({root_cause(error)}); try again") from error
