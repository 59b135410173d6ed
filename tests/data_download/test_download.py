"""A download is whole, is a CSV, and is what was asked for; or there is one sentence that says why not."""

import functools
import gzip
import hashlib
import http.server
import threading
from pathlib import Path

import pytest
from download import DownloadError, download

CSV = b"PassengerId,Survived\n1,0\n2,1\n"


class Server(http.server.ThreadingHTTPServer):
    """Answers on loopback with what `answers` holds for a path: (status, headers, body), one after the other."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path: str, *answers) -> str:
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        queue = self.server.answers[self.path]
        status, headers, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(tmp_path: Path):
    return functools.partial(download, target=tmp_path / "data.csv", retries=1, timeout=5)


def refused(fetch, tmp_path: Path, *arguments, **options) -> str:
    with pytest.raises(DownloadError) as error:
        fetch(*arguments, **options)
    assert list(tmp_path.iterdir()) == [], "something half-written was left"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_http_bytes_are_kept_as_they_came(server, fetch, tmp_path):
    odd = b'\xef\xbb\xbfa;b\r\n"x\r\ny";2'
    result = fetch(server.url("/odd.csv", (200, {}, odd)))
    assert (tmp_path / "data.csv").read_bytes() == odd
    assert (result.bytes, result.lines, result.sha256) == (len(odd), 3, hashlib.sha256(odd).hexdigest())


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_file_is_taken_by_path_and_by_file_uri(form, fetch, tmp_path):
    source = tmp_path.parent / f"{tmp_path.name} with space.csv"
    source.write_bytes(CSV)
    address = form.format(str(source) if form == "{}" else str(source).replace(" ", "%20"))
    assert fetch(address).lines == 3
    assert (tmp_path / "data.csv").read_bytes() == CSV


def test_gzip_is_unpacked_and_both_digests_are_told(server, fetch, tmp_path):
    packed = gzip.compress(CSV, mtime=0)
    result = fetch(server.url("/x.csv.gz", (200, {}, packed)), sha256=hashlib.sha256(packed).hexdigest())
    assert (tmp_path / "data.csv").read_bytes() == CSV
    assert result.sha256 == hashlib.sha256(CSV).hexdigest()
    assert result.published_sha256 == hashlib.sha256(packed).hexdigest()


def test_server_errors_are_tried_again(server, fetch):
    busy = (503, {"Retry-After": "0"}, b"busy")
    url = server.url("/busy.csv", busy, (429, {"Retry-After": "0"}, b""), (200, {}, CSV))
    assert fetch(url, retries=3).lines == 3
    assert server.asked.count("/busy.csv") == 3


def test_a_server_that_stays_busy_is_given_up(server, fetch, tmp_path):
    url = server.url("/down.csv", (503, {"Retry-After": "0"}, b""))
    assert "answered 503" in refused(fetch, tmp_path, url)
    assert server.asked.count("/down.csv") == 2


def test_404_is_not_tried_again(server, fetch, tmp_path):
    assert "answered 404 Not Found" in refused(fetch, tmp_path, server.url("/no.csv", (404, {}, b"")))
    assert server.asked.count("/no.csv") == 1


def test_a_body_shorter_than_announced_is_refused(server, fetch, tmp_path):
    url = server.url("/short.csv", (200, {"Content-Length": "1000"}, CSV))
    assert "less than it had announced" in refused(fetch, tmp_path, url)


def test_a_server_that_is_not_there_is_said_so(fetch, tmp_path):
    assert "cannot be reached (Connection refused)" in refused(fetch, tmp_path, "http://127.0.0.1:9/x.csv", retries=0)


def test_a_wrong_digest_is_refused_with_both(server, fetch, tmp_path):
    url = server.url("/digest.csv", (200, {}, CSV))
    message = refused(fetch, tmp_path, url, sha256="0" * 64)
    assert hashlib.sha256(CSV).hexdigest() in message
    assert "0" * 64 in message


@pytest.mark.parametrize("packed", [False, True])
def test_more_than_max_bytes_is_refused_also_when_packed(packed, server, fetch, tmp_path):
    body = CSV + b"3,0\n" * 10_000
    url = server.url("/big.csv", (200, {}, gzip.compress(body, mtime=0) if packed else body))
    assert "larger than max_bytes=20000" in refused(fetch, tmp_path, url, max_bytes=20_000)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n\n", "is empty"),
        (b"PassengerId,Survived\n", "has a header but no rows"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b'{"error": "no"}', "JSON"),
        (b"PK\x03\x04\0\0\0\0", "binary"),
        (gzip.compress(CSV, mtime=0)[:-9], "damaged gzip file"),
    ],
)
def test_what_is_not_a_csv_with_rows_is_refused(body, message, server, fetch, tmp_path):
    assert message in refused(fetch, tmp_path, server.url("/not.csv", (200, {}, body)))


def test_an_html_answer_is_refused_by_its_type(server, fetch, tmp_path):
    url = server.url("/page", (200, {"Content-Type": "text/html; charset=utf-8"}, CSV))
    assert "HTML page" in refused(fetch, tmp_path, url)


@pytest.mark.parametrize(
    "url", ["https://me:s3cret@example.com/x.csv", "https://example.com/x.csv?access_token=s3cret"]
)
def test_credentials_are_refused_and_not_repeated(url, fetch, tmp_path):
    message = refused(fetch, tmp_path, url)
    assert ".netrc" in message
    assert "s3cret" not in message


def test_a_missing_file_and_another_scheme_are_named(fetch, tmp_path):
    assert "names no file" in refused(fetch, tmp_path, "/nowhere/x.csv")
    assert "give an absolute path" in refused(fetch, tmp_path, "nowhere/x.csv")
    assert "scheme 'ftp'" in refused(fetch, tmp_path, "ftp://example.com/x.csv")
    assert "not 64 hex digits" in refused(fetch, tmp_path, "/nowhere/x.csv", sha256="abc")


@pytest.mark.integration
def test_alone_it_leaves_its_artifact_metrics_and_parameters_in_its_run(server, mlflow_run):
    url = server.url("/list.csv", (200, {}, CSV))
    done = mlflow_run("data_download", data_url=url)
    assert done.code == 0
    assert done.artifact("data.csv").read_bytes() == CSV
    assert done.run.data.metrics == {"bytes": len(CSV), "lines": 3}
    assert done.run.data.params["data_url"] == url
    (dataset,) = done.run.inputs.dataset_inputs
    assert dataset.dataset.digest == hashlib.sha256(CSV).hexdigest()[:32]


@pytest.mark.integration
def test_alone_a_failure_is_one_sentence_and_a_failed_run(server, mlflow_run):
    done = mlflow_run("data_download", data_url=server.url("/gone.csv", (404, {}, b"")))
    assert done.code != 0
    assert "Traceback" not in done.err
    assert "data_download: http://127.0.0.1" in done.err
    assert done.run.info.status == "FAILED"
