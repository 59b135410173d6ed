"""An address with a secret in it is refused, and the secret is not repeated; others are left alone."""

import http.server
import threading

import pytest
from address import refuse_credentials, with_variables
from download import download
from download_error import DownloadError

KEYS = [
    *("sig", "SIG", "X-Amz-Signature", "x-amz-credential", "X-Amz-Security-Token", "key", "Key", "api_key", "api-key"),
    *("apiKey", "APIKEY", "appKey", "AWSAccessKeyId", "subscription-key", "auth", "authKey", "x_auth", "oauth_token"),
    *("authorization", "pwd", "db.pwd", "passwd", "password", "passphrase", "jwt", "id_jwt", "token", "access_token"),
    *("s%69g", "client_secret", "bearer", "GoogleCredentials", "a[key]"),
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "form",
    [
        "https://example.com/x.csv?{}=s3cret",
        "https://example.com/x.csv?a=1&{}=s3cret#b",
        "https://example.com/x.csv?a=1;{}=s3cret",
        "https://example.com/x.csv#{}=s3cret",
        "https://example.com/x.csv;{}=s3cret",
    ],
)
def test_a_secret_under_any_key_is_refused(key, form):
    assert "the key " in refused(form.format(key))


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@example.com/x.csv",
        "https://s3cret@example.com/x.csv",
        "https://:s3cret@example.com/x.csv",
        "https://s3cret:@example.com/x.csv",
        "https://s3cret:x-oauth-basic@example.com/x.csv",
        "https://s3%40cret@example.com/x.csv",
        "https://s3cret%40example.com/x.csv",
        "https://s3cret%2540example.com/x.csv",
        "https://me@s3cret@example.com/x.csv",
        "HTTPS://s3cret@example.com/x.csv",
        " https://s3cret@example.com/x.csv",
        "ht\ntps://s3cret@example.com/x.csv",
        "https:/s3cret@example.com/x.csv",
        "https:s3cret@example.com/x.csv",
        "https:///s3cret@example.com/x.csv",
        "//s3cret@example.com/x.csv",
        "ftp://s3cret@example.com/x.csv",
        "s3://id:s3cret@bucket/x.csv",
        "postgresql://me:s3cret@example.com/list",
        "postgresql://me:${PART}s3cret@example.com/list",
        "https://example.com\\s3cret@example.com/x.csv",
        "https://s3cret@[::1]/x.csv",
    ],
)
def test_a_name_or_token_before_the_host_is_refused(url):
    assert "something before an @" in refused(url)


@pytest.mark.parametrize(
    "url", ["https://s3cret@[::1/x.csv", "https://s3cret\uff20example.com/x.csv", "http://[s3cret]/"]
)
def test_what_is_no_address_is_not_repeated_either(url):
    assert "not a valid address" in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/gh/me/lists@1.0/x.csv",
        "https://example.com/x.csv?keyword=a&design=b&author=c&monkey=d&signal=e&keys=f&authentic=g",
        "https://example.com/x.csv?name=key&q=token",
        "https://example.com/token/key.csv",
        "https://example.com/@me/x.csv",
        "file:///data/me@home/x.csv",
        "/data/me@home/x.csv",
        "me@home.csv",
        "C:\\me@home\\x.csv",
        "http://[::1]:8000/x.csv",
        "postgresql://me@db.example.com/list",
        "postgresql+psycopg://me:${DB_PASSWORD}@db.example.com:5433/list?sslmode=require",
    ],
)
def test_what_only_looks_like_a_secret_is_taken(url):
    refuse_credentials(url)


def refused(url: str) -> str:
    """The sentence with which the address is refused."""
    with pytest.raises(DownloadError) as error:
        refuse_credentials(url)
    message = str(error.value)
    assert "s3" not in message
    assert "cret" not in message.replace("'secret'", "")
    assert message.isprintable()
    return message


def test_a_variable_stands_for_a_secret_that_only_the_server_sees(tmp_path, monkeypatch):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = b"id,name\n1,a\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("MY_TOKEN", "s3cret")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/x.csv?token=${{MY_TOKEN}}"
        result = download(url, tmp_path / "data.csv")
        server.shutdown()
    assert asked == ["/x.csv?token=s3cret"]
    assert result.source == url, "what is stored holds the name alone"
    with pytest.raises(DownloadError) as error:
        download(url, tmp_path / "data.csv", retries=0)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "secret", "asked"),
    [
        ("https://a/?key=${S}&b=1", "a+b&c=d#e f", "https://a/?key=a%2Bb%26c%3Dd%23e%20f&b=1"),
        ("https://a/?sig=${S}", "a%2Bb%3D", "https://a/?sig=a%2Bb%3D"),
        ("https://a/?${S}", "sv=1&sig=a%2Bb", "https://a/?sv=1&sig=a%2Bb"),
    ],
)
def test_a_value_reaches_the_server_as_it_is(url, secret, asked, monkeypatch):
    monkeypatch.setenv("S", secret)
    assert with_variables(url) == asked


def test_a_variable_that_is_not_set_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(DownloadError, match=r"takes MY_TOKEN from the environment, where it is not set; .*pass_env"):
        download("http://127.0.0.1:9/x.csv?token=${MY_TOKEN}", tmp_path / "data.csv")
