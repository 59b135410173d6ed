"""One pipeline run from its plan to its report."""

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.application import DONE, INTERRUPTED, STEP_FAILED, again
from pipeline.config import Request
from pipeline.errors import RequestError
from pipeline.execution.launcher import Launcher
from pipeline.execution.runner import Event, Outcome, Runner, dry_run
from pipeline.planning.fingerprint import digest
from pipeline.planning.graph import order
from pipeline.planning.planner import Planner
from pipeline.planning.project import Project, load, load_all
from pipeline.reporting import console as report
from pipeline.reporting import html_page as picture


class Session(contextlib.ExitStack):
    """Holds what a pipeline run needs: the store, the steps' projects, a scratch folder, the process launcher."""

    def __init__(self, request: Request, root: Path, arguments: Sequence[str], sweep: Any, began: float):
        super().__init__()
        self.sweep = sweep
        self.request, self.root, self.arguments = request, root, list(arguments)
        self.started = began
        self.order = [name for name in order(request.steps) if name in request.selected]
        self.parent_pid = os.getppid()
        # Not a TemporaryDirectory: that one is removed by whichever fork of this process ends first.
        self.scratch = Path(tempfile.mkdtemp(prefix="pipeline-"))
        self.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.launcher = Launcher(request.start_method)

    def plan(self) -> None:
        """Look at everything that can be refused; nothing is started, and nothing is written to the store.

        Raises:
            RequestError: all of it at once.
        """
        selected = [self.request.steps[name] for name in self.order]
        projects = load_all(selected, self.root, self.scratch / "clones")
        if not self.request.dry_run:
            self.launcher.import_ahead()
        from pipeline.tracking.recorder import Tracking  # imports MLflow: after what can be refused without it

        quiet(self.request.verbose)
        self.tracking = Tracking(self.root)
        gc.freeze()  # what is imported by now is never looked at again
        gc.enable()
        self.env_manager = self.request.env_manager
        if self.env_manager == "inherit":
            self.env_manager = self.tracking.started_with()
        projects |= self.other_projects()
        self.tracking.look_back(len(self.order))
        if any(reference.kind == "model" for step in selected for _, reference in step.references()):
            self.tracking.open_registry()
        self.planner = Planner(self.request, projects, self.tracking, self.root, self.env_manager)
        self.warnings = self.planner.check()

    def other_projects(self) -> dict[str, Project]:
        """The projects of steps that are not run, where they are folders here: to tell whether they changed since."""
        found = {}
        for name, step in self.request.steps.items():
            folder = self.root / (step.uri or name)
            if name not in self.order and folder.is_dir():
                with contextlib.suppress(RequestError):
                    found[name] = load(step, folder)
        return found

    def show_plan(self) -> int:
        """Print what would be done, decided by the same code that does it."""
        for warning in self.warnings:
            report.say(f"warning: {warning}")
        decisions = dry_run(self.request, self.planner, self.order)
        report.say(report.plan_table(self.request, self.planner, decisions))
        return DONE

    def run(self, config: str) -> dict[str, Outcome]:
        """Run the plan and record it; each step's outcome."""
        from pipeline.execution.executor import Stage
        from pipeline.execution.worker import opened, rest

        self.tracking.repair()
        stage = Stage(self.request, self.planner, self.tracking, self.launcher, self.scratch)
        rest()
        self.launcher.get_ready(stage.preload(self.order), opened, self.tracking.uri)
        self.callback(stage.close)
        if any(stage.is_managed(self.request.steps[name]) for name in self.order):
            planned = dry_run(self.request, self.planner, self.order)
            stage.expect(name for name, decision in planned.items() if decision.action == "execute")
        runner = Runner(self.request, self.planner, stage, max_parallel=self.request.max_parallel or stage.cores)
        self.enter_context(handled_signals(runner))
        tags = {"pipeline.steps": ",".join(self.order), "pipeline.env_manager": self.env_manager}
        if self.sweep is not None:
            tags |= self.sweep.begin(self.tracking, self.request.sweep_metric)
        self.tracking.begin({"steps": ",".join(self.order)}, tags, config)
        self.callback(self.tracking.abandon)
        with self.listeners(runner):
            runner.listeners.append(stage.look_ahead)
            for warning in self.warnings:
                runner.tell(Event("warning", text=warning))
            self.outcomes = runner.run(self.order)
        self.interrupted = runner.interrupted
        return self.outcomes

    @contextlib.contextmanager
    def listeners(self, runner: Runner) -> Iterator[None]:
        live = sys.stdout.isatty() and not self.request.verbose
        with report.Live(self.request) if live else contextlib.nullcontext(report.Lines(self.request)) as shown:
            runner.listeners = [shown, self.watch_parent(runner)]
            if self.request.verbose:
                runner.listeners.append(report.Verbose(shown))
            yield

    def watch_parent(self, runner: Runner) -> Any:
        """`mlflow run` may be ended without telling us: then nobody waits for this run any more."""

        def watch(event: Event) -> None:
            if "MLFLOW_RUN_ID" in os.environ and os.getppid() != self.parent_pid and not runner.interrupted:
                runner.interrupt("the `mlflow run` that started this ended")

        return watch

    def close_record(self) -> int:
        """Write the manifest and the files of `outputs/`, end the run's record, tell; returns the exit code."""
        failed = [o for o in self.outcomes.values() if o.state == "failed"]
        status = "KILLED" if self.interrupted else "FAILED" if failed else "FINISHED"
        folder = self.root / "outputs"
        self.save_outputs(folder)
        manifest = report.manifest(
            self.outcomes, self.tracking.run_id, status, self.env_manager, self.started, self.tracking.git
        )
        report.write_whole(folder / "manifest.json", report.as_text(manifest))
        page = self.scratch / "report.html"
        page.write_text(picture.page(self.request, manifest), encoding="utf-8")
        states = [o.state for o in self.outcomes.values()]
        counts = {f"steps_{state}": states.count(state) for state in ("executed", "reused", "failed", "skipped")}
        self.tracking.end(status, [folder / "manifest.json", page], counts | {"seconds": manifest["seconds"]})
        if self.sweep is not None:
            self.sweep.add(self.tracking.run_id, status, self.outcomes)

        report.say(f"\n{report.summary(self.request, self.outcomes)}\n")
        told = ", ".join(f"{states.count(s)} {s}" for s in ("executed", "reused", "failed", "skipped") if s in states)
        report.say(f"pipeline run {self.tracking.run_id} {status} in {report.took(manifest['seconds'])}: {told}")
        report.say(
            f"files: {', '.join(sorted(p.name for p in folder.iterdir() if not p.name.startswith('.')))} in {folder}"
        )
        report.say("look:  make ui")
        if failed or self.interrupted:
            left = [n for n in self.order if self.outcomes[n].state in ("failed", "skipped")]
            report.say(report.failure(self.outcomes, self.logs(), again(self.env_manager, left, self.arguments)))
        return INTERRUPTED if self.interrupted else STEP_FAILED if failed else DONE

    def logs(self) -> dict[str, str]:
        """Where each step's log is now: an artifact of its run."""
        return {
            o.step: self.tracking.log_location(o.run_id, o.log.name)
            for o in self.outcomes.values()
            if o.log and o.run_id
        }

    def save_outputs(self, folder: Path) -> None:
        """Bring `outputs/` up to date with what the steps of this run made; files that are the same stay."""
        folder.mkdir(exist_ok=True)
        for reference in self.request.outputs:
            outcome = self.outcomes.get(reference.step)
            sha256 = outcome.result.outputs.get(reference.name) if outcome and outcome.result else None
            target = folder / Path(reference.name).name
            if sha256 and not (target.is_file() and digest(target) == sha256):
                self.tracking.save(f"runs:/{outcome.run_id}/{reference.name}", target)


@contextlib.contextmanager
def handled_signals(runner: Runner) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the steps; a second one does not wait for them."""

    def handle(number: int, _: object) -> None:
        if runner.interrupted:
            runner.stop_all(runner.interrupted, force=True)
        runner.interrupt(f"interrupted by {signal.Signals(number).name}")

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:  # nohup
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def quiet(verbose: bool) -> None:
    """Keep MLflow's own lines (download bars, database migrations) off the terminal."""
    if not verbose:
        import logging

        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for name in ("mlflow", "alembic", "sqlalchemy"):
            logging.getLogger(name).setLevel(logging.ERROR)
