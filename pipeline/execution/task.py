"""What a step's process is told: plain values, since they go to another process, at times as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TOLD = "told.json"  # in a step's scratch folder: the metrics and tags that it left in its $STEP_OUTPUTS


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


@dataclass(frozen=True)
class PrewarmTask:
    """What there is to know of a step before its inputs are there."""

    task: Task  # its run and its parameters are not known yet
    modules: tuple[str, ...]  # to be imported beside those that its script imports
    task_file: str  # the whole task as JSON, without `environ`, once it is known
    ready_file: str  # made once all imports are done
