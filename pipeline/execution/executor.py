"""Between the runner, the tracking store and the processes: starts a step, and closes its record when it ends."""

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.config import Request, Step
from pipeline.execution.fork_server import OURS
from pipeline.execution.launcher import Launcher, Process
from pipeline.execution.runner import Event
from pipeline.execution.worker import StandBy, Task, run_step, stand_by
from pipeline.planning.planner import Decision, Planner, Result
from pipeline.reporting.console import write_whole
from pipeline.tracking.recorder import Tracking

LOOK_AHEAD = 4  # interpreters of steps' environments that stand by at a time


@dataclass(frozen=True)
class Ready:
    """A process that stands by for a step, and what it was told."""

    process: Process
    ahead: StandBy


class Stage:
    """The runner's `Backstage`, for real."""

    def __init__(self, request: Request, planner: Planner, tracking: Tracking, launcher: Launcher, scratch: Path):
        self.request, self.planner, self.tracking, self.launcher = request, planner, tracking, launcher
        self.scratch = scratch
        self.cores = os.cpu_count() or 1
        self.expected: list[str] = []
        self.standing_by: dict[str, Ready] = {}

    def expect(self, names: Iterable[str]) -> None:
        """These steps will probably be started, in this order: have the interpreters of their environments ready."""
        if self.launcher.warm:
            self.expected = [name for name in names if self.is_managed(self.request.steps[name])]
            # What takes longest to import gets a head start, beside the step that comes first.
            if longest := next((name for name in self.expected[1:] if self.request.steps[name].preload), None):
                self.expected.remove(longest)
                self.expected.insert(1, longest)
            self.look_ahead()

    def dismiss(self, name: str) -> None:
        """End what stands by for a step."""
        process = self.standing_by.pop(name).process
        if process.ended() is None:
            process.stop(force=True)

    def look_ahead(self, event: Event | None = None) -> None:
        """Have further environments built and interpreters started, as many at a time as there are cores.

        One whose step ended without it is ended.
        """
        if event and event.kind == "ended" and event.step in self.standing_by:
            self.dismiss(event.step)
        busy = sum(not Path(ready.ahead.imported).exists() for ready in self.standing_by.values())
        for name in self.expected[: max(0, min(self.cores - busy, LOOK_AHEAD - len(self.standing_by)))]:
            self.prepare(self.request.steps[name])

    def prepare(self, step: Step) -> None:
        """Start a process that stands by for the step."""
        self.expected.remove(step.name)
        task = self.task(step)
        ahead = StandBy(
            task,
            modules=(*self.request.preload, *step.preload, *(m for m in OURS if not m.startswith("pipeline."))),
            order=str(Path(task.scratch, "task.json")),
            imported=str(Path(task.scratch, "imported")),
        )
        self.standing_by[step.name] = Ready(self.launcher.start(stand_by, ahead), ahead)

    def ready(self, step: Step) -> Ready | None:
        """The process that stands by for the step, if there is to be one; it is used once."""
        if step.name in self.expected:
            self.prepare(step)
        found = self.standing_by.pop(step.name, None)
        return found if found and found.process.ended() is None else None

    def folder(self, step: Step) -> Path:
        return self.planner.projects[step.name].folder

    def start(self, step: Step, decision: Decision, attempt: int) -> tuple[str, Path, Process]:
        """Start a step's process; its run's ID ("" where the backend makes the run), its log, and the process."""
        run_id = ""
        if step.backend == "local":
            run_id = self.tracking.begin_step(step, decision, attempt, self.folder(step))
        ready = self.ready(step)
        task = ready.ahead.task if ready else self.task(step)
        task = replace(task, run_id=run_id, parameters=dict(decision.parameters))
        if ready:
            process = ready.process
            # What stands by has its environment variables, and they may be secret.
            write_whole(Path(ready.ahead.order), json.dumps(asdict(replace(task, environ={}))))
        else:
            process = self.launcher.start(run_step, task, preload=bool(self.preload([step.name])))
        return run_id, Path(task.log), process

    def task(self, step: Step) -> Task:
        """What the step's process has to know, but for its run and its parameters; makes a scratch folder for it."""
        scratch = tempfile.mkdtemp(prefix=f"{step.name}-", dir=self.scratch)
        return Task(
            folder=str(self.folder(step)),
            entry_point=step.entry_point,
            parameters={},
            run_id="",
            experiment_id=self.tracking.experiment_id,
            tracking_uri=self.tracking.uri,
            env_manager=self.planner.manager(step),
            backend=step.backend,
            backend_config=dict(step.backend_config),
            log=str(Path(scratch, f"{step.name}.log")),
            scratch=scratch,
            root=str(self.planner.root),
            verbose=self.request.verbose,
            environ=self.environ(self.is_managed(step)),
        )

    def preload(self, names: Iterable[str]) -> list[str]:
        """The modules that these steps want imported, those steps left out that have an environment of their own."""
        steps = [self.request.steps[name] for name in names]
        here = [step for step in steps if self.planner.manager(step) == "local" and step.backend == "local"]
        return [module for step in here for module in step.preload]

    def is_managed(self, step: Step) -> bool:
        """Whether the step runs in an environment that is built for it here."""
        return self.planner.manager(step) in ("uv", "virtualenv") and step.backend == "local"

    def environ(self, managed: bool) -> dict[str, str]:
        """The step's environment variables: ours, with `python` meaning this interpreter, and output unbuffered."""
        here = str(Path(sys.executable).parent)
        path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
        environ = dict(os.environ) | {"PATH": path, "PYTHONUNBUFFERED": "1", "TMPDIR": str(self.scratch)}
        if managed:
            # uv leaves byte-code to the first import: where it is not kept, every import compiles again, for ever.
            environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return environ

    def close(self) -> None:
        """End what stands by for steps that nobody starts any more."""
        for name in list(self.standing_by):
            self.dismiss(name)

    def finish(self, step: Step, decision: Decision, run_id: str, log: Path, seconds: float) -> Result:
        run_id = run_id or self.adopt(step, decision, log)
        return self.tracking.finish_step(run_id, step, decision, log, seconds)

    def fail(self, step: Step, decision: Decision, run_id: str, log: Path, status: str, reason: str) -> None:
        if run_id := run_id or self.adopt(step, decision, log):
            self.tracking.fail_step(run_id, log, status, reason)

    def adopt(self, step: Step, decision: Decision, log: Path) -> str:
        """The run that another backend made for the step, now a child of this pipeline's; "" where it made none."""
        file = log.with_name("run_id")
        run_id = file.read_text() if file.is_file() else ""
        if run_id:
            self.tracking.adopt_step(run_id, step, decision)
        return run_id
