"""Tell somebody that drift was found: a line in the log or a file, a POST to a webhook, an e-mail. No MLflow here.

What cannot be told is a warning: an alert never costs the run. A webhook's or mail server's URL often has a secret, so
it comes from an environment variable, and neither it nor what a server answers is ever printed.
"""

import json
import os
import re
import smtplib
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from step_error import StepError, first_line

LOG, FILE, WEBHOOK, EMAIL = "log", "file", "webhook", "email"
LOCAL = ("localhost", "127.0.0.1", "::1")
ATTEMPTS, WAIT, TOTAL = 3, 0.5, 10.0  # seconds: before the second attempt (doubled after it), and for all together
LEGAL = re.compile(r"log|file:/.+|(webhook|email):[A-Za-z_][A-Za-z0-9_]*")
FIELDS = ("drifted", "rows_current", "run_id", "json")  # what a template may say, each after a $
TEMPLATE = """Subject: Drift in $drifted

Monitoring compared $rows_current rows with those that the model was trained on, and found drift in: $drifted.

drift.html of the MLflow run $run_id shows it.

$json
"""

Alert = tuple[str, str]  # where to, and the file's path or the variable's name


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message goes where it was sent, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def parse_alerts(text: str) -> list[Alert]:
    """`log,file:/PATH,webhook:NAME,email:NAME` as pairs.

    Raises:
        StepError: one of them is none; the value is not repeated, since it may be a URL with a secret.
    """
    found = [one.strip() for one in text.split(",") if one.strip()]
    if any(not LEGAL.fullmatch(one) for one in found):
        raise StepError(
            "alert is not a list of log, file:/PATH, webhook:NAME and email:NAME (of variables that have URLs)"
        )
    return [(kind, rest) for kind, _, rest in (one.partition(":") for one in found)]


def read_template(path: Path) -> str:
    """The text of an e-mail: a line `Subject: …`, an empty one, and what follows; `$` and one of FIELDS is filled in.

    Raises:
        StepError: it is not such a text.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if not re.match(r"Subject: .*\S.*\n\n", text):
            raise ValueError("it does not begin with a line `Subject: …` and an empty one")
        Template(text).substitute(dict.fromkeys(FIELDS, ""))
    except (OSError, ValueError, KeyError) as error:
        what = f"${error.args[0]} is none of its fields" if isinstance(error, KeyError) else first_line(error)
        raise StepError(
            f"alert_template {path.name} cannot be used ({what}); write $ and one of {', '.join(FIELDS)}, and $$ for $"
        ) from None
    return text


def send(alerts: list[Alert], line: dict[str, Any], total: float = TOTAL, template: str = TEMPLATE) -> list[str]:
    """Send the line to each; returns what failed, and why, a sentence each."""
    problems = []
    for kind, where in alerts:
        try:
            if kind == LOG:
                print(f"ALERT {json.dumps(line)}", flush=True)
            elif kind == FILE:
                with Path(where).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            elif kind == WEBHOOK:
                in_time(post(os.environ.get(where, ""), line), total)
            else:
                in_time(mail(os.environ.get(where, ""), line, template), total)
        except Exception as error:  # whatever it is, the run's results are worth more
            reason = str(error) if isinstance(error, AlertError) else type(error).__name__
            problems.append(f"the alert to {kind} {where} failed ({reason})".replace("  ", " "))
    return problems


class AlertError(Exception):
    """Why a message was not taken, without its address; and whether it may be taken the next time."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def in_time(deliver: Callable[[float], None], total: float) -> None:
    """Call `deliver` with the seconds that are left until it does not raise; `total` for all attempts together, however
    slowly a server answers.

    Raises:
        AlertError: it was not taken.
    """
    outcome = ["no answer in time"]
    deadline = time.monotonic() + total
    thread = threading.Thread(target=lambda: outcome.append(attempt(deliver, deadline)), daemon=True)
    thread.start()
    thread.join(total)
    if outcome[-1]:
        raise AlertError(outcome[-1])


def attempt(deliver: Callable[[float], None], deadline: float) -> str:
    """Why it was not taken after all attempts; "" where it was. Only what may pass is tried again."""
    reason = ""
    for number in range(ATTEMPTS):
        if number:
            time.sleep(max(0.0, min(WAIT * 2 ** (number - 1), deadline - time.monotonic())))
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            deliver(left)
            return ""
        except AlertError as error:
            reason = str(error)
            if not error.again:
                break
        except Exception as error:  # its text may hold the address, so its kind must do
            reason = type(error).__name__
    return reason or "no answer in time"


def post(url: str, line: dict[str, Any]) -> Callable[[float], None]:
    """What POSTs the line as JSON."""
    if not url.lower().startswith(("http://", "https://")):
        raise AlertError("the environment variable holds no http(s) URL")
    opener = urllib.request.build_opener(NoRedirect)

    def deliver(seconds: float) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url, json.dumps(line).encode(), headers)  # noqa: S310 - of http(s) alone
            with opener.open(request, timeout=seconds):
                pass
        except urllib.error.HTTPError as error:
            raise AlertError(f"HTTP status {error.code}", again=error.code >= 500 or error.code in (408, 429)) from None

    return deliver


def mail(url: str, line: dict[str, Any], template: str) -> Callable[[float], None]:
    """What sends an e-mail by smtp[s]://[USER:PASSWORD@]HOST[:PORT]?from=ADDRESS&to=ADDRESS,ADDRESS.

    With smtp:// the connection is encrypted where the server can do that; it must where there is a password, unless the
    server is this machine's own.
    """
    try:
        server = urlsplit(url)
        asked = {name: values[-1] for name, values in parse_qs(server.query).items()}
        message = letter(asked["from"], asked["to"], line, template)
        kinds = {"smtp": smtplib.SMTP, "smtps": smtplib.SMTP_SSL}
        connect, host, port = kinds[server.scheme.lower()], str(server.hostname or ""), server.port or 0
        if not host:
            raise ValueError
    except (ValueError, KeyError, IndexError):
        raise AlertError("the environment variable holds no smtp(s)://HOST?from=ADDRESS&to=ADDRESS") from None
    user, password = unquote(server.username or ""), unquote(server.password or "")

    def deliver(seconds: float) -> None:
        context = ssl.create_default_context()
        options = {"context": context} if connect is smtplib.SMTP_SSL else {}
        try:
            with connect(host, port, timeout=seconds, **options) as one:
                one.ehlo()
                if connect is smtplib.SMTP and one.has_extn("starttls"):
                    one.starttls(context=context)
                elif connect is smtplib.SMTP and user and host not in LOCAL:
                    raise AlertError("the mail server does not encrypt, so it was not given the password")
                if user:
                    one.login(user, password)
                refused = one.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise AlertError(f"SMTP status {error.smtp_code}", again=error.smtp_code < 500) from None
        except smtplib.SMTPRecipientsRefused as error:
            code = max(status for status, _ in error.recipients.values())
            raise AlertError(f"SMTP status {code}", again=code < 500) from None
        if refused:  # the others have it
            raise AlertError(f"{len(refused)} of the addresses were refused")

    return deliver


def letter(sender: str, receivers: str, line: dict[str, Any], template: str) -> EmailMessage:
    """Raises ValueError where it cannot be addressed."""
    words = {name: str(line.get(name, "")) for name in FIELDS} | {
        "drifted": ", ".join(line["drifted"]),
        "json": json.dumps(line, indent=1),
    }
    head, _, body = template.partition("\n\n")
    message = EmailMessage()
    message["Subject"] = " ".join(Template(head.removeprefix("Subject: ")).substitute(words).split())
    message["From"], message["To"] = sender, receivers
    message["Date"] = formatdate()
    # Of the run: whoever gets it twice, after an answer that was lost, can tell.
    message["Message-ID"] = f"<{words['run_id'] or 'drift'}@monitoring>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(Template(body).substitute(words))
    return message
