"""From a composed configuration to a reported pipeline run: the steps of main.py's story."""

import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import CLUSTERS, Request
from pipeline.errors import RequestError
from pipeline.execution import jobs, kubernetes, script_server, slurm
from pipeline.execution.launcher import Launcher
from pipeline.execution.prewarming import modules_of_scripts, running_here, uses_mlflow
from pipeline.execution.runner import GRACE, Event, Listener, Outcome, Runner, dry_run
from pipeline.files import UNFINISHED, clear_abandoned, content_digest, owned, write_atomically
from pipeline.journal import FOLDER
from pipeline.planning.graph import order
from pipeline.planning.planner import Planner
from pipeline.planning.project import Project, load, load_all
from pipeline.reporting import console, html_page, manifest, tables
from pipeline.reporting.unchanged import keep_journal
from pipeline.states import Action, ExitCode, RunStatus, State

if TYPE_CHECKING:  # they import MLflow, which is for after what can be refused without it
    from pipeline.execution.executor import ProcessExecutor
    from pipeline.reporting.sweep import Sweep
    from pipeline.tracking.recorder import Recorder


SCRATCH = "pipeline-"  # what the name of a command's own temporary folder begins with
# From the environment manager and the steps that are left to the command that goes on with them.
RerunCommand = Callable[[str, Iterable[str]], list[str]]


@dataclass(frozen=True)
class Plan:
    """What is to be done, and what it takes: everything that could be refused has been looked at."""

    request: Request
    order: list[str]  # the selected steps, upstream first
    planner: Planner
    recorder: "Recorder"
    launcher: Launcher
    warnings: list[str]


@dataclass(frozen=True)
class PipelineRun:
    """What a plan came to."""

    plan: Plan
    outcomes: Mapping[str, Outcome]  # by step, in the order they ended
    interrupted: str  # by what, "" if it was not

    @property
    def failed(self) -> list[Outcome]:
        """The steps that failed."""
        return [o for o in self.outcomes.values() if o.state == State.FAILED]

    @property
    def status(self) -> RunStatus:
        """The pipeline run's status in the store."""
        return RunStatus.KILLED if self.interrupted else RunStatus.FAILED if self.failed else RunStatus.FINISHED

    @property
    def exit_code(self) -> ExitCode:
        """The process's."""
        return ExitCode.INTERRUPTED if self.interrupted else ExitCode.STEP_FAILED if self.failed else ExitCode.DONE


class Session(contextlib.ExitStack):
    """What the pipeline runs of one command share: the project, a scratch folder, the fork server, the sweep."""

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        rerun_command: RerunCommand,
        started: float,
        sweep: bool,
        launcher: Launcher | None = None,
    ):
        """`started` is when the command was, in seconds since 1970; `sweep`: whether --multirun was asked for.

        `launcher` is one that has begun already, if there is one.
        """
        super().__init__()
        self.root, self.arguments, self.rerun_command, self.started = root, list(arguments), rerun_command, started
        self.parent_pid = os.getppid()
        # Not a TemporaryDirectory: that one is removed by whichever fork of this process ends first.
        self.scratch = Path(tempfile.mkdtemp(prefix=SCRATCH))
        self.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.enter_context(owned(self.scratch))
        self.launchers = {"forkserver": launcher} if launcher else {}  # by start method
        self.sweep: Sweep | None = self.open_sweep() if sweep else None

    def open_sweep(self) -> "Sweep":
        """The parent of several pipeline runs, which tells at the end how they compare."""
        from pipeline.reporting.sweep import Sweep

        sweep = Sweep()
        self.callback(lambda: console.say(sweep.close()))
        return sweep

    # Plan ------------------------------------------------------------------------------------------------------------

    def plan(self, request: Request) -> Plan:
        """Look at everything that can be refused; nothing is started, and nothing is written to the store.

        Raises:
            RequestError: all of it at once.
        """
        selected = set(request.selected)
        names = [name for name in order(request.steps) if name in selected]
        if (outputs := self.root / "outputs").exists() and not outputs.is_dir():
            raise RequestError(f"{outputs} is not a folder, and the latest files are to go into one; move it away")
        projects = load_all([request.steps[name] for name in names], self.root, self.scratch / "clones")
        launcher = self.launcher(request)
        # What follows imports MLflow.
        if not request.dry_run:
            launcher.import_base_modules()
            if modules := early_modules(request, projects):
                launcher.start_server(modules)
        from pipeline.tracking.artifacts import Artifacts
        from pipeline.tracking.history import History
        from pipeline.tracking.recorder import Recorder
        from pipeline.tracking.store import TrackingStore

        silence_loggers(request.verbose)
        store = TrackingStore()
        history = History(store, Artifacts(store, verify_content=request.verify == "full"))
        recorder = Recorder(store, history, self.root)
        with store.told():
            env_manager = recorder.env_manager() if request.env_manager == "inherit" else request.env_manager
            history.prefetch(len(names))
            used = [reference for name in names for _, reference in request.steps[name].references()]
            if store.database() and any(reference.kind == "model" for reference in used):
                store.open_registry()
            projects |= self.other_projects(request, names)
            planner = Planner(request, projects, history, self.root, env_manager)
            steps = [request.steps[name] for name in names]
            place = store.database(), store.keeps_artifacts_here()
            elsewhere = [*slurm.check(steps, *place), *kubernetes.check(steps, *place, store.uri)]
            return Plan(request, names, planner, recorder, launcher, warnings=[*planner.check(), *elsewhere])

    def launcher(self, request: Request) -> Launcher:
        """What starts processes; its fork server serves all pipeline runs of the command."""
        if request.start_method not in self.launchers:
            self.launchers[request.start_method] = launcher = Launcher(request.start_method)
            self.callback(launcher.close)
        return self.launchers[request.start_method]

    def other_projects(self, request: Request, names: Sequence[str]) -> dict[str, Project]:
        """The projects of steps that are not run, where they are folders here: to tell whether they changed since."""
        found = {}
        for name, step in request.steps.items():
            folder = self.root / (step.uri or name)
            if name not in names and folder.is_dir():
                with contextlib.suppress(RequestError):
                    found[name] = load(step, folder)
        return found

    def show(self, plan: Plan) -> ExitCode:
        """Print what would be done, decided by the same code that does it."""
        for warning in plan.warnings:
            console.say(f"warning: {warning}")
        with plan.recorder.store.told():
            decisions = dry_run(plan.request, plan.planner, plan.order)
        console.say(tables.plan_table(plan.request, plan.planner, decisions))
        return ExitCode.DONE

    # Run -------------------------------------------------------------------------------------------------------------

    def run(self, plan: Plan) -> PipelineRun:
        """Run the plan's steps and record them."""
        gc.freeze()  # what is imported and read by now is never looked at again
        gc.enable()
        with plan.recorder.store.told():
            return self.run_recorded(plan)

    def run_recorded(self, plan: Plan) -> PipelineRun:
        """`run`; what the store raises is not yet a sentence."""
        from pipeline.execution.executor import ProcessExecutor

        request, recorder = plan.request, plan.recorder
        recorder.mark_dead_runs_killed()
        clear_abandoned(self.scratch.parent, SCRATCH)
        for folder in (self.root / "outputs", self.root / FOLDER, self.root / jobs.JOBS):
            clear_abandoned(folder, UNFINISHED)
        elsewhere = any(request.steps[name].backend in CLUSTERS for name in plan.order)
        shared = self.enter_context(jobs.jobs_folder(self.root)) if elsewhere else None
        executor = ProcessExecutor(request, plan.planner, recorder, plan.launcher, self.scratch, shared)
        managed = any(executor.is_managed(request.steps[name]) for name in plan.order)
        with contextlib.closing(executor), recorder.failed_on_error():
            if managed:
                self.start_servers(plan, executor)
                planned = dry_run(request, plan.planner, plan.order)
                executor.expect(name for name, decision in planned.items() if decision.action == Action.EXECUTE)
            max_parallel = request.max_parallel or executor.cores
            runner = Runner(request, plan.planner, executor, max_parallel=max_parallel)
            self.enter_context(handled_signals(runner))
            tags = {
                "pipeline.steps": ",".join(plan.order),
                "pipeline.env_manager": plan.planner.env_manager,
                "mlflow.runName": tables.run_name(request.overrides),
            }
            if self.sweep is not None:
                tags |= self.sweep.begin(recorder, request)
            recorder.begin({"steps": ",".join(plan.order)}, tags, request.composed)
            if not managed:  # now that SQLAlchemy has compiled what the steps will ask the store, too
                self.start_servers(plan, executor)
            with recorder.alive(), self.listeners(runner, request):
                runner.listeners.append(executor.prewarm_next)
                executor.listen(runner.tell)
                for warning in plan.warnings:
                    runner.tell(Event("warning", text=warning))
                for name in plan.order:
                    for source in plan.planner.borrowed(name):
                        runner.tell(Event("reads", name, source))
                outcomes = runner.run(plan.order)
        return PipelineRun(plan, outcomes, runner.interrupted)

    def start_servers(self, plan: Plan, executor: "ProcessExecutor") -> None:
        """Start what forks the steps' processes, with the store open as it is here, but for its connections."""
        from pipeline.execution.worker import dispose_connections, open_store

        dispose_connections()
        begun_before, database = bool(plan.launcher.server), plan.recorder.store.database()
        plan.launcher.start_server(executor.modules(plan.order))
        if begun_before and database:  # else it is open there as it is here
            plan.launcher.call_once(open_store, plan.recorder.store.uri)
        executor.start_early_server(plan.order)

    @contextlib.contextmanager
    def listeners(self, runner: Runner, request: Request) -> Iterator[None]:
        """Show what happens while it happens."""
        live = sys.stdout.isatty() and not request.verbose
        shown: console.Live | console.Lines
        with console.Live(request) if live else contextlib.nullcontext(console.Lines(request)) as shown:
            runner.listeners = [shown, self.watch_parent(runner)]
            if request.verbose:
                runner.listeners.append(console.Verbose(shown))
            yield

    def watch_parent(self, runner: Runner) -> Listener:
        """`mlflow run` may be ended without telling us: then nobody waits for this run any more."""

        def watch(event: Event) -> None:
            if "MLFLOW_RUN_ID" in os.environ and os.getppid() != self.parent_pid and not runner.interrupted:
                runner.interrupt("the `mlflow run` that started this ended")

        return watch

    # Report ----------------------------------------------------------------------------------------------------------

    def report(self, run: PipelineRun) -> ExitCode:
        """Write the manifest and the files of `outputs/`, end the run's record, say what came of it."""
        plan, outcomes, recorder = run.plan, run.outcomes, run.plan.recorder
        with recorder.store.told(), recorder.failed_on_error():
            folder = self.root / "outputs"
            saved = save_outputs(run, folder)
            before = manifest.read(folder / "manifest.json")
            record = manifest.manifest(
                outcomes, recorder.run_id, run.status, plan.planner.env_manager, self.started, recorder.git
            )
            write_atomically(folder / "manifest.json", manifest.as_text(record))
            page = folder / "report.html"
            places = {
                o.step: recorder.artifacts.places(o.run_id, o.step, o.result.outputs if o.result else ())
                for o in outcomes.values()
            }
            server = recorder.store.run_address()
            write_atomically(page, html_page.run_page(plan.request, record, before, places, server))
            states = [o.state for o in outcomes.values()]
            counts = {f"steps_{state}": float(states.count(state)) for state in State}
            seconds = record["seconds"]
            recorder.end(
                run.status,
                [folder / "manifest.json", page],
                counts | {"seconds": seconds} | tables.run_metrics(plan.request, outcomes),
                tables.description(plan.request, outcomes),
            )
        if self.sweep is not None:
            self.sweep.add(recorder.run_id, run.status, outcomes)
        console.show(f"\n{tables.summary(plan.request, outcomes, console.width())}\n")
        counted = tables.counts(states)
        console.say(f"pipeline run {recorder.run_id} {run.status} in {tables.format_duration(seconds)}: {counted}")
        files = f"files: {', '.join(sorted([*saved, 'manifest.json', page.name]))} in {folder}"
        console.say(files)
        console.say("view:  make ui")
        if said := tables.conclusion(outcomes):
            console.say(f"\n{said}")
        if run.exit_code != ExitCode.DONE:
            left = [n for n in plan.order if outcomes[n].state in (State.FAILED, State.SKIPPED)]
            rerun = self.rerun_command(plan.planner.env_manager, left)
            console.say(tables.failure(outcomes, log_locations(run), rerun))
        elif self.sweep is None and plan.request.journal:
            self.keep_journal(plan, record, files)
        self.started = time.time()  # of the next one
        return run.exit_code

    def keep_journal(self, plan: Plan, record: Mapping[str, Any], files: str) -> None:
        """Have the same question answered at once the next time, judged by the store as it is now."""
        from pipeline.tracking.history import History

        if not (database := plan.recorder.store.sole_database()):
            return  # who could say whether a server's runs are as they were, but the server
        artifacts = plan.recorder.artifacts
        history = History(plan.recorder.store, artifacts)
        history.prefetch(len(plan.order))
        with contextlib.suppress(RequestError):  # another pipeline has changed what is there meanwhile
            keep_journal(
                plan.request,
                plan.order,
                plan.planner.anew(history),
                artifacts.looks,
                database,
                record,
                files,
                self.arguments,
                self.started,
            )


def log_locations(run: PipelineRun) -> dict[str, str]:
    """Where each step's log is now: an artifact of its run."""
    return {
        o.step: run.plan.recorder.log_location(o.run_id, o.log.name)
        for o in run.outcomes.values()
        if o.log and o.run_id
    }


def save_outputs(run: PipelineRun, folder: Path) -> set[str]:
    """Bring `outputs/` up to date with what the steps of this run made; files that are the same stay.

    Returns the names of what is now there of this run.
    """
    saved = set()
    folder.mkdir(exist_ok=True)
    asked = [reference for reference in run.plan.request.outputs if reference.step in run.outcomes]
    if run.failed:  # what an earlier run made is not this one's
        for reference in asked:
            if not run.outcomes[reference.step].result:
                (folder / Path(reference.name).name).unlink(missing_ok=True)
    for reference in asked:
        outcome = run.outcomes[reference.step]
        if not outcome.result:
            continue
        sha256 = outcome.result.outputs.get(reference.name)
        target = folder / Path(reference.name).name
        if sha256 and not (target.is_file() and content_digest(target) == sha256):
            run.plan.recorder.artifacts.save(f"runs:/{outcome.run_id}/{reference.name}", target)
        if sha256:
            saved.add(target.name)
    return saved


def early_modules(request: Request, projects: Mapping[str, Project]) -> list[str]:
    """What a fork server imports for the steps' scripts while the plan is made; nothing where that may be in vain."""
    here = running_here(request, projects)
    return modules_of_scripts(project for project in here if uses_mlflow(project) or not script_server.current)


@contextlib.contextmanager
def handled_signals(runner: Runner) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the steps within GRACE seconds; a second one ends this process so soon.

    Both hold while this process waits for a store that does not answer: what it leaves RUNNING the next run repairs.
    """

    def handle(number: int, _: object) -> None:
        if runner.interrupted:
            runner.stop_all(runner.interrupted, force=True)
            later(lambda: os._exit(ExitCode.INTERRUPTED))
        else:
            runner.interrupt(f"interrupted by {signal.Signals(number).name}")
            later(lambda: runner.stop_all(runner.interrupted, force=True))

    def later(do: Callable[[], None]) -> None:
        timer = threading.Timer(GRACE, do)
        timer.daemon = True
        timer.start()

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


def silence_loggers(verbose: bool) -> None:
    """Keep MLflow's own lines (download bars, database migrations, traces of what we say) off the terminal."""
    if not verbose:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for name in ("mlflow", "alembic", "sqlalchemy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
