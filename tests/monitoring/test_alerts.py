"""Alerts against real files and servers on loopback."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alerts import parse_alerts, send
from step_error import StepError

LINE = {"step": "monitoring", "drift_detected": True, "drifted": ["size"]}
SECRET = "t0ken-of-nobody"  # noqa: S105 - not one


@pytest.fixture
def hook(monkeypatch) -> Iterator[tuple[list, list]]:
    """A server on loopback at $HOOK: what it will answer (a status, or seconds to drip for), and what it was sent."""
    answers: list[int | float] = []
    received: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = answers.pop(0) if answers else 200
            if isinstance(answer, float):
                time.sleep(answer)
                return
            self.send_response(answer)
            if answer == 302:
                self.send_header("Location", f"/{SECRET}")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/{SECRET}?key={SECRET}")
    monkeypatch.setattr("alerts.WAIT", 0.01)
    yield answers, received
    server.shutdown()
    server.server_close()


def test_log_and_file_get_the_line(tmp_path, capsys):
    alerts = parse_alerts(f"log, file:{tmp_path}/alerts.jsonl")
    for _ in range(2):
        assert send(alerts, LINE) == []
    assert [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()] == [LINE, LINE]
    assert capsys.readouterr().out.splitlines() == [f"ALERT {json.dumps(LINE)}"] * 2


def test_a_webhook_is_tried_again_where_that_may_help(hook):
    answers, received = hook
    answers += [503, 429, 200]
    assert send(parse_alerts("webhook:HOOK"), LINE) == []
    assert received == [LINE] * 3


@pytest.mark.parametrize(
    ("answer", "times", "said"), [([404], 1, "HTTP status 404"), ([500] * 3, 3, "HTTP status 500"), ([302], 1, "302")]
)
def test_what_cannot_be_told_is_said_without_the_address(hook, capsys, answer, times, said):
    hook[0].extend(answer)
    (problem,) = send(parse_alerts("webhook:HOOK"), LINE)
    assert problem.startswith("the alert to webhook HOOK failed") and said in problem
    assert SECRET not in problem + "".join(capsys.readouterr())
    assert len(hook[1]) == times


def test_a_server_that_does_not_answer_costs_no_more_than_the_time_for_all_attempts(hook):
    hook[0].append(5.0)
    start = time.monotonic()
    (problem,) = send(parse_alerts("webhook:HOOK"), LINE, total=0.3)
    assert time.monotonic() - start < 2 and SECRET not in problem


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", f"http://127.0.0.1:1/{SECRET}", f"http://[{SECRET}"])
def test_no_address_or_a_wrong_one_costs_an_alert_and_not_the_others(monkeypatch, tmp_path, url):
    monkeypatch.setenv("HOOK", url)
    monkeypatch.setattr("alerts.WAIT", 0.01)
    (problem,) = send(parse_alerts(f"webhook:HOOK,file:{tmp_path}/a"), LINE)
    assert "webhook HOOK failed" in problem and SECRET not in problem
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize("text", ["mail", "file:relative", f"webhook:http://{SECRET}", "webhook:", "log:x"])
def test_what_is_no_alert_is_refused(text):
    with pytest.raises(StepError, match="not a list of log") as error:
        parse_alerts(text)
    assert SECRET not in str(error.value)
