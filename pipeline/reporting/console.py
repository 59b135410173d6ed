"""The terminal while the pipeline runs: plain lines, or a live table."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from pipeline.config import Request
from pipeline.execution.runner import Event, Listener, tail
from pipeline.reporting.tables import MARKS, format_duration, reason_text, summary_metrics
from pipeline.states import State

COLOURS = {State.EXECUTED: "green", State.REUSED: "cyan", State.FAILED: "red", State.SKIPPED: "yellow"}


class Lines:
    """One line with the time for each thing that happens, for logs and pipes."""

    def __init__(self, request: Request, out: TextIO | None = None):
        self.request, self.out = request, out or sys.stdout
        self.width = max(map(len, request.selected))

    def __call__(self, event: Event) -> None:
        outcome = event.outcome
        if event.kind == "warning":
            self.line("", "warning", event.text)
        elif event.kind == "started":
            self.line(event.step, "started", event.text)
        elif event.kind in ("retry", "output"):
            self.line(event.step, event.kind if event.kind == "retry" else "|", event.text)
        elif event.kind in ("reads", "builds", "queued"):
            self.line(event.step, event.kind, event.text)
        elif outcome and outcome.state in (State.EXECUTED, State.FAILED):
            text = outcome.reason if outcome.state == State.FAILED else summary_metrics(self.request, outcome)
            self.line(event.step, outcome.state, f"{format_duration(outcome.seconds)}  {text}")
        elif outcome:
            self.line(event.step, outcome.state, reason_text(outcome))

    def line(self, step: str, state: str, text: str) -> None:
        """Print one."""
        clock = time.strftime("%H:%M:%S")
        say(f"{clock}  {step:<{self.width}}  {state:<8}  {text}".rstrip(), self.out)


class Live:
    """A table that is kept up to date, for a terminal; what is under way shows the last line it wrote."""

    def __init__(self, request: Request):
        from rich.console import Console
        from rich.live import Live as RichLive

        self.request = request
        self.rows: dict[str, tuple[State | None, str, str]] = dict.fromkeys(request.selected, (None, "", ""))
        self.running: dict[str, tuple[float, Event]] = {}
        self.console = Console()
        self.live = RichLive(console=self.console, get_renderable=self.table, refresh_per_second=5, transient=True)

    def __enter__(self) -> "Live":
        self.live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.live.__exit__(*error)

    def __call__(self, event: Event) -> None:
        outcome = event.outcome
        if event.kind == "started":
            self.running[event.step] = (time.monotonic(), event)
        elif event.kind in ("reads", "builds", "queued"):
            self.console.print(f"{event.step} {event.kind} {event.text}", style="dim", highlight=False, markup=False)
        elif event.kind in ("warning", "retry", "output"):
            self.console.print(f"{event.step} {event.text}".strip(), style="yellow", highlight=False, markup=False)
        elif outcome:
            self.running.pop(event.step, None)
            text = summary_metrics(self.request, outcome) if outcome.state == State.EXECUTED else reason_text(outcome)
            self.rows[event.step] = (outcome.state, format_duration(outcome.seconds) if outcome.seconds else "", text)

    def table(self) -> Any:
        """The table as it is now, for rich."""
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for step, (state, seconds, text) in list(self.rows.items()):
            if under_way := self.running.get(step):
                started, event = under_way
                last = "".join(tail(event.log, 1)) if event.log else ""
                spinner = Spinner("dots", text=Text("running", style="bold"))
                table.add_row(
                    step,
                    spinner,
                    format_duration(time.monotonic() - started),
                    Text(last or event.text, style="dim", no_wrap=True, overflow="ellipsis"),
                )
            else:
                table.add_row(
                    step,
                    Text(f"{MARKS[state]} {state}", style=COLOURS[state]) if state else Text("· waiting", style="dim"),
                    seconds,
                    Text(text, no_wrap=True, overflow="ellipsis"),
                )
        return table


class Verbose:
    """Passes on what the steps write, line by line, as they write it."""

    def __init__(self, tell: Listener):
        self.tell = tell
        self.open: dict[str, tuple[Path | None, int]] = {}  # step -> its log, and how much of it was passed on

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self.open[event.step] = (event.log, 0)
        elif event.kind == "tick" or (event.outcome and event.step in self.open):
            for step in list(self.open):
                self.drain(step)
            if event.outcome:
                self.open.pop(event.step, None)

    def drain(self, step: str) -> None:
        """Pass on the whole lines that a step has written since."""
        log, position = self.open[step]
        if log and log.is_file():
            with log.open("rb") as file:
                file.seek(position)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.open[step] = (log, position + len(whole))
            for line in whole.decode(errors="replace").splitlines():
                self.tell(Event("output", step, line))


def say(text: str, out: TextIO | None = None) -> None:
    """Print at once; where nobody reads any more (`main.py | head`), say nothing from then on, and go on working."""
    out = out or sys.stdout
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def width() -> int:
    """Of the terminal, in characters; 0 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def show(text: str) -> None:
    """Print a table; on a terminal, states have their colours."""
    if not sys.stdout.isatty():
        say(text)
        return
    from rich.console import Console
    from rich.text import Text

    shown = Text(text)
    for state, colour in COLOURS.items():
        shown.highlight_words([f"{MARKS[state]} {state}"], colour)
    Console().print(shown, soft_wrap=True)
