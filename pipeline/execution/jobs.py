"""From what another machine is told of a step to what a cluster is asked."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.execution import slurm
from pipeline.execution.environ import TEMPORARY
from pipeline.execution.task import RemoteTask, Submission
from pipeline.tracking.artifacts import RESERVED


def as_text(told: RemoteTask) -> str:
    """A task as its run has it: JSON."""
    return json.dumps(asdict(told), indent=1, sort_keys=True)


def name(told: RemoteTask, run_id: str) -> str:
    """A job's, by which it is cancelled: no two are the same."""
    return f"{told.step}-{run_id}"


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
    told: RemoteTask,
    run_id: str,
    uri: str,
    config: Mapping[str, Any],
    folder: Path,
    log: Path,
    files: Mapping[str, Path],
    environ: Mapping[str, str],
    bad_nodes: Iterable[str] = (),
    is_seen: bool = True,
) -> Submission:
    """What it takes to have Slurm do a step with this `backend_config`.

    `uri` is the store's, `files` are to be uploaded; `is_seen`: whether the nodes see `folder`, the project, if any.
    """
    return Submission(
        folder=str(folder),
        env_manager=told.env_manager,
        run_id=run_id,
        tracking_uri=uri,
        uploads={folder_of(parameter): str(path) for parameter, path in files.items()},
        command=slurm.sbatch(name(told, run_id), log, config, bad_nodes),
        script=slurm.script(run_id, log, config, folder if is_seen else None),
        environ={n: value for n, value in environ.items() if n not in TEMPORARY} | {"MLFLOW_TRACKING_URI": uri},
        log=str(log),
        job_file=str(slurm.job_file(log)),
    )
