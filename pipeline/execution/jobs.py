"""Steps as jobs of a cluster: what is the same whatever cluster it is. slurm.py and kubernetes.py have what is not.

the orchestrator    a process that uploads and submits (worker.py) ends at once; ClusterJob is what the runner waits for
one Cluster         of each kind: it looks after all its jobs
the job             does `python -m pipeline.remote RUN_ID`
"""

import contextlib
import json
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pipeline.execution.environ import TEMPORARY
from pipeline.execution.launcher import Process
from pipeline.execution.runner import Exit
from pipeline.execution.task import RemoteTask, Submission
from pipeline.files import RESERVED, UNFINISHED, owned

JOBS = Path(".pipeline", "jobs")
LAG = 15.0  # seconds that a shared folder may take to show what a node wrote, and a job to be gone
STOP_GRACE = 20.0  # seconds between the request to stop and the moment from which a job is not waited for any more
REMEDY = "set MLFLOW_TRACKING_URI to a server with --artifacts-destination (docs/team.md)"


class Status(Protocol):
    """What a cluster says of a job."""

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""

    @property
    def is_last_word(self) -> bool:
        """Whether nothing is to be waited for that the job may have left itself."""

    @property
    def never(self) -> str:
        """Why it will never start, in a sentence; "" where it may."""


S = TypeVar("S", bound=Status)


@dataclass(frozen=True)
class Order:
    """A step that a cluster is to do, as a job of this name: what it is lies with its run."""

    name: str
    run_id: str
    uri: str  # the store's
    config: Mapping[str, Any]  # the step's backend_config
    log: Path
    project: Path | None  # the step's folder, where the nodes see it


@dataclass
class Cluster(Generic[S]):
    """What is known of all jobs, and the nodes that failed."""

    known: dict[str, S] = field(default_factory=dict)  # the jobs that are watched, by their IDs
    bad_nodes: set[str] = field(default_factory=set)
    # What is waited for where files are looked at: nothing ever comes of it.
    silent: tuple[Any, Any] = field(default_factory=lambda: Pipe(duplex=False))
    variables: ClassVar[tuple[str, ...]] = ()  # environment variables for the cluster's own programs
    builds: ClassVar[bool] = True  # whether its nodes see the environments that are built here

    @staticmethod
    def is_shared(config: Mapping[str, Any]) -> bool:
        """Whether the nodes see the project's folder, and what lies in it, under the same path."""
        raise NotImplementedError

    def command_for(self, order: Order) -> tuple[tuple[str, ...], str]:
        """The command that submits what is ordered, and what it reads."""
        raise NotImplementedError

    def job(self, *given: Any) -> "ClusterJob[S]":
        """A step's job; the arguments are those of `ClusterJob`, without the first."""
        raise NotImplementedError

    def watch(self, job: "ClusterJob[S]") -> None:
        """Look after a job from now on."""
        raise NotImplementedError

    def forget(self, job_id: str) -> None:
        """Look after it no more."""
        raise NotImplementedError

    def hurry(self) -> None:
        """Ask soon: there should be news."""
        raise NotImplementedError

    def look(self) -> None:
        """See to it that news come, without waiting for any."""
        raise NotImplementedError

    def cancel(self, job: "ClusterJob[S]") -> None:
        """Cancel a job by its name: nobody may know yet that it has been submitted."""
        raise NotImplementedError

    def close(self) -> None:
        """There are no jobs any more."""


class ClusterJob(Generic[S]):
    """A step's job: the `Job` that the runner waits for, from before it is submitted."""

    def __init__(
        self,
        cluster: Cluster[S],
        submitting: Process | None,
        ask: Submission,
        config: Mapping[str, Any],
        tell: Callable[[str], None],
        outcome: Callable[[], int | None] | None = None,
    ):
        """`submitting` is what submits what is asked for; None: somebody does, and says so (`watch`).

        The log lies in the job's folder; `outcome`, where the nodes do not see that, fetches log and exit code. `tell`
        hears which job it became.
        """
        self.cluster, self.submitting, self.ask, self.config = cluster, submitting, ask, config
        self.outcome, self.tell = outcome, tell
        self.log = Path(ask.log)
        self.job_id = ""
        self.stopped = self.lost = float("inf")  # when it was to stop, and when the cluster said that it had ended
        self.exit: Exit | None = None

    @property
    def sentinel(self) -> Any:
        return self.cluster.silent[0] if self.job_id or not self.submitting else self.submitting.sentinel

    def ended(self) -> Exit | None:
        """How it ended; None as long as it is submitted, waits, or runs."""
        if self.exit is None:
            self.exit = self.exit_of_job() if self.job_id else self.exit_of_submission()
            if self.exit:
                self.cluster.forget(self.job_id)
        return self.exit

    def exit_of_submission(self) -> Exit | None:
        """Watch the job once it is submitted; how that ended, where it went wrong."""
        exit, file = self.submitting.ended() if self.submitting else None, Path(self.ask.job_file)
        if exit is None or not (exit.ok and file.is_file()):
            return exit
        self.watch(file.read_text())
        if self.stopped < float("inf"):
            self.cluster.cancel(self)
        return None

    def watch(self, job_id: str) -> None:
        """It has been submitted."""
        self.job_id = job_id
        self.cluster.watch(self)
        self.tell(f"job {job_id}")

    def exit_of_job(self) -> Exit | None:
        """How the job ended; None as long as it does not."""
        self.cluster.look()
        status, now = self.cluster.known[self.job_id], time.monotonic()
        code = exit_code(self.log)
        if status.ended:
            self.lost = min(self.lost, now)
            if code is None and self.outcome:
                code = self.outcome()
        if now > self.stopped + STOP_GRACE:
            return Exit(-signal.SIGKILL)
        if status.never:
            self.cluster.cancel(self)
            return Exit(1, status.never)
        if code is not None and code <= 128:
            return Exit(code)
        if code is None and not status.is_last_word and now <= self.lost + LAG:
            return None  # its exit code may be on its way
        if code is not None and not status.ended:
            self.cluster.hurry()  # a signal ended it, and the cluster knows whose
            return None
        return self.verdict(status, code) if status.ended else None

    def verdict(self, status: S, code: int | None) -> Exit:
        """How a job ended that a signal ended, or its node, or that could not even say how."""
        raise NotImplementedError

    def asked(self, option: str) -> str:
        """What backend_config says of an option, for people."""
        return f"{option}: {self.config[option]} in backend_config" if option in self.config else f"{option} is not set"

    def stop(self, force: bool = False) -> None:
        """Have the cluster end it: it is asked to, and killed after the cluster's own time for that."""
        if self.exit is None and self.stopped == float("inf"):
            self.stopped = time.monotonic()
            self.cluster.cancel(self)  # also where it has been submitted, and nobody has said so yet
            self.cluster.hurry()
        if self.submitting and not self.job_id:
            self.submitting.stop(force)


def exit_code(log: Path) -> int | None:
    """What a job has written of its end into its folder; None as long as it has not."""
    with contextlib.suppress(OSError):
        return int(log.with_name("exit_code").read_text())
    return None


@contextlib.contextmanager
def jobs_folder(root: Path) -> Iterator[Path]:
    """A folder in the project, where the nodes see it too, for what jobs leave of themselves meanwhile."""
    (parent := root / JOBS).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
    try:
        with owned(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def kept_here(database: Path | None, local_artifacts: bool) -> str:
    """What of the store is on this machine, for people; "" where nothing is.

    `database` is the store's file, where it is one; `local_artifacts`: they are files under a path of this machine.
    """
    return f"the SQLite file {database}" if database else "files on this machine" if local_artifacts else ""


# What is submitted ---------------------------------------------------------------------------------------------------


def as_text(told: RemoteTask) -> str:
    """A task as its run has it: JSON."""
    return json.dumps(asdict(told), indent=1, sort_keys=True)


def as_words(value: Any) -> list[str]:
    """An option's value, which may be a list."""
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def artifacts_of(files: Mapping[str, Path]) -> dict[str, str]:
    """The files and folders that parameters name, as the run's artifacts that they become."""
    return {
        parameter: folder_of(parameter) + (f"/{path.name}" if path.is_file() else "")
        for parameter, path in files.items()
    }


def folder_of(parameter: str) -> str:
    """Where among a run's artifacts lies what a parameter names."""
    return f"{RESERVED}/inputs/{parameter}"


def submission(
    cluster: Cluster[Any],
    told: RemoteTask,
    run_id: str,
    uri: str,
    config: Mapping[str, Any],
    folder: Path,
    log: Path,
    files: Mapping[str, Path],
    environ: Mapping[str, str],
    is_seen: bool = True,
) -> Submission:
    """What it takes to have a cluster do a step with this `backend_config`.

    `uri` is the store's, `files` are to be uploaded; `is_seen`: whether the nodes see `folder`, the project, if any.
    """
    # By which it is cancelled: no two are the same. Kubernetes takes 63 small letters, digits and -.
    name = f"{re.sub('[^a-z0-9]+', '-', told.step.lower())[:24]}-{run_id}".lstrip("-")
    command, text = cluster.command_for(Order(name, run_id, uri, config, log, folder if is_seen else None))
    return Submission(
        folder=str(folder),
        env_manager=told.env_manager if cluster.builds else "",
        run_id=run_id,
        tracking_uri=uri,
        uploads={folder_of(parameter): str(path) for parameter, path in files.items()},
        name=name,
        command=command,
        script=text,
        environ={n: value for n, value in environ.items() if n not in TEMPORARY} | {"MLFLOW_TRACKING_URI": uri},
        log=str(log),
        job_file=str(log.with_name("job_id")),
    )
