"""Between the runner, the tracking store and the processes: starts a step, and closes its record when it ends."""

import functools
import os
import sys
import tempfile
from pathlib import Path

from pipeline.child import Task, quietly, run_step
from pipeline.config import Request, Step
from pipeline.environments import ensure_all
from pipeline.launcher import Launcher, Process
from pipeline.plan import Decision, Planner, Result
from pipeline.tracking import Tracking


class Stage:
    """The runner's `Backstage`, for real."""

    def __init__(self, request: Request, planner: Planner, tracking: Tracking, launcher: Launcher, scratch: Path):
        self.request, self.planner, self.tracking, self.launcher = request, planner, tracking, launcher
        self.scratch = scratch
        self.building: Process | None = None

    def start(self, step: Step, decision: Decision, attempt: int) -> tuple[str, Path, Process]:
        """Start a step's process; its run's ID ("" where the backend makes the run), its log, and the process."""
        folder = self.planner.projects[step.name].folder
        run_id = ""
        if step.backend == "local":
            run_id = self.tracking.begin_step(step, decision, attempt, folder)
        scratch = Path(tempfile.mkdtemp(prefix=f"{step.name}-", dir=self.scratch))
        log = scratch / f"{step.name}.log"
        if self.building is None and self.managed:
            target = functools.partial(quietly, str(self.scratch / "environments.log"), ensure_all)
            self.building = self.launcher.start(target, self.managed)
        task = Task(
            folder=str(folder),
            entry_point=step.entry_point,
            parameters=dict(decision.parameters),
            run_id=run_id,
            experiment_id=self.tracking.experiment_id,
            tracking_uri=self.tracking.uri,
            env_manager=self.planner.manager(step),
            backend=step.backend,
            backend_config=dict(step.backend_config),
            log=str(log),
            scratch=str(scratch),
            root=str(self.planner.root),
            verbose=self.request.verbose,
            environ=self.environ(str(folder) in self.managed),
        )
        return run_id, log, self.launcher.start(run_step, task, preload=self.preload(step))

    def preload(self, step: Step) -> bool:
        """Whether the step wants modules imported that are worth it: another environment has modules of its own."""
        return bool(step.preload) and self.planner.manager(step) == "local" and step.backend == "local"

    @functools.cached_property
    def managed(self) -> dict[str, str]:
        """The folders of the steps that run in an environment which is built for them -> its manager."""
        managers = {step.name: self.planner.manager(step) for step in self.request.steps.values()}
        return {
            str(self.planner.projects[name].folder): managers[name]
            for name in self.request.selected
            if managers[name] in ("uv", "virtualenv") and self.request.steps[name].backend == "local"
        }

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
        """End what is no step's: the building of environments that nobody waits for any more."""
        if self.building is not None and self.building.ended() is None:
            self.building.stop(force=True)

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
