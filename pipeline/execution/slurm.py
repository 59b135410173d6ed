"""Steps as jobs of a Slurm cluster, by its own programs: `sbatch`, `squeue`, `scancel`; see jobs.py for the rest.

one squeue          for all jobs, at growing intervals: it tells what a job could not write down itself
the job             does `python -m pipeline.remote RUN_ID`; its output is the step's log, and its exit code goes into
                    a file, renamed into place, in a folder that both sides see
"""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from pipeline.config import Step
from pipeline.errors import RequestError, unknown
from pipeline.execution import jobs
from pipeline.execution.runner import Exit, tail
from pipeline.files import PROJECT

# What backend_config may ask of sbatch, as its long options are called, with _ for -.
OPTIONS = (
    "account", "begin", "comment", "constraint", "cpus_per_gpu", "cpus_per_task", "deadline", "exclude",
    "exclusive", "gpus", "gres", "licenses", "mem", "mem_per_cpu", "mem_per_gpu", "nice", "nodelist", "partition",
    "prefer", "priority", "qos", "reservation", "time", "tmp",
)  # fmt: skip
OWN = ("shared", "command")  # whether the nodes see the project's folder; what does the step there
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two looks at the queue
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

    @property
    def is_last_word(self) -> bool:
        return self.state not in ("COMPLETED", "FAILED", "GONE")

    @property
    def never(self) -> str:
        if self.state == "PENDING" and self.reason.partition(",")[0] in NEVER:
            return f"Slurm will never start it ({self.reason}); ask for something else in backend_config"
        return ""


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
class Cluster(jobs.Cluster[Status]):
    """The jobs that one `squeue` tells of."""

    query: "subprocess.Popen[str] | None" = None
    answer: IO[str] | None = None
    asked: list[str] = field(default_factory=list)
    at: float = 0.0  # when to ask next (monotonic)
    pause: float = FIRST_PAUSE
    variables: ClassVar = ("SLURM_CONF", "SBATCH_*")  # for Slurm's own programs

    @staticmethod
    def is_shared(config: Mapping[str, Any]) -> bool:
        return config.get("shared", True) is not False

    def command_for(self, order: jobs.Order) -> tuple[tuple[str, ...], str]:
        command = sbatch(order.name, order.log, order.config, self.bad_nodes)
        return command, script(order.run_id, order.log, order.config, order.project)

    def job(self, *given: Any) -> "SlurmJob":
        return SlurmJob(self, *given)

    def watch(self, job: jobs.ClusterJob[Status]) -> None:
        self.known[job.job_id] = Status("PENDING")
        self.hurry()

    def forget(self, job_id: str) -> None:
        self.known.pop(job_id, None)

    def hurry(self) -> None:
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

    def cancel(self, job: jobs.ClusterJob[Status]) -> None:
        """Without waiting for Slurm, and whatever happens to this process."""
        command = ["sh", "-c", 'scancel --me "--name=$0" >/dev/null 2>&1 &', job.ask.name]
        subprocess.run(command, stdin=subprocess.DEVNULL, start_new_session=True)


class SlurmJob(jobs.ClusterJob[Status]):
    """A job that can leave its exit code in its folder."""

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


# What is submitted ---------------------------------------------------------------------------------------------------


def sbatch(name: str, log: Path, config: Mapping[str, Any], bad_nodes: Iterable[str] = ()) -> tuple[str, ...]:
    """The command that submits a script as a job."""
    wanted = {key: value for key, value in config.items() if key in OPTIONS}
    if excluded := [*jobs.as_words(wanted.get("exclude", ())), *sorted(bad_nodes)]:
        wanted["exclude"] = excluded
    options = []
    for key, value in wanted.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            options.append(option)
        elif value is not False and value is not None:
            options.append(f"{option}={','.join(jobs.as_words(value))}")
    place = str(log).replace("\\", "\\\\").replace("%", "%%") if Cluster.is_shared(config) else "/dev/null"
    return (
        "sbatch", "--parsable", "--no-requeue", "--open-mode=append", "--chdir=/", f"--job-name={name}",
        f"--output={place}", *options,
    )  # fmt: skip


def script(run_id: str, log: Path, config: Mapping[str, Any], folder: Path | None) -> str:
    """What the job does: the step, then its exit code into a file. The project is in `folder` (None: with its run)."""
    command = (
        config.get("command") or f"cd {shlex.quote(str(PROJECT))} && {shlex.quote(sys.executable)} -m pipeline.remote"
    )
    told = f"{command} {run_id}"
    if not Cluster.is_shared(config):
        return f"#!/bin/sh\n{told}\n"
    file = shlex.quote(str(log.with_name("exit_code")))
    told += f" --shared {shlex.quote(str(log.parent))}" + (f" --code {shlex.quote(str(folder))}" if folder else "")
    # The shell outlives a SIGTERM for all of the job, so that the step has the time to end that Slurm leaves it.
    return f"#!/bin/sh\ntrap : TERM\n{told}\ncode=$?\necho $code >{file}.part && mv {file}.part {file}\nexit $code\n"


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
    if ours and (kept := jobs.kept_here(database, local_artifacts)):
        if apart := [step.name for step in ours if not Cluster.is_shared(step.backend_config)]:
            problems.append(f"step {apart[0]} has shared: false, and what it needs is in {kept}; {jobs.REMEDY}")
        else:
            warnings.append(
                f"the nodes must see {kept} under the same path, with locks that hold across them; or {jobs.REMEDY}"
            )
    if problems:
        raise RequestError(problems)
    return warnings
