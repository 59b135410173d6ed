"""What is said in words and columns: figures, reasons, the plan, the summary, what to do after a failure."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence

from pipeline.config import Request
from pipeline.execution.runner import Outcome, tail
from pipeline.planning.decision import UNKNOWN, Decision
from pipeline.planning.planner import Planner
from pipeline.states import State

HELD = "\N{NO-BREAK SPACE}"
NAME_LENGTH = 120  # characters
MARKS = {State.EXECUTED: "✓", State.REUSED: "=", State.FAILED: "✗", State.SKIPPED: "-"}


def summary(request: Request, outcomes: Mapping[str, Outcome], width: int = 0) -> str:
    """The table at the end: each step, its state, its time, its run, its figures; of that `width`, if any."""
    rows = [("step", "state", "time", "run", "metrics")]
    for name in (n for n in request.steps if n in outcomes):
        o = outcomes[name]
        text = o.reason if o.state in (State.FAILED, State.SKIPPED) else summary_metrics(request, o)
        rows.append(
            (name, f"{MARKS[o.state]} {o.state}", format_duration(o.seconds) if o.seconds else "", o.run_id[:8], text)
        )
    return columns(rows, width)


def conclusion(outcomes: Mapping[str, Outcome]) -> str:
    """What the runs note, each a line."""
    return "\n".join(f"{name}: {note}" for name, note in notes(outcomes))


def description(request: Request, outcomes: Mapping[str, Outcome]) -> str:
    """What ran and what came of it, in Markdown."""
    lines = ["| step | | metrics |", "| --- | --- | --- |"]
    for name in (n for n in request.steps if n in outcomes):
        o = outcomes[name]
        cells = (name, f"{MARKS[o.state]} {o.state}", summary_metrics(request, o) or o.reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    said = [f"**{name}**: {note}" for name, note in notes(outcomes)]
    return "\n\n".join(["\n".join(lines), *said, "`report.html` among the artifacts has all of it to look at."])


def notes(outcomes: Mapping[str, Outcome]) -> list[tuple[str, str]]:
    """The steps whose runs say something of themselves to people, and what."""
    return [(name, o.result.note) for name, o in outcomes.items() if o.result and o.result.note]


def run_metrics(request: Request, outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    """The metrics that the configuration names, as `STEP.METRIC`: so that pipeline runs can be compared in MLflow."""
    found = {}
    for name, o in outcomes.items():
        for metric, value in (o.result.metrics if o.result else {}).items():
            if metric in request.steps[name].summary_metrics:
                found[f"{name}.{metric}"] = value
    return found


def plan_table(request: Request, planner: Planner, decisions: Mapping[str, Decision]) -> str:
    """The plan: each step, what it would do and why, and where each of its inputs comes from."""
    rows = [("step", "does", "because")]
    for name, decision in decisions.items():
        run = f"run {decision.result.run_id[:8]}: " if decision.result else ""
        rows.append((name, decision.action, run + decision.reason))
        rows += [("", "", f"  {source}") for source in planner.borrowed(name)]
        for parameter, found in decision.inputs.items():
            rows.append(
                ("", "", f"  {parameter} = {found.uri if found.uri != UNKNOWN else found.name + ' (to be made)'}")
            )
    return columns(rows)


def failure(outcomes: Mapping[str, Outcome], logs: Mapping[str, str], rerun: Sequence[str]) -> str:
    """What to know after a failure: which step, its last words, where its log is, how to go on."""
    lines = []
    for o in (o for o in outcomes.values() if o.state == State.FAILED):
        lines.append(f"\n{o.step} failed: {o.reason}")
        words = tail(o.log, 10) if o.log else []
        if len(words) > 1 or (words and o.reason not in words[-1]):
            lines += [f"  | {line}" for line in words]
        if o.step in logs:
            lines.append(f"  log: {logs[o.step]}")
    return "\n".join([*lines, f"\ncontinue with: {shlex.join(rerun)}"])


def counts(states: Sequence[State]) -> str:
    """How many steps came to what."""
    return ", ".join(f"{states.count(state)} {state}" for state in State if state in states)


def format_duration(seconds: float) -> str:
    """Seconds as people write them."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def age(seconds: float) -> str:
    """A long time as people say it, in its largest unit and the next."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    return f"{max(0, int(seconds))} s"


def reason_text(outcome: Outcome) -> str:
    """Why a step came to what it did; with the run that is reused."""
    return f"run {outcome.run_id[:8]} ({outcome.reason})" if outcome.state == State.REUSED else outcome.reason


def summary_metrics(request: Request, outcome: Outcome) -> str:
    """The metrics of a step's outcome that people want to see."""
    return figures(request, outcome.step, outcome.result.metrics if outcome.result else {})


def figures(request: Request, step: str, metrics: Mapping[str, float]) -> str:
    """The metrics that the configuration names for the step, or else the first three."""
    names = (request.steps[step].summary_metrics if step in request.steps else ()) or sorted(metrics)[:3]
    return "  ".join(f"{name} {format_number(metrics[name])}" for name in names if name in metrics)


def format_number(value: float) -> str:
    """A metric in few characters."""
    if abs(value) >= 1e15:  # infinity, too
        return f"{value:.3g}"
    return f"{int(value)}" if value.is_integer() else f"{value:.3f}"


def columns(rows: Sequence[Sequence[str]], width: int = 0) -> str:
    """Cells set in columns of equal width; in a `width`, the last column's cells go on in further lines."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else [0]
    left = width - sum(widths[:-1]) - 2 * len(widths[:-1])
    lines = []
    for *first, last in rows:
        for number, part in enumerate(wrapped(last, left) if left > 0 else [last]):
            cells = [*(["" for _ in first] if number else first), part]
            lines.append("  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip())
    return "\n".join(lines)


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines, broken at its double blanks where it has some: a figure stays with its name."""
    held = text.replace("  ", "\n").replace(" ", HELD).replace("\n", "  ") if "  " in text else text
    lines = textwrap.wrap(held, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(HELD, " ") for line in lines] or [""]


def as_written(override: str) -> str:
    """A step's override as a person would write it."""
    return override.removeprefix("++pipeline.").replace(".parameters.", ".", 1)


def run_name(overrides: Sequence[str]) -> str:
    """What a pipeline run is called: what was asked for beyond config.yaml, parameters of steps first."""
    asked = [as_written(override) for override in overrides if override not in ("steps=all", "steps='all'")]
    return " ".join(sorted(asked, key=lambda text: "." not in text.partition("=")[0]))[:NAME_LENGTH] or "pipeline"
