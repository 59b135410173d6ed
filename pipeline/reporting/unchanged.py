"""What the journal keeps: the answer "nothing changed" as it will be said, and all that it depends on."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import journal
from pipeline.config import OWN_BACKENDS, Request, references
from pipeline.execution.runner import Outcome, dry_run
from pipeline.files import PROJECT, files_below, folders_below
from pipeline.planning.decision import Decision, Result
from pipeline.planning.fingerprint import IGNORED, distribution_folders, record_of
from pipeline.planning.planner import Planner
from pipeline.reporting import tables
from pipeline.states import Action, State

STATES = {Action.REUSE: State.REUSED, Action.SKIP: State.SKIPPED}


def keep_journal(
    request: Request,
    order: list[str],
    planner: Planner,
    artifacts: Mapping[str, Mapping[Path, Any]],
    database: Path | None,
    manifest: Mapping[str, Any],
    files_line: str,
    arguments: list[str],
    started: float,
) -> None:
    """Write the journal, if the same request would now find every step done.

    `planner` knows nothing yet of what the store holds; `artifacts` are the files of each run and URI that this process
    has digested; `database` is the store's file, None where it is elsewhere, which has nothing that could be looked at
    so quickly. What changed since the process `started` (seconds since 1970) may not be what was run: no journal then.
    """
    config = planner.root / "config.yaml"
    text = " ".join([config.read_text(encoding="utf-8"), *arguments])
    steps = request.steps.values()
    if (
        database is None
        or not database.is_file()
        or not request.simple
        or any(
            step.backend not in OWN_BACKENDS or not (planner.root / (step.uri or step.name)).is_dir() for step in steps
        )
    ):
        return
    state = journal.database_state(database)
    named = {planner.root / name for name in re.findall(r"\$\{\s*yaml\s*:\s*([^,}]+)", text)}
    own = {config, *named, *project_files(planner.root)}
    tools = {found for step in steps for tool in step.toolchain if (found := shutil.which(tool))}
    own |= {*step_files(request, planner), *literal_files(request, planner), *map(Path, tools)}
    if any(path.is_file() and path.stat().st_ctime > started for path in own):
        return
    warnings = planner.check()
    decisions = dry_run(request, planner, order)
    results = {name: d.result for name, d in decisions.items() if d.result}
    if any(d.action not in STATES for d in decisions.values()):
        return
    made = [*results.values(), *planner.reused_upstream.values()]
    versioned = [given.uri for d in decisions.values() for given in d.inputs.values() if given.versioned]
    if any(key not in artifacts for key in [*(result.run_id for result in made), *versioned]):
        return
    outcomes = {name: outcome(name, decision) for name, decision in decisions.items()}
    states = [o.state for o in outcomes.values()]
    given = {*inputs(decisions.values()), *(path for result in results.values() for path in read(result, planner.root))}
    width = max(map(len, request.selected))
    journal.write(
        planner.root,
        arguments,
        looked_at=own
        | given
        | {path for result in made for path in (*artifacts[result.run_id], *read(result, planner.root))}
        | {path for uri in versioned for path in artifacts[uri]}
        | {planner.root / "outputs" / Path(reference.name).name for reference in request.outputs},
        variables=[*re.findall(r"\$\{\s*oc\.env\s*:\s*(\w+)", text), *(["PATH"] if tools else [])],
        database=database,
        state=state,
        said={
            "lines": [f"{'':<{width}}  warning   {warning}" for warning in warnings]
            + [f"{o.step:<{width}}  {o.state:<8}  {tables.reason_text(o)}" for o in outcomes.values()],
            "summary": tables.summary(request, outcomes),
            "counts": tables.counts(states),
            "conclusion": [f"\n{said}"] if (said := tables.conclusion(outcomes)) else [],
            "files_line": files_line,
            "elsewhere": sorted(str(path) for path in given if not path.is_relative_to(planner.root)),
            "plan": "\n".join([*(f"warning: {w}" for w in warnings), tables.plan_table(request, planner, decisions)]),
            "manifest": {**manifest, "steps": {n: unchanged(manifest["steps"][n], outcomes[n]) for n in outcomes}},
            "manifest_file": str(planner.root / "outputs" / "manifest.json"),
        },
    )


def outcome(name: str, decision: Decision) -> Outcome:
    """What a step will come to."""
    run_id = decision.result.run_id if decision.result else ""
    return Outcome(name, STATES[decision.action], decision.reason, run_id, decision=decision, result=decision.result)


def unchanged(step: Mapping[str, Any], after: Outcome) -> dict[str, Any]:
    """A step's part of the manifest, as it is when nothing is run."""
    return {**step, "state": after.state, "reason": after.reason, "start": None, "seconds": 0.0, "attempts": 0}


def project_files(root: Path) -> Iterator[Path]:
    """The orchestrator's own files, the packages that Python finds, and what Git is told to ignore."""
    yield from (PROJECT / "main.py", PROJECT / ".gitignore", PROJECT / ".git" / "info" / "exclude")
    yield from (root / ".gitignore", Path.cwd() / "mlruns")
    yield from tree(PROJECT / "pipeline")
    yield from (Path(entry) for entry in sys.path if entry and Path(entry) != PROJECT)
    yield from (Path(record_of(folder)) for folder in distribution_folders())


def step_files(request: Request, planner: Planner) -> Iterator[Path]:
    """All that lies in the steps' folders, also of those that do not run: whether they changed is said."""
    for step in request.steps.values():
        yield from tree(planner.root / (step.uri or step.name))


def tree(folder: Path) -> Iterator[Path]:
    """A folder, those below it, and their files; caches and stores aside."""
    yield from folders_below(folder, skip=IGNORED)
    yield from files_below(folder, skip=IGNORED)


def inputs(decisions: Iterable[Decision]) -> Iterator[Path]:
    """The files of the inputs that are on this machine."""
    for decision in decisions:
        for given in decision.inputs.values():
            yield from given.looks


def literal_files(request: Request, planner: Planner) -> Iterator[Path]:
    """What parameters name, be it there or not: a file that appears where a text was makes an input of it."""
    for name, project in planner.projects.items():
        for value in (project.defaults() | dict(request.steps[name].parameters)).values():
            if value and "\0" not in value and not references(value) and "://" not in value and len(value) < 256:
                yield planner.root / value


def read(result: Result, root: Path) -> Iterator[Path]:
    """What a run read beside its code and inputs."""
    return (Path(os.path.normpath(root / name)) for name in result.reads)
