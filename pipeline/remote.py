"""Do a step here that was planned on another machine: `python -m pipeline.remote RUN_ID`.

It needs a tracking server (MLFLOW_TRACKING_URI) and nothing else: the step's task, its code, and the files that it
reads and that lay on the other machine are artifacts of its run. All that goes to standard output is what the step
writes, and the exit code is the step's; both are left with the run as well. When nobody waits for the step any more, it
is ended.

    --code FOLDER     the step's project, where it is here already: the run's own copy is not fetched
    --shared FOLDER   one that the other machine sees too: what the step makes and reads is told there, its log and exit
                      code by whoever started this
"""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.credentials import masked
from pipeline.errors import RequestError, StoreError
from pipeline.execution.environ import INPUTS, handed_on, step_environ
from pipeline.execution.launcher import Launcher, Process
from pipeline.execution.runner import POLL, Exit
from pipeline.execution.snapshot import unpack
from pipeline.execution.task import RemoteTask, Task, figures_left
from pipeline.files import PROJECT, copy_from
from pipeline.planning.fingerprint import compact, environment_changes, environment_of
from pipeline.states import ExitCode, RunStatus

if TYPE_CHECKING:
    from pipeline.tracking.remote_run import RemoteRun

SCHEDULER = ("SLURM*",)  # variables that tell programs such as MPI what they were given
GRACE = 5.0  # seconds that the step has between the request to stop and its end
FIRST_LOOK, LONGEST = 1.0, 30.0  # seconds between two looks whether anybody waits for the step


@dataclass(frozen=True)
class Arguments:
    """The command line."""

    run_id: str
    code: Path | None
    shared: Path | None


def parse(arguments: list[str]) -> Arguments:
    parser = argparse.ArgumentParser("python -m pipeline.remote", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_id", metavar="RUN_ID")
    parser.add_argument("--code", type=Path, metavar="FOLDER")
    parser.add_argument("--shared", type=Path, metavar="FOLDER")
    return Arguments(**vars(parser.parse_args(arguments)))


def main(arguments: list[str]) -> int:
    """Do the step; its exit code, 2 where it could not be begun."""
    asked = parse(arguments)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would be the step's last words
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    launcher = Launcher()
    launcher.import_base_modules()
    launcher.start_server(())  # while there are neither threads nor connections
    with contextlib.closing(launcher), tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
        try:
            return do(asked, launcher, Path(scratch).resolve())
        except (RequestError, StoreError) as error:
            print(masked(str(error)), file=sys.stderr)
            return ExitCode.REFUSED


def do(asked: Arguments, launcher: Launcher, scratch: Path) -> int:
    """`main`, in a folder of its own.

    Raises:
        RequestError, StoreError: the step could not be begun, or its end not be recorded.
    """
    from pipeline.execution.worker import run_step
    from pipeline.tracking.remote_run import RemoteRun

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    run = RemoteRun(asked.run_id)
    told = RemoteTask(**json.loads(run.task(scratch)))
    try:
        check_environment(told)
        task = as_task(told, run, asked.code or unpacked(run, told, scratch), asked.shared or scratch, scratch)
    except (RequestError, StoreError) as error:
        if not asked.shared:
            (log := scratch / f"{told.step}.log").write_text(f"{masked(str(error))}\n", encoding="utf-8")
            run.leave(log, ExitCode.REFUSED)
        raise
    process = launcher.start(run_step, task)
    exit, unwanted = attend(process, Path(task.log), run.is_wanted)
    code = 128 - exit.code if exit.code < 0 else exit.code
    if unwanted:
        run.end(RunStatus.KILLED, unwanted)
    if not asked.shared:
        run.leave(Path(task.log), code, **figures_left(scratch))
    return code


def check_environment(told: RemoteTask) -> None:
    """What the step was planned with must be here, or its result would count as another's.

    Raises:
        RequestError: it is not.
    """
    here = environment_of(told.env_manager, "local", {}, told.toolchain)
    paths = {"PYTHONPATH"}  # which may be elsewhere on another machine
    before, now = ({k: v for k, v in part.items() if k not in paths} for part in (told.environment, compact(here)))
    if changes := environment_changes(before, now):
        raise RequestError(
            f"{told.step}: {changes[0]}; install here what is there (requirements.lock), or set env_manager: uv"
        )


def unpacked(run: "RemoteRun", told: RemoteTask, scratch: Path) -> Path:
    """The step's project, from the archive that its run has."""
    if not told.code:
        raise RequestError(f"{told.step}: its code is not with its run; name a folder that has it with --code")
    try:
        unpack(run.fetch(told.code, scratch), scratch / told.step)
    except ValueError as error:
        raise RequestError(f"{told.step}: {error}") from None
    return scratch / told.step


def as_task(told: RemoteTask, run: "RemoteRun", folder: Path, scratch: Path, temporary: Path) -> Task:
    """The step as a process of this machine is told of it, with the files that it reads.

    What is of interest later goes to `scratch`: what it makes, says and reads.
    """
    files = {name: str(run.fetch(artifact, temporary / "inputs" / name)) for name, artifact in told.inputs.items()}
    environ = handed_on(os.environ, [*told.pass_env, *SCHEDULER]) | dict(told.env)
    environ = step_environ(environ, scratch, temporary, [*told.ignored, str(scratch)])
    known = {name: {"uri": told.requested[name]} for name in told.inputs}
    (scratch / INPUTS).write_text(json.dumps(known), encoding="utf-8")
    return Task(
        folder=str(folder),
        entry_point=told.entry_point,
        parameters={**told.parameters, **files},
        requested=told.requested,
        run_id=run.run_id,
        artifact_uri=run.artifact_uri,
        experiment_id=run.experiment_id,
        tracking_uri=run.uri,
        env_manager=told.env_manager,
        backend="local",
        backend_config={},
        log=str(temporary / f"{told.step}.log"),
        scratch=str(scratch),
        root=str(PROJECT),
        verbose=told.verbose,
        environ=environ,
        in_process=not told.env,
    )


def attend(process: Process, log: Path, is_wanted: Callable[[], bool]) -> tuple[Exit, str]:
    """Pass on what the step writes, until it ends: how that was, and why nobody wanted it any more, if so.

    SIGTERM, SIGINT and SIGHUP are passed on to it, too.
    """
    stopping: list[str] = []
    unwanted: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopping.append(f"ended by {signal.Signals(number).name}"))
    threading.Thread(target=look, args=(is_wanted, unwanted), daemon=True).start()
    position, kill_at = 0, float("inf")
    while True:
        exit = process.ended()
        position = copy_from(log, position, sys.stdout.buffer)
        if exit:
            process.stop(force=True)  # what the step may have left running
            return exit, "".join(unwanted)
        if (stopping or unwanted) and kill_at == float("inf"):
            kill_at = time.monotonic() + GRACE
            process.stop()
        elif time.monotonic() > kill_at:
            process.stop(force=True)
        wait([process.sentinel], timeout=POLL)


def look(is_wanted: Callable[[], bool], unwanted: list[str]) -> None:
    """Ask at growing intervals whether anybody waits for the step; a store that does not answer says nothing."""
    pause = FIRST_LOOK
    while not unwanted:
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)
        with contextlib.suppress(Exception):
            if not is_wanted():
                unwanted.append("nobody waits for it any more")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
