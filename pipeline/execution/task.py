"""What a step's process is told, and leaves: plain values, since they go to another process, at times as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Figures = dict[str, dict[str, Any]]  # "metrics" and "tags", each by their names


@dataclass(frozen=True)
class Task:
    """All that a step's process has to know."""

    folder: str
    entry_point: str
    parameters: Mapping[str, str]
    requested: Mapping[str, str]  # the same before files were named by their paths here
    run_id: str  # "" where the backend makes the run
    artifact_uri: str  # of that run
    experiment_id: str
    tracking_uri: str
    env_manager: str
    backend: str
    backend_config: Mapping[str, Any]
    log: str  # a file that everything the step writes goes to
    scratch: str  # a folder of this step's, for what MLflow downloads
    root: str  # the folder of the orchestrator
    verbose: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = True  # a plain Python script may run in the fork; its own variables want a fresh interpreter
    # What its script imports beyond MLflow, if that is no MLflow: the script server, if there is one, runs it.
    script_modules: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)  # parameter -> a folder here, of which it gets a copy


@dataclass(frozen=True)
class PrewarmTask:
    """What there is to know of a step before its inputs are there."""

    task: Task  # its run and its parameters are not known yet
    modules: tuple[str, ...]  # to be imported beside those that its script imports
    task_file: str  # the whole task as JSON, without `environ`, once it is known
    ready_file: str  # made once all imports are done


@dataclass(frozen=True)
class RemoteTask:
    """What another machine has to know of a step: `pipeline/task.json` of its run, so that no secret may be in it."""

    step: str
    entry_point: str
    parameters: Mapping[str, str]
    requested: Mapping[str, str]  # as of a Task
    inputs: Mapping[str, str]  # parameter -> the run's artifact that it is to name a local copy of
    code: str  # the run's artifact with the step's folder; "" where that is too large: it must be there
    env_manager: str
    env: Mapping[str, str]  # the step's own variables
    pass_env: tuple[str, ...]  # the names (with *) of others that it gets, of those that are there
    toolchain: tuple[str, ...]
    environment: Mapping[str, str]  # what it was planned with, as its fingerprint has it
    ignored: tuple[str, ...]  # files and folders whose reading does not count
    verbose: bool = False


@dataclass(frozen=True)
class Submission:
    """What it takes to hand a step to a cluster."""

    folder: str  # the step's project
    env_manager: str  # whose environment is built before, on this machine; "": none is
    run_id: str
    tracking_uri: str
    uploads: Mapping[str, str]  # a folder among the run's artifacts -> the file, or folder's content, that goes there
    name: str  # the job's
    command: tuple[str, ...]  # that submits a script, which it reads, and prints a job's ID; (): who watches it does
    script: str
    environ: Mapping[str, str] = field(repr=False)  # the job's; may be secret
    log: str
    job_file: str  # gets the job's ID


def leave_figures(folder: Path, figures: Figures) -> None:
    """Write what the step left in its $STEP_OUTPUTS into its scratch `folder`, for whoever records the step."""
    (folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


def figures_left(folder: Path) -> Figures:
    """What the step left in its scratch `folder`; nothing where it logged by itself."""
    file = folder / "figures.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"metrics": {}, "tags": {}}
