"""Steps as jobs of a Slurm cluster, by its own programs: `sbatch`, `squeue`, `scancel`.

the orchestrator    a process that submits (worker.py) ends at once; SlurmJob is what the runner waits for
one squeue          for all jobs, at growing intervals: it tells what a job could not write down itself
the job             does `python -m pipeline.remote RUN_ID`; its output is the step's log, and its exit code goes into
                    a file, renamed into place, in a folder that both sides see
"""

import contextlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import IO, Any

from pipeline.config import Step
from pipeline.errors import RequestError, unknown
from pipeline.execution.launcher import Process
from pipeline.execution.runner import Exit, tail
from pipeline.files import PROJECT, UNFINISHED, owned

# What backend_config may ask of sbatch, as its long options are called, with _ for -.
OPTIONS = (
    "account", "begin", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "deadline", "exclude",
    "exclusive", "gpus", "gres", "licenses", "mem", "mem_per_cpu", "mem_per_gpu", "nice", "nodelist", "partition",
    "prefer", "priority", "qos", "reservation", "time", "tmp",
)  # fmt: skip
JOBS = Path(".pipeline", "jobs")
OWN = ("shared", "command")  # whether the nodes see the project's folder; what does the step there
VARIABLES = ("SLURM_CONF", "SBATCH_*")  # for Slurm's own programs
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two looks at the queue
LAG = 15.0  # seconds that a shared folder may take to show what a node wrote, and a job to be gone
STOP_GRACE = 20.0  # seconds between scancel and the moment from which a job is not waited for any more
UNDER_WAY = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT"}
# Why a job is pending that will never start.
NEVER = {
    "PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "AccountNotAllowed", "QOSNotAllowed",
    "InvalidAccount", "InvalidQOS", "DependencyNeverSatisfied", "PartitionDown", "PartitionInactive",
}  # fmt: skip
OUT_OF_MEMORY = re.compile(r"oom[-_]kill|out-of-memory handler|[Ee]xceeded (job|step) memory limit")
# What is asked of a job, and in how many characters; a reason may hold any.
COLUMNS = {"JobID": 24, "State": 24, "exit_code": 12, "NodeList": 256, "TimeLimit": 24, "Reason": 96}
FORMAT = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())


@dataclass(frozen=True)
class Status:
    """What Slurm says of a job."""

    state: str = "GONE"  # which it does not say: it knows the job no more
    reason: str = ""
    wait_status: int = 0  # as waitpid has it
    nodes: str = ""
    limit: str = ""  # days-hours:minutes:seconds

    @property
    def ended(self) -> bool:
        return self.state not in UNDER_WAY


def statuses(listing: str) -> dict[str, Status]:
    """What `squeue --Format=FORMAT` printed, by job ID."""
    found = {}
    for line in listing.splitlines():
        rest, columns = line, []
        for width in COLUMNS.values():
            columns.append(rest[:width].strip())
            rest = rest[width:]
        job_id, state, code, nodes, limit, reason = columns
        if job_id.isdigit() and code.isdigit():
            found[job_id] = Status(state, reason, int(code), nodes, limit)
    return found


@dataclass
class Cluster:
    """What is known of all jobs, and the nodes that failed."""

    known: dict[str, Status] = field(default_factory=dict)  # the jobs that are watched
    bad_nodes: set[str] = field(default_factory=set)
    query: "subprocess.Popen[str] | None" = None
    answer: IO[str] | None = None
    asked: list[str] = field(default_factory=list)
    at: float = 0.0  # when to ask next (monotonic)
    pause: float = FIRST_PAUSE
    # What is waited for where files are looked at: nothing ever comes of it.
    silent: tuple[Any, Any] = field(default_factory=lambda: Pipe(duplex=False))

    def watch(self, job_id: str) -> None:
        """Look after a job from now on."""
        self.known[job_id] = Status("PENDING")
        self.hurry()

    def forget(self, job_id: str) -> None:
        """Look after it no more."""
        self.known.pop(job_id, None)

    def hurry(self) -> None:
        """Ask soon: there should be news."""
        self.at, self.pause = min(self.at, time.monotonic() + FIRST_PAUSE), FIRST_PAUSE

    def look(self) -> None:
        """Take in an answer, or ask, without waiting for either."""
        if self.query and self.query.poll() is not None and self.answer:
            self.answer.seek(0)
            text, code, self.query = self.answer.read(), self.query.returncode, None
            self.answer.close()
            found = statuses(text)
            # One that is not listed is gone; but a controller that does not answer says nothing of anybody.
            if code == 0 or "Invalid job id" in text:
                self.known |= {job: found.get(job, Status()) for job in self.asked if job in self.known}
        elif not self.query and self.known and time.monotonic() >= self.at:
            self.at, self.pause = time.monotonic() + self.pause, min(self.pause * 1.5, LONGEST_PAUSE)
            self.asked = list(self.known)
            self.answer = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open until it is answered
            command = ["squeue", "--noheader", "--states=all", f"--jobs={','.join(self.asked)}", f"--Format={FORMAT}"]
            self.query = subprocess.Popen(command, stdout=self.answer, stderr=subprocess.STDOUT, text=True)


class SlurmJob:
    """A step's job: the `Job` that the runner waits for, from before it is submitted."""

    def __init__(
        self,
        cluster: Cluster,
        submitting: Process | None,
        name: str,
        log: Path,
        config: Mapping[str, Any],
        tell: Callable[[str], None],
        outcome: Callable[[], int | None] | None = None,
    ):
        """`submitting` is what submits it; None: somebody does, and says so (`watch`).

        `log` lies in the job's folder; `outcome`, where the nodes do not see that, fetches log and exit code. `tell`
        hears which job it became.
        """
        self.cluster, self.submitting, self.name, self.log, self.config = cluster, submitting, name, log, config
        self.outcome, self.tell = outcome, tell
        self.job_id = ""
        self.stopped = self.lost = float("inf")  # when it was to stop, and when Slurm said that it had ended
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
        exit, file = self.submitting.ended() if self.submitting else None, job_file(self.log)
        if exit is None or not (exit.ok and file.is_file()):
            return exit
        self.watch(file.read_text())
        if self.stopped < float("inf"):
            cancel(self.name)
        return None

    def watch(self, job_id: str) -> None:
        """It has been submitted."""
        self.job_id = job_id
        self.cluster.watch(job_id)
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
        late = now > self.lost + LAG
        if now > self.stopped + STOP_GRACE:
            return Exit(-signal.SIGKILL)
        if status.state == "PENDING" and status.reason.partition(",")[0] in NEVER:
            cancel(self.name)
            return Exit(1, f"Slurm will never start it ({status.reason}); ask for something else in backend_config")
        if code is not None and code <= 128:
            return Exit(code)
        if code is None and status.state in ("COMPLETED", "FAILED", "GONE") and not late:
            return None  # its exit code may be on its way
        if code is not None and not status.ended:
            self.cluster.hurry()  # a signal ended it, and Slurm knows whose
            return None
        return self.verdict(status, code) if status.ended else None

    def verdict(self, status: Status, code: int | None) -> Exit:
        """How a job ended that a signal ended, or its node, or that could not even say how."""
        said = "\n".join(tail(self.log, 20))
        if status.state == "OUT_OF_MEMORY" or (status.state == "FAILED" and OUT_OF_MEMORY.search(said)):
            return Exit(
                -signal.SIGKILL, f"it needed more memory than Slurm gave it ({self.asked('mem')}); ask for more"
            )
        if status.state == "TIMEOUT":
            limit = f"its time limit of {status.limit} ({self.asked('time')})"
            return Exit(-signal.SIGTERM, f"Slurm ended it at {limit}; ask for more")
        if status.state in ("NODE_FAIL", "BOOT_FAIL"):
            self.cluster.bad_nodes.add(status.nodes)
            return Exit(-signal.SIGKILL, f"its node {status.nodes} failed", elsewhere=True)
        if status.state == "PREEMPTED":
            return Exit(-signal.SIGTERM, "Slurm ended it in favour of another job", elsewhere=True)
        if status.state == "CANCELLED":
            return Exit(-signal.SIGTERM, f"its job {self.job_id} was cancelled in Slurm")
        if code is not None:
            return Exit(128 - code)
        if status.state == "FAILED":
            number = status.wait_status & 127
            exit = Exit(-number if number else status.wait_status >> 8)
            begun = f"its job {self.job_id} ended before the step began ({exit})"
            remedy = "see to the node, and to command in backend_config"
            return Exit(exit.code, f"{begun}; {remedy}" if self.outcome else "")
        where = "its run" if self.outcome else self.log.parent
        why = f"its job {self.job_id} ended ({status.state.lower()}) and left no exit code in {where}"
        return Exit(1, f"{why}; let the nodes see that folder, or set shared: false in backend_config")

    def asked(self, option: str) -> str:
        """What backend_config says of an option, for people."""
        return f"{option}: {self.config[option]} in backend_config" if option in self.config else f"{option} is not set"

    def stop(self, force: bool = False) -> None:
        """Have Slurm end it: it is asked to, and killed after the cluster's KillWait."""
        if self.exit is None and self.stopped == float("inf"):
            self.stopped = time.monotonic()
            cancel(self.name)  # also where it has been submitted, and nobody has said so yet
            self.cluster.hurry()
        if self.submitting and not self.job_id:
            self.submitting.stop(force)


def cancel(name: str) -> None:
    """Cancel the job of this name, without waiting for Slurm, and whatever happens to this process."""
    command = ["sh", "-c", 'scancel --me "--name=$0" >/dev/null 2>&1 &', name]
    subprocess.run(command, stdin=subprocess.DEVNULL, start_new_session=True)


def job_file(log: Path) -> Path:
    """The file in a job's folder that its ID is written to."""
    return log.with_name("job_id")


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


# What is submitted ---------------------------------------------------------------------------------------------------


def sbatch(name: str, log: Path, config: Mapping[str, Any], bad_nodes: Iterable[str] = ()) -> tuple[str, ...]:
    """The command that submits a script as a job."""
    wanted = {key: value for key, value in config.items() if key in OPTIONS}
    if excluded := [*as_words(wanted.get("exclude", ())), *sorted(bad_nodes)]:
        wanted["exclude"] = excluded
    options = []
    for key, value in wanted.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not False and value is not None:
            options.append(f"{option}={','.join(as_words(value))}")
    place = str(log).replace("\\", "\\\\").replace("%", "%%") if is_shared(config) else "/dev/null"
    return (
        "sbatch", "--parsable", "--no-requeue", "--open-mode=append", "--chdir=/", f"--job-name={name}",
        f"--output={place}", *options,
    )  # fmt: skip


def as_words(value: Any) -> list[str]:
    """An option's value, which may be a list."""
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def script(run_id: str, log: Path, config: Mapping[str, Any], folder: Path | None) -> str:
    """What the job does: the step, then its exit code into a file. The project is in `folder` (None: with its run)."""
    command = (
        config.get("command") or f"cd {shlex.quote(str(PROJECT))} && {shlex.quote(sys.executable)} -m pipeline.remote"
    )
    told = f"{command} {run_id}"
    if not is_shared(config):
        return f"#!/bin/sh\n{told}\n"
    file = shlex.quote(str(log.with_name("exit_code")))
    told += f" --shared {shlex.quote(str(log.parent))}" + (f" --code {shlex.quote(str(folder))}" if folder else "")
    # The shell outlives a SIGTERM for all of the job, so that the step has the time to end that Slurm leaves it.
    return f"#!/bin/sh\ntrap : TERM\n{told}\ncode=$?\necho $code >{file}.part && mv {file}.part {file}\nexit $code\n"


def is_shared(config: Mapping[str, Any]) -> bool:
    """Whether the nodes see the project's folder, and what lies in it, under the same path."""
    return config.get("shared", True) is not False


def refusal(said: str) -> str:
    """The sentence for what sbatch would not take."""
    lines = [line.partition("error: ")[2] or line for line in said.splitlines() if line.strip()]
    reason = "; ".join(dict.fromkeys(line.removeprefix("Batch job submission failed: ") for line in lines[:2]))
    return f"Slurm refused the job ({reason or 'sbatch said nothing'}); correct backend_config, or run it elsewhere"


def check(steps: Iterable[Step], database: Path | None, local_artifacts: bool) -> list[str]:
    """Look at what steps ask of Slurm, and whether nodes will reach the store; warnings for a person to read.

    `database` is the store's file, where it is one; `local_artifacts`: they are files under a path of this machine.

    Raises:
        RequestError: an option that there is not, Slurm's programs missing, a store that no other machine can use.
    """
    problems, warnings = [], []
    ours = [step for step in steps if step.backend == "slurm"]
    for step in ours:
        where = f"pipeline.{step.name}.backend_config"
        problems += [
            unknown("key", key, [*OWN, *OPTIONS], where) for key in step.backend_config if key not in (*OWN, *OPTIONS)
        ]
    if ours and (missing := [tool for tool in ("sbatch", "squeue", "scancel") if shutil.which(tool) is None]):
        problems.append(
            f"step {ours[0].name}: there is no program {missing[0]!r} on the PATH, which `backend: slurm` needs; "
            "run this where jobs are submitted"
        )
    kept = f"the SQLite file {database}" if database else "files on this machine" if local_artifacts else ""
    if ours and kept:
        remedy = "set MLFLOW_TRACKING_URI to a server with --artifacts-destination (docs/team.md)"
        if apart := [step.name for step in ours if not is_shared(step.backend_config)]:
            problems.append(f"step {apart[0]} has shared: false, and what it needs is in {kept}; {remedy}")
        else:
            warnings.append(
                f"the nodes must see {kept} under the same path, with locks that hold across them; or {remedy}"
            )
    if problems:
        raise RequestError(problems)
    return warnings
