"""Between the runner, the tracking store and the processes: starts a step, and closes its record when it ends."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.config import OWN_BACKENDS, Request, Step
from pipeline.execution import jobs, kubernetes, script_server, slurm
from pipeline.execution.environ import INPUTS, READS_LOG, handed_on, step_environ
from pipeline.execution.fork_server import AT_FIRST_USE, BASE_MODULES
from pipeline.execution.launcher import Launcher, Process
from pipeline.execution.prewarming import modules_of_scripts, uses_mlflow
from pipeline.execution.runner import Event, Job
from pipeline.execution.snapshot import pack
from pipeline.execution.task import PrewarmTask, RemoteTask, Task, figures_left
from pipeline.execution.worker import missing_environment, prewarm, run_step, submit
from pipeline.files import PROJECT, printable, write_atomically
from pipeline.planning.decision import Decision, Result
from pipeline.planning.planner import Planner
from pipeline.planning.reads import collect, name_of
from pipeline.states import RunStatus
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.remote_run import outcome
from pipeline.tracking.tags import effects_of

CODE_LIMIT = 20 * 2**20  # bytes of a step's files, over which they are not kept with each of its runs
MLFLOW_MODULES = tuple(one for one in (*BASE_MODULES, *AT_FIRST_USE) if not one.startswith("pipeline."))
MAX_PREWARMED = 4  # interpreters of steps' environments that wait for their step at a time


@dataclass(frozen=True)
class Prewarmed:
    """A process that waits for its step, and what it was told."""

    process: Process
    ahead: PrewarmTask


class ProcessExecutor:
    """The runner's `Executor`: each step in a process of its own, each recorded in the tracking store."""

    def __init__(
        self,
        request: Request,
        planner: Planner,
        recorder: Recorder,
        launcher: Launcher,
        scratch: Path,
        shared: Path | None = None,
    ):
        self.request, self.planner, self.recorder, self.launcher = request, planner, recorder, launcher
        self.scratch = scratch
        self.shared = shared  # a folder that other machines see too; None where no step runs there
        self.clusters: dict[str, jobs.Cluster[Any]] = {"kubernetes": kubernetes.Cluster(), "slurm": slurm.Cluster()}
        self.cores = os.cpu_count() or 1
        self.to_prewarm: list[str] = []  # steps that will probably be started, in this order
        self.prewarmed: dict[str, Prewarmed] = {}
        self.known_modules: dict[str, list[str]] = {}  # step -> what its script imports and this process has not
        self.early: set[str] = set()  # the steps before the one with the most to import
        self.to_build: list[str] = []  # steps of to_prewarm whose environments are not there, one for each
        self.tell: Callable[[Event], None] | None = None  # who listens, if anybody yet

    # Starting and ending a step ----------------------------------------------------------------------------------

    def start(self, step: Step, decision: Decision, attempt: int) -> tuple[str, Path, Job]:
        """Start a step's process; its run's ID ("" where the backend makes the run), its log, and the process."""
        run_id = ""
        if step.backend in OWN_BACKENDS:
            run_id = self.recorder.begin_step(step, decision, attempt, self.folder(step))
        if step.backend in self.clusters:
            return self.start_job(step, decision, run_id)
        prewarmed = self.take_prewarmed(step)
        task = prewarmed.ahead.task if prewarmed else self.task(step)
        uri = self.recorder.artifacts.artifact_uri(run_id) if run_id else ""
        given, asked = self.parameters(step, decision), decision.parameters
        folders = self.folders(step, decision, given)
        task = replace(task, run_id=run_id, artifact_uri=uri, parameters=given, requested=asked, folders=folders)
        Path(task.scratch, INPUTS).write_text(json.dumps(self.known_of_inputs(decision)), encoding="utf-8")
        if prewarmed:
            process = prewarmed.process
            # The process has its environment variables already, and they may be secret.
            write_atomically(Path(prewarmed.ahead.task_file), json.dumps(asdict(replace(task, environ={}))))
        else:
            modules = self.modules([step.name])
            process = self.launcher.start(run_step, task, modules, early=step.name in self.early)
        if run_id and self.recorder.store.keeps_artifacts_here():  # a server would be asked once more for each step
            try:
                self.keep_code(step, run_id)  # while it runs
            except BaseException:
                process.stop(force=True)
                raise
        return run_id, Path(task.log), process

    def start_job(self, step: Step, decision: Decision, run_id: str) -> tuple[str, Path, Job]:
        """Have a step submitted to a cluster; as `start`."""
        config, folder, store = step.backend_config, self.folder(step), self.recorder.store
        cluster = self.clusters[step.backend]
        shared = cluster.is_shared(config)
        log = Path(tempfile.mkdtemp(prefix=f"{step.name}-", dir=self.shared), f"{step.name}.log")
        files = {} if shared else {name: i.path for name, i in decision.inputs.items() if i.path}
        told = RemoteTask(
            step=step.name,
            entry_point=step.entry_point,
            parameters=self.parameters(step, decision),
            requested=decision.parameters,
            inputs=jobs.artifacts_of(files),
            code=self.keep_code(step, run_id, whole=not shared),
            env_manager=self.planner.env_manager_of(step),
            env=step.env,
            pass_env=(*self.request.pass_env, *step.pass_env),
            toolchain=step.toolchain,
            environment=decision.fingerprint.environment if decision.fingerprint else {},
            ignored=tuple(store.local_places()),
            verbose=self.request.verbose,
        )
        self.recorder.keep_task(run_id, jobs.as_text(told))
        environ = self.handed_on(step, cluster.variables)
        ask = jobs.submission(cluster, told, run_id, store.uri, config, folder, log, files, environ)
        process = self.launcher.start(submit, ask)
        fetch_outcome = None if shared else partial(outcome, self.recorder.client, run_id, log)

        def tell(job: str) -> None:
            if self.tell:
                self.tell(Event("queued", step.name, job, run_id=run_id))

        return run_id, log, cluster.job(process, ask, config, tell, fetch_outcome)

    def keep_code(self, step: Step, run_id: str, whole: bool = False) -> str:
        """Keep the code that the step runs with its run; the artifact's path.

        "" where it is larger than CODE_LIMIT, and need not be kept `whole`, or where it went meanwhile: that is noticed
        when the step has ended.
        """
        folder, names = self.folder(step), self.planner.known_code[step.name]
        try:
            if not whole and sum((folder / name).stat().st_size for name in names) > CODE_LIMIT:
                return ""
            snapshot = pack(folder, names)
        except FileNotFoundError:
            return ""
        return self.recorder.keep_code(run_id, snapshot.name, snapshot.content)

    def finish(self, step: Step, decision: Decision, run_id: str, log: Path, seconds: float) -> Result:
        """Record a step that ended well."""
        run_id = run_id or self.adopt(step, decision, log)
        folder = self.folder(step)
        known = [folder / name for name in self.planner.known_code[step.name]]
        known += [i.path for i in decision.inputs.values() if i.path]
        reads = collect(log.with_name(READS_LOG), self.planner.root, folder, known)
        figures = figures_left(log.parent)
        with self.recorder.store.told():
            result = self.recorder.finish_step(run_id, step, decision, log, seconds, reads, **figures)
        appeared = [printable(name_of(path, self.planner.root)) for path in self.planner.appeared(step)]
        return replace(result, appeared=tuple(appeared))

    def fail(self, step: Step, decision: Decision, run_id: str, log: Path, status: RunStatus, reason: str) -> None:
        """Record a step that did not end well."""
        if run_id := run_id or self.adopt(step, decision, log):
            self.recorder.fail_step(run_id, log, status, reason)

    def adopt(self, step: Step, decision: Decision, log: Path) -> str:
        """The run that another backend made for the step, now a child of this pipeline's; "" where it made none."""
        file = log.with_name("run_id")
        run_id = file.read_text() if file.is_file() else ""
        if run_id:
            self.recorder.adopt_step(run_id, step, decision)
        return run_id

    def close(self) -> None:
        """End the processes that wait for steps that nobody starts any more, and what watches jobs."""
        for name in list(self.prewarmed):
            self.dismiss(name)
        for cluster in self.clusters.values():
            cluster.close()

    # What a step's process is told --------------------------------------------------------------------------------

    def task(self, step: Step) -> Task:
        """What the step's process has to know, but for its run and its parameters; makes a scratch folder for it."""
        scratch = tempfile.mkdtemp(prefix=f"{step.name}-", dir=self.scratch)
        return Task(
            folder=str(self.folder(step)),
            entry_point=step.entry_point,
            parameters={},
            requested={},
            run_id="",
            artifact_uri="",
            experiment_id=self.recorder.store.experiment_id,
            tracking_uri=self.recorder.store.uri,
            env_manager=self.planner.env_manager_of(step),
            backend=step.backend,
            backend_config=dict(step.backend_config),
            log=str(Path(scratch, f"{step.name}.log")),
            scratch=scratch,
            root=str(PROJECT),
            verbose=self.request.verbose,
            environ=self.environ(step, Path(scratch)),
            in_process=not step.env,
            script_modules=tuple(self.imports(step.name)) if self.by_script_server(step.name) else (),
        )

    def parameters(self, step: Step, decision: Decision) -> dict[str, str]:
        """The parameters as the step gets them: a run's file that lies here, or has a copy here, is named by its path.

        That is what MLflow makes of a `path` parameter as well, after several looks at the store for each.
        """
        found, project = dict(decision.parameters), self.planner.projects[step.name]
        for name in decision.inputs:
            if not project.is_path(name):
                continue
            if step.backend == "local":
                found[name] = str(self.recorder.artifacts.at_hand(found[name]) or found[name])
            elif (cluster := self.clusters.get(step.backend)) and cluster.is_shared(step.backend_config):
                # A copy of ours is not there.
                found[name] = str(self.recorder.artifacts.local(found[name]) or found[name])
        return found

    def folders(self, step: Step, decision: Decision, given: Mapping[str, str]) -> dict[str, str]:
        """Where the models, and other folders, lie here that the step is to get a copy of: never the store's own."""
        if step.backend != "local":
            return {}
        paths = [name for name in decision.inputs if self.planner.projects[step.name].is_path(name)]
        found = {name: self.recorder.artifacts.folder(given[name]) for name in paths}
        return {name: str(folder) for name, folder in found.items() if folder}

    def known_of_inputs(self, decision: Decision) -> dict[str, dict[str, Any]]:
        """What $STEP_INPUTS says of the parameters that point at content: the URI, and what the run that made it did.

        So that a step need not ask the store, for which it would have to import MLflow. Nothing of runs that are of no
        selected step: nobody has looked whether what they did still holds.
        """
        found: dict[str, dict[str, Any]] = {}
        borrowed = {result.run_id for result in self.planner.reused_upstream.values()}
        for name in decision.inputs:
            uri = decision.parameters[name]
            match = re.match(r"runs:/(\w+)/", uri)
            run = self.recorder.artifacts.known_runs.get(match[1]) if match and match[1] not in borrowed else None
            found[name] = {"uri": uri, "effects": {}}
            for effect, text in effects_of(run.data.tags).items() if run else ():
                with contextlib.suppress(ValueError):  # anybody may have set a tag
                    found[name]["effects"][effect] = json.loads(text)
        return found

    def folder(self, step: Step) -> Path:
        """The step's project."""
        return self.planner.projects[step.name].folder

    def environ(self, step: Step, scratch: Path) -> dict[str, str]:
        """The step's environment variables: those of ours that are handed on, and its own."""
        environ = step_environ(self.handed_on(step), scratch, self.scratch, self.recorder.store.local_places())
        if self.is_managed(step):
            # uv leaves byte-code to the first import: where it is not kept, every import compiles again, for ever.
            environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return environ

    def handed_on(self, step: Step, further: Iterable[str] = ()) -> dict[str, str]:
        """The variables that a step gets wherever it runs, and those of the names (with *) `further`."""
        return handed_on(os.environ, [*self.request.pass_env, *step.pass_env, *further]) | dict(step.env)

    def is_managed(self, step: Step) -> bool:
        """Whether the step runs in an environment that is built for it here."""
        return self.planner.env_manager_of(step) in ("uv", "virtualenv") and step.backend == "local"

    # What can be done before a step is started -----------------------------------------------------------------------

    def modules(self, names: Iterable[str]) -> tuple[str, ...]:
        """What a fork server is to import for these steps: what their scripts import, if they run in its forks."""
        return tuple(
            dict.fromkeys(one for name in names if not self.by_script_server(name) for one in self.imports(name))
        )

    def imports(self, name: str) -> list[str]:
        """The modules that a step's script imports, if it runs in this environment, and this process has not."""
        if name not in self.known_modules:  # their scripts are read once, not at each start
            step = self.request.steps[name]
            here = self.planner.env_manager_of(step) == "local" and step.backend == "local"
            self.known_modules[name] = modules_of_scripts([self.planner.projects[name]] if here else [])
        return self.known_modules[name]

    def by_script_server(self, name: str) -> bool:
        """Whether the script server runs the step's script: it needs no MLflow, but something that is not here."""
        return bool(script_server.current and self.imports(name)) and not uses_mlflow(self.planner.projects[name])

    def start_early_server(self, order: list[str]) -> None:
        """Let the steps that come before the one with the most to import not wait for that."""
        needed = [self.modules([name]) for name in order]
        longest = max(range(len(needed)), key=lambda place: len(needed[place]), default=0)
        self.early = set(order[:longest])
        if self.early:
            self.launcher.start_early_server(module for modules in needed[:longest] for module in modules)

    def expect(self, names: Iterable[str]) -> None:
        """These steps will probably be started, in this order: have the interpreters of their environments ready."""
        if self.launcher.forks:
            self.to_prewarm = [name for name in names if self.is_managed(self.request.steps[name])]
            self.to_build = list(self.missing_environments().values())
            self.prewarm_next()

    def missing_environments(self) -> dict[Path, str]:
        """The environments that will be built, and for which step first."""
        found: dict[Path, str] = {}
        for name in self.to_prewarm:
            if environment := missing_environment(str(self.folder(self.request.steps[name]))):
                found.setdefault(environment, name)
        return found

    def listen(self, tell: Callable[[Event], None]) -> None:
        """Tell of environments that are being built, those of before first."""
        self.tell = tell
        for name in self.prewarmed:
            self.tell_of_build(name)

    def tell_of_build(self, name: str) -> None:
        """Say that the environment of a step is being built, if it is, and anybody listens."""
        if self.tell and name in self.to_build:
            number = f"{self.to_build.index(name) + 1} of {len(self.to_build)}"
            self.tell(Event("builds", name, f"environment {number}"))

    def prewarm_next(self, event: Event | None = None) -> None:
        """Have further environments built and interpreters started, as many at a time as there are cores.

        One whose step ended without it is ended.
        """
        if event and event.kind == "ended" and event.step in self.prewarmed:
            self.dismiss(event.step)
        busy = sum(not Path(prewarmed.ahead.ready_file).exists() for prewarmed in self.prewarmed.values())
        for name in self.to_prewarm[: max(0, min(self.cores - busy, MAX_PREWARMED - len(self.prewarmed)))]:
            self.prewarm(self.request.steps[name])

    def prewarm(self, step: Step) -> None:
        """Start a process that gets ready for the step and waits for it."""
        self.to_prewarm.remove(step.name)
        self.tell_of_build(step.name)
        task, project = self.task(step), self.planner.projects[step.name]
        ahead = PrewarmTask(
            task,
            modules=MLFLOW_MODULES if uses_mlflow(project) else (),
            task_file=str(Path(task.scratch, "task.json")),
            ready_file=str(Path(task.scratch, "ready")),
        )
        self.prewarmed[step.name] = Prewarmed(self.launcher.start(prewarm, ahead), ahead)

    def take_prewarmed(self, step: Step) -> Prewarmed | None:
        """The process that waits for the step, if there is to be one; it is used once."""
        if step.name in self.to_prewarm:
            self.prewarm(step)
        found = self.prewarmed.pop(step.name, None)
        return found if found and found.process.ended() is None else None

    def dismiss(self, name: str) -> None:
        """End the process that waits for a step."""
        process = self.prewarmed.pop(name).process
        if process.ended() is None:
            process.stop(force=True)
