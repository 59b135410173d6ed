"""Alerts against real files and servers on loopback."""

import base64
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alerts import parse_alerts, read_template, send
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


class MailServer(socketserver.StreamRequestHandler):
    """Just enough of SMTP: what it says to the end of a message, and what it was given."""

    def handle(self) -> None:
        server = self.server
        server.connections += 1
        letter: list[str] = []
        self.say("220 here")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            command = line[:4].upper()
            server.said.append(line)
            if command == "EHLO":
                self.say("250-here\r\n250 AUTH PLAIN")
            elif command == "AUTH":
                given = base64.b64decode(line.split()[-1]).decode().split("\0")[1:]
                self.say("235 yes" if given == ["me", SECRET] else "535 no")
            elif command == "RCPT":
                self.say("550 nobody" if "nobody@" in line else "250 yes")
            elif command == "DATA":
                self.say("354 go on")
                while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    letter.append(text)
                answer = server.answers.pop(0) if server.answers else "250 taken"
                if answer.startswith("2"):
                    server.letters.append(message_from_string("\n".join(letter), policy=policy.default))
                self.say(answer)
                letter = []
            elif command == "QUIT":
                return self.say("221 bye")
            else:
                self.say("250 yes")

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


@pytest.fixture
def mail(monkeypatch) -> Iterator[socketserver.ThreadingTCPServer]:
    """A mail server on loopback, and how to send by it at $MAIL."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailServer) as server:
        server.daemon_threads = True
        server.said, server.letters, server.answers, server.connections = [], [], [], 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"smtp://me:{SECRET}@127.0.0.1:{server.server_address[1]}?from=watch@example.org"
        monkeypatch.setenv("MAIL", f"{url}&to=me@example.org,you@example.org")
        monkeypatch.setenv("MAIL_TO_NOBODY", f"{url}&to=nobody@example.org")
        monkeypatch.setenv("MAIL_TO_SOME", f"{url}&to=me@example.org,nobody@example.org")
        monkeypatch.setenv("MAIL_WRONG", f"{url}&to=me@example.org".replace("me:", "you:"))
        monkeypatch.setattr("alerts.WAIT", 0.01)
        yield server
        server.shutdown()


def test_an_e_mail_says_what_has_drifted(mail):
    line = LINE | {"drifted": ["size", "größe\r\nBcc: all@example.org"], "rows_current": 300, "run_id": "a1"}
    assert send(parse_alerts("email:MAIL"), line) == []
    (letter,) = mail.letters
    assert letter["Subject"] == "Drift in size, größe Bcc: all@example.org"
    assert (letter["To"], letter["From"], letter["Bcc"]) == (
        "me@example.org, you@example.org", "watch@example.org", None,
    )  # fmt: skip
    assert letter["Message-ID"] == "<a1@monitoring>"
    text = letter.get_content()
    assert "compared 300 rows" in text and "MLflow run a1" in text and '"drift_detected": true' in text


def test_an_e_mail_says_what_a_template_has_it_say(mail, tmp_path):
    path = tmp_path / "alert.txt"
    path.write_text("Subject: $rows_current rows\n\nThat costs 5 $$: $drifted\n")
    assert send(parse_alerts("email:MAIL"), LINE | {"rows_current": 7}, template=read_template(path)) == []
    assert (mail.letters[0]["Subject"], mail.letters[0].get_content().strip()) == (
        "7 rows", "That costs 5 $: size",
    )  # fmt: skip
    for text, said in (
        ("Hello $drifted\n", "does not begin with a line `Subject: "),
        ("Subject: $wind\n\nx\n", r"\$wind is none of its fields"),
        ("Subject: 5 $\n\nx\n", "Invalid placeholder"),
    ):
        path.write_text(text)
        with pytest.raises(StepError, match=said):
            read_template(path)
    with pytest.raises(StepError, match="alert_template nothing cannot be used"):
        read_template(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("variable", "answers", "times", "said"),
    [
        ("MAIL", ["451 later", "250 taken"], 2, ""),
        ("MAIL", ["451 later"] * 3, 3, "SMTP status 451"),
        ("MAIL", ["554 never"], 1, "SMTP status 554"),
        ("MAIL_TO_NOBODY", [], 1, "SMTP status 550"),
        ("MAIL_TO_SOME", [], 1, "1 of the addresses were refused"),
        ("MAIL_WRONG", [], 1, "SMTP status 535"),
        ("NOT_SET", [], 0, "holds no smtp(s)://HOST?from=ADDRESS&to=ADDRESS"),
    ],
)
def test_an_e_mail_is_tried_again_where_that_may_help_and_no_secret_is_said(
    mail, capsys, variable, answers, times, said
):
    mail.answers += answers
    problems = send(parse_alerts(f"email:{variable}"), LINE)
    assert mail.connections == times
    assert len(mail.letters) == (variable == "MAIL_TO_SOME" or not said)
    assert [said in one and one.startswith(f"the alert to email {variable} failed") for one in problems] == [
        True
    ] * bool(said)
    assert SECRET not in "".join([*problems, *capsys.readouterr()])


def test_a_password_is_not_given_to_a_server_elsewhere_that_does_not_encrypt(mail, monkeypatch):
    monkeypatch.setattr("alerts.LOCAL", ())
    (problem,) = send(parse_alerts("email:MAIL"), LINE)
    assert "does not encrypt" in problem and not [line for line in mail.said if line.startswith("AUTH")]


@pytest.mark.parametrize(
    "url", [f"http://{SECRET}", "smtp://?from=a@b&to=c@d", "smtp://h:x?from=a@b&to=c@d", "smtp://h?to=c@d"]
)
def test_what_is_no_mail_server_costs_an_alert_and_says_no_secret(monkeypatch, url):
    monkeypatch.setenv("MAIL", url)
    (problem,) = send(parse_alerts("email:MAIL"), LINE)
    assert "holds no smtp(s)" in problem and SECRET not in problem


@pytest.mark.parametrize(
    "text", ["mail", "email:a@b", "file:relative", f"webhook:http://{SECRET}", "webhook:", "log:x"]
)
def test_what_is_no_alert_is_refused(text):
    with pytest.raises(StepError, match="not a list of log") as error:
        parse_alerts(text)
    assert SECRET not in str(error.value)
