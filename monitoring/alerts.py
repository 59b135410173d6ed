"""Tell somebody that drift was found: a line in the log, a line in a file, a POST to a webhook. No MLflow here.

What cannot be told is a warning: an alert never costs the run. A webhook's URL often is a secret, so it comes from an
environment variable, and neither it nor what a server answers is ever printed.
"""

import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from step_error import StepError

LOG, FILE, WEBHOOK = "log", "file", "webhook"
ATTEMPTS, WAIT, TOTAL = 3, 0.5, 10.0  # seconds: before the second attempt (doubled after it), and for all together
LEGAL = re.compile(r"log|file:/.+|webhook:[A-Za-z_][A-Za-z0-9_]*")

Alert = tuple[str, str]  # where to, and the file's path or the variable's name


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message goes where it was sent, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def parse_alerts(text: str) -> list[Alert]:
    """`log,file:/PATH,webhook:NAME` as pairs.

    Raises:
        StepError: one of them is none; the value is not repeated, since it may be a URL with a secret.
    """
    found = [one.strip() for one in text.split(",") if one.strip()]
    if any(not LEGAL.fullmatch(one) for one in found):
        raise StepError("alert is not a list of log, file:/PATH and webhook:NAME (of the variable that has the URL)")
    return [(kind, rest) for kind, _, rest in (one.partition(":") for one in found)]


def send(alerts: list[Alert], line: dict[str, Any], total: float = TOTAL) -> list[str]:
    """Send the line to each; returns what failed, and why, a sentence each."""
    problems = []
    for kind, where in alerts:
        try:
            if kind == LOG:
                print(f"ALERT {json.dumps(line)}", flush=True)
            elif kind == FILE:
                with Path(where).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            else:
                post_in_time(os.environ.get(where, ""), line, total)
        except Exception as error:  # whatever it is, the run's results are worth more
            reason = str(error) if isinstance(error, AlertError) else type(error).__name__
            problems.append(f"the alert to {kind} {where} failed ({reason})".replace("  ", " "))
    return problems


class AlertError(Exception):
    """Why a message was not taken, without its address."""


def post_in_time(url: str, line: dict[str, Any], total: float) -> None:
    """POST the line as JSON within `total` seconds, all attempts together, however slowly a server answers.

    Raises:
        AlertError: it was not taken.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise AlertError("the environment variable holds no http(s) URL")
    outcome = ["no answer in time"]
    thread = threading.Thread(target=lambda: outcome.append(post(url, line, time.monotonic() + total)), daemon=True)
    thread.start()
    thread.join(total)
    if outcome[-1]:
        raise AlertError(outcome[-1])


def post(url: str, line: dict[str, Any], deadline: float) -> str:
    """Why it was not taken after all attempts; "" where it was. Only what may pass is tried again."""
    opener = urllib.request.build_opener(NoRedirect)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(max(0.0, min(WAIT * 2 ** (attempt - 1), deadline - time.monotonic())))
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url, json.dumps(line).encode(), headers)  # noqa: S310 - of http(s) alone
            with opener.open(request, timeout=left):
                return ""
        except urllib.error.HTTPError as error:
            reason = f"HTTP status {error.code}"
            if error.code < 500 and error.code not in (408, 429):
                break
        except Exception as error:  # its text may hold the address, so its kind must do
            reason = type(error).__name__
    return reason or "no answer in time"
