"""What people see: lines or a live table while it runs, a summary at the end, a manifest for programs."""

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipeline.config import Request
from pipeline.execution.runner import Event, Outcome, tail
from pipeline.planning.planner import Decision, Planner

MARKS = {"executed": "✓", "reused": "=", "failed": "✗", "skipped": "-"}


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
        elif outcome and outcome.state in ("executed", "failed"):
            self.line(
                event.step,
                outcome.state,
                f"{took(outcome.seconds)}  {figures(self.request, outcome) or outcome.reason}",
            )
        elif outcome:
            self.line(event.step, outcome.state, because(outcome))

    def line(self, step: str, state: str, text: str) -> None:
        clock = time.strftime("%H:%M:%S")
        say(f"{clock}  {step:<{self.width}}  {state:<8}  {text}".rstrip(), self.out)


class Live:
    """A table that is kept up to date, for a terminal; what is under way shows the last line it wrote."""

    def __init__(self, request: Request):
        from rich.console import Console
        from rich.live import Live as RichLive

        self.request = request
        self.rows: dict[str, tuple[str, str, str]] = dict.fromkeys(request.selected, ("waiting", "", ""))
        self.running: dict[str, tuple[float, Event]] = {}
        self.console = Console()
        self.live = RichLive(console=self.console, get_renderable=self.table, refresh_per_second=5, transient=True)

    def __enter__(self) -> "Live":
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.__exit__(*error)

    def __call__(self, event: Event) -> None:
        outcome = event.outcome
        if event.kind == "started":
            self.running[event.step] = (time.monotonic(), event)
        elif event.kind in ("warning", "retry", "output"):
            self.console.print(f"{event.step} {event.text}".strip(), style="yellow", highlight=False, markup=False)
        elif outcome:
            self.running.pop(event.step, None)
            text = figures(self.request, outcome) if outcome.state == "executed" else because(outcome)
            self.rows[event.step] = (outcome.state, took(outcome.seconds) if outcome.seconds else "", text)

    def table(self) -> Any:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        colours = {"executed": "green", "reused": "cyan", "failed": "red", "skipped": "yellow", "waiting": "dim"}
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for step, (state, seconds, text) in list(self.rows.items()):
            if under_way := self.running.get(step):
                started, event = under_way
                last = "".join(tail(event.log, 1)) if event.log else ""
                spinner = Spinner("dots", text=Text("running", style="bold"))
                table.add_row(
                    step,
                    spinner,
                    took(time.monotonic() - started),
                    Text(last or event.text, style="dim", no_wrap=True, overflow="ellipsis"),
                )
            else:
                table.add_row(
                    step,
                    Text(f"{MARKS.get(state, '·')} {state}", style=colours[state]),
                    seconds,
                    Text(text, no_wrap=True, overflow="ellipsis"),
                )
        return table


class Verbose:
    """Passes on what the steps write, line by line, as they write it."""

    def __init__(self, tell: Any):
        self.tell, self.open = tell, {}

    def __call__(self, event: Event) -> None:
        if event.kind == "started":
            self.open[event.step] = [event.log, 0]
        elif event.kind == "tick" or (event.outcome and event.step in self.open):
            for step in list(self.open):
                self.drain(step)
            if event.outcome:
                self.open.pop(event.step, None)

    def drain(self, step: str) -> None:
        log, position = self.open[step]
        if log and log.is_file():
            with log.open("rb") as file:
                file.seek(position)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.open[step][1] += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                self.tell(Event("output", step, line))


def say(text: str, out: TextIO | None = None) -> None:
    """Print at once; where nobody reads any more (`main.py | head`), say nothing from then on, and go on working."""
    out = out or sys.stdout
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def because(outcome: Outcome) -> str:
    return f"run {outcome.run_id[:8]} ({outcome.reason})" if outcome.state == "reused" else outcome.reason


def figures(request: Request, outcome: Outcome) -> str:
    """The metrics that the configuration names for the step, or else its first three."""
    metrics = outcome.result.metrics if outcome.result else {}
    names = request.steps[outcome.step].figures or sorted(metrics)[:3]
    return "  ".join(f"{name} {number(metrics[name])}" for name in names if name in metrics)


def number(value: float) -> str:
    return f"{int(value)}" if value == int(value) else f"{value:.3f}"


def summary(request: Request, outcomes: Mapping[str, Outcome]) -> str:
    """The table at the end: each step, its state, its time, its run, and the figures a person wants."""
    rows = [("step", "state", "time", "run", "figures")]
    for name in (n for n in request.steps if n in outcomes):
        o = outcomes[name]
        text = o.reason if o.state in ("failed", "skipped") else figures(request, o)
        rows.append((name, f"{MARKS[o.state]} {o.state}", took(o.seconds) if o.seconds else "", o.run_id[:8], text))
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def plan_table(request: Request, planner: Planner, decisions: Mapping[str, Decision]) -> str:
    """The plan: each step, what it would do and why, and where each of its inputs comes from."""
    rows = [("step", "does", "because")]
    for name, decision in decisions.items():
        run = f"run {decision.result.run_id[:8]}: " if decision.result else ""
        rows.append((name, decision.action, run + decision.reason))
        for _, reference in request.steps[name].references():
            if borrowed := planner.borrowed.get(reference.step):
                rows.append(("", "", f"  {reference} from run {borrowed.run_id[:8]} of {borrowed.when}"))
        for parameter, found in decision.inputs.items():
            rows.append(("", "", f"  {parameter} = {found.uri if found.uri != '?' else found.name + ' (to be made)'}"))
    return columns(rows)


def manifest(
    outcomes: Mapping[str, Outcome],
    run_id: str,
    status: str,
    env_manager: str,
    started: float,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """What ran, on what, and what came out, for programs; `seconds` is wall time, digests are SHA-256 in hex."""
    steps = {}
    for name, o in outcomes.items():
        steps[name] = {
            "state": o.state,
            "reason": o.reason,
            "run_id": o.run_id or None,
            "seconds": round(o.seconds, 3),
            "attempts": o.attempts,
            "inputs": {
                p: {"uri": i.uri, "sha256": i.sha256.split()[-1]}
                for p, i in (o.decision.inputs if o.decision else {}).items()
            },
            "outputs": dict(o.result.outputs) if o.result else {},
            "metrics": dict(o.result.metrics) if o.result else {},
        }
    return {
        "run_id": run_id,
        "status": status,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "env_manager": env_manager,
        **extra,
        "steps": steps,
    }


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def failure(outcomes: Mapping[str, Outcome], logs: Mapping[str, str], again: Sequence[str]) -> str:
    """What to know after a failure: which step, its last words, where its log is, how to go on."""
    told = []
    for o in (o for o in outcomes.values() if o.state == "failed"):
        told.append(f"\n{o.step} failed: {o.reason}")
        words = tail(o.log, 10) if o.log else []
        if len(words) > 1 or (words and o.reason not in words[-1]):
            told += [f"  | {line}" for line in words]
        if o.step in logs:
            told.append(f"  log: {logs[o.step]}")
    return "\n".join([*told, f"\ncontinue with: {shlex.join(again)}"])
