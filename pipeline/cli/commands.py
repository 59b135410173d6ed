"""What is asked without running anything: where we stand, how two runs differ, the graph, a past report, a clean-up."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.clean import clean
from pipeline.cli.composing import compose
from pipeline.cli.opened_store import opened_store
from pipeline.config import Request
from pipeline.credentials import masked
from pipeline.errors import RequestError, StoreError, unknown
from pipeline.files import write_atomically
from pipeline.journal import say
from pipeline.planning.graph import order
from pipeline.reporting import html_page
from pipeline.reporting.tables import age, columns, figures, format_duration
from pipeline.states import ExitCode

if TYPE_CHECKING:
    from pipeline.planning.decision import Result
    from pipeline.tracking.past_runs import PastRun, PastRuns

RUNS_SHOWN = 5


def status(request: Request, root: Path, operands: list[str]) -> str:
    """The latest pipeline runs, what each step's latest good result says, and which version of a model is live."""
    refuse_more(operands, 0, "status")
    with past_runs() as runs:
        latest = runs.latest(RUNS_SHOWN)
        if not latest:
            return "nothing has run in this store yet: python main.py"
        shown = [("pipeline run", "started", "status", "time", "what")]
        for run in latest:
            shown.append((run.run_id[:8], run.started, run.status, format_duration(run.seconds), run.name))
        parts = [columns(shown)]
        results, notes = [("step", "run", "ended", "metrics")], []
        for name, result in latest_results(request, runs, latest).items():
            results.append((name, result.run_id[:8], result.ended, figures(request, name, result.metrics)))
            notes += [f"{name}: {result.note}"] if result.note else []
        if len(results) > 1:
            parts.append(columns(results))
        models = [("model", "alias", "version", "since", "made by", "metrics")]
        for found in runs.aliases(models_of(request)):
            made = found.made_by
            by, metrics = (f"run {made.run_id[:8]}", figures(request, made.step, made.metrics)) if made else ("", "")
            models.append((found.model, found.alias, found.version, found.since, by, metrics))
        parts.append(columns(models) if len(models) > 1 else "no version of a model carries an alias yet")
        releases = [("model", "champion for", "promotions", "rolled back", "from data to champion")]
        for one in runs.releases(models_of(request)):
            share = f"{one.rollbacks / max(1, one.promotions):.0%}"
            lead = "" if one.lead_time is None else age(one.lead_time)
            champion_for = age((datetime.now(UTC) - one.since).total_seconds())
            releases.append((one.model, champion_for, str(one.promotions), share, lead))
        parts += [columns(releases)] if len(releases) > 1 else []
        return "\n\n".join([*parts, *notes])


def latest_results(request: Request, runs: "PastRuns", latest: Iterable["PastRun"]) -> dict[str, "Result"]:
    """By step, the good result that the newest of these pipeline runs had of it."""
    found: dict[str, Result] = {}
    for run in latest:
        try:
            steps = runs.manifest(run.run_id)["steps"]
        except RequestError:  # it was killed
            continue
        for name, step in steps.items():
            if name in request.steps and name not in found and (result := runs.result(step["run_id"])):
                found[name] = result
    return {name: found[name] for name in request.steps if name in found}


def diff(request: Request, root: Path, operands: list[str]) -> str:
    """How two pipeline runs differ, step by step: parameters, code, inputs, outputs, metrics; by default the last two.

    With one run ID: that one and the last.
    """
    refuse_more(operands, 2, "diff [RUN [RUN]]")
    with past_runs() as runs:
        chosen = two_runs(runs, operands)
        old, new = (runs.manifest(run.run_id) for run in chosen)
        lines = [f"from  {said(chosen[0])}", f"to    {said(chosen[1])}"]
        if old.get("commit") != new.get("commit"):
            lines.append(f"commit {str(old.get('commit'))[:8]} → {str(new.get('commit'))[:8]}")
        rows = [(name, text) for name, texts in differences(request, runs, old, new).items() for text in texts]
        table = columns([(n if n != rows[i - 1][0] or i == 0 else "", text) for i, (n, text) in enumerate(rows)])
        return "\n".join(
            [*lines, "", table if rows else "no step differs in parameters, code, inputs, outputs or metrics"]
        )


def two_runs(runs: "PastRuns", operands: list[str]) -> list["PastRun"]:
    """The two pipeline runs that are to be compared, the older one first.

    Raises:
        RequestError: there are no two.
    """
    chosen = [runs.find(start) for start in operands]
    if len(chosen) < 2:
        others = [run for run in runs.latest(2) if run.run_id not in {one.run_id for one in chosen}]
        chosen = sorted([*chosen, *others[: 2 - len(chosen)]], key=lambda run: run.began)
    if len(chosen) < 2:
        raise RequestError("there are no two pipeline runs to be compared yet")
    return chosen


def differences(
    request: Request, runs: "PastRuns", old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, list[str]]:
    """How two manifests differ, by step, a line each."""
    names = [name for name in {**old["steps"], **new["steps"]} if name in request.steps]
    return {name: step_differences(runs, old["steps"].get(name), new["steps"].get(name)) for name in names}


def compare(request: Request, root: Path, operands: list[str]) -> str:
    """The same as Markdown, with what the steps say of their results: for a comment on a pull request."""
    from pipeline.reporting.ci_report import ci_report

    refuse_more(operands, 2, "ci-report [RUN [RUN]]")
    with past_runs() as runs:
        old, new = (runs.manifest(run.run_id) for run in two_runs(runs, operands))
        found = {name: runs.result(step["run_id"]) for name, step in new["steps"].items()}
        notes = {name: result.note for name, result in found.items() if result and result.note}
        places = runs.places(old), runs.places(new)
        return ci_report(request, old, new, notes, differences(request, runs, old, new), places)


def step_differences(runs: "PastRuns", old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    """How a step's part in two manifests differs, a line each; none where it is the same run."""
    if old is None or new is None:
        return ["was not asked for" if new is None else "was not asked for then"]
    if old["run_id"] == new["run_id"] and old["run_id"]:
        return []
    lines = [f"{old['state']} → {new['state']}: {new['reason']}"] if "failed" in (old["state"], new["state"]) else []
    before, now = runs.result(old["run_id"]), runs.result(new["run_id"])
    if before and now:
        lines += now.fingerprint.differences(before.fingerprint, {})
    return lines + html_page.manifest_differences(old, new)


def graph(request: Request, root: Path, operands: list[str]) -> str:
    """The graph of the steps, as text, as Mermaid, or as SVG."""
    refuse_more(operands, 1, "graph [text|mermaid|svg]")
    form = operands[0] if operands else "text"
    names = order(request.steps)
    if form == "svg":
        return html_page.graph(request, {})
    if form == "mermaid":
        arrows = [f"  {upstream} --> {name}" for name in names for upstream in sorted(request.steps[name].upstream())]
        return "\n".join(["flowchart TD", *(f"  {name}" for name in names), *arrows])
    if form != "text":
        raise RequestError(unknown("form", form, ("text", "mermaid", "svg"), "graph"))
    rows = []
    for name in names:
        step = request.steps[name]
        reads = ", ".join(sorted(step.upstream(), key=names.index))
        rows.append((name, f"← {reads}" if reads else "", "on request alone" if step.manual else ""))
    return columns(rows)


def report(request: Request, root: Path, operands: list[str]) -> str:
    """The page of a past pipeline run, by default the last one, made again in outputs/report.html."""
    refuse_more(operands, 1, "report [RUN]")
    with past_runs() as runs:
        found = [runs.find(operands[0])] if operands else runs.latest(1)
        if not found:
            raise RequestError("nothing has run in this store yet: python main.py")
        target = root / "outputs" / "report.html"
        target.parent.mkdir(exist_ok=True)
        manifest = runs.manifest(found[0].run_id)
        page = html_page.run_page(request, manifest, None, runs.places(manifest), runs.store.run_address())
        write_atomically(target, page)
        return f"report of {said(found[0])}: {target}"


COMMANDS: dict[str, Callable[[Request, Path, list[str]], str]] = {
    "status": status,
    "diff": diff,
    "graph": graph,
    "report": report,
    "ci-report": compare,
    "clean": clean,
}


def answer(root: Path, command: str, operands: list[str]) -> int:
    """Print what was asked for; the exit code."""
    try:
        if command not in COMMANDS:
            raise RequestError(unknown("command", command, COMMANDS) + f"; to run a step: steps={command}")
        (composed,) = compose(root, [])
        say(COMMANDS[command](composed.request(), root, operands))
    except RequestError as error:
        print("\n".join(f"error: {masked(problem)}" for problem in error.problems), file=sys.stderr)
        return ExitCode.REFUSED
    except StoreError as error:
        print(f"error: {masked(str(error))}", file=sys.stderr)
        return ExitCode.STEP_FAILED
    return ExitCode.DONE


@contextlib.contextmanager
def past_runs() -> Iterator["PastRuns"]:
    """Those of the store that the environment names; what it raises meanwhile is said in a sentence."""
    from pipeline.tracking.past_runs import PastRuns

    with opened_store() as store:
        yield PastRuns(store)


def refuse_more(operands: list[str], most: int, form: str) -> None:
    """Raises RequestError where there is more than the command takes."""
    if len(operands) > most:
        raise RequestError(f"{operands[most]!r} is one too many: python main.py {form}")


def said(run: "PastRun") -> str:
    """A pipeline run in a few words."""
    return f"pipeline run {run.run_id[:8]} of {run.started}, {run.status} ({run.name})"


def models_of(request: Request) -> list[str]:
    """The registered models that the steps' parameters refer to."""
    return sorted({r.model.partition("@")[0] for s in request.steps.values() for _, r in s.references() if r.model})
