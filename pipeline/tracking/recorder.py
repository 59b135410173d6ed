"""Keeps the records of this pipeline run and its steps. All that is written to the store is written here."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_PROJECT_ENTRY_POINT,
    MLFLOW_PROJECT_ENV,
    MLFLOW_RUN_NAME,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from pipeline.config import Step
from pipeline.credentials import masked
from pipeline.files import RESERVED, printable
from pipeline.planning.decision import Decision, Result
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.reads import Reads, name_of
from pipeline.planning.reads import moved as paths_moved
from pipeline.states import RunStatus, State
from pipeline.tracking.artifacts import READS_ARTIFACT, TASK_ARTIFACT
from pipeline.tracking.history import History
from pipeline.tracking.liveness import is_dead, new_lease, renewing, this_process
from pipeline.tracking.provenance import git_state, source_tags, user
from pipeline.tracking.store import TrackingStore, if_there, paged
from pipeline.tracking.tags import (
    ATTEMPT,
    GIT_DIRTY,
    LEASE,
    METRICS,
    MOVED,
    NOTE,
    PIPELINE_RUN,
    PROCESS,
    READS,
    REASON,
    SECONDS,
    SIZES,
    STATE,
    STEP,
    TAG_LIMIT,
    as_metrics,
    as_params,
    as_tags,
    effects_of,
    fingerprint_tags,
    listing_text,
    metrics_digest,
    metrics_of,
    output_tags,
)

RUNNING_AT_ONCE = 1000  # runs left RUNNING that are asked for with one call


class Recorder:
    """The record of one pipeline run: `run_id` is "" until it has begun."""

    def __init__(self, store: TrackingStore, history: History, root: Path):
        self.store, self.client, self.history, self.artifacts = store, store.client, history, history.artifacts
        self.root = root
        self.run_id = ""
        self.run_ended = False
        self.git: dict[str, Any] = {}

    # The pipeline run ------------------------------------------------------------------------------------------------

    def begin(self, parameters: Mapping[str, str], tags: Mapping[str, str], config: str) -> str:
        """Start recording this pipeline run: in the run that `mlflow run` made for us, or in a new one."""
        self.git = git_state(self.root)
        commit = {MLFLOW_GIT_COMMIT: self.git["commit"]} if "commit" in self.git else {}
        tags = {
            PROCESS: this_process(),
            LEASE: new_lease(),
            STATE: "running",
            **commit,
            GIT_DIRTY: str(self.git.get("dirty", "")),
            **tags,
        }
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            self.run_id = run_id
            # MLflow keeps a Git remote as it is, with the token that may be in it.
            told = self.client.get_run(run_id).data.tags
            clean = {name: masked(value) for name, value in told.items() if masked(value) != value}
            self.client.log_batch(run_id, tags=as_tags(clean | tags))
        else:
            run = self.client.create_run(
                self.store.experiment_id, tags=source_tags() | tags, run_name=tags[MLFLOW_RUN_NAME]
            )
            self.run_id = run.info.run_id
            self.artifacts.known_runs[self.run_id] = run
            self.client.log_batch(self.run_id, params=as_params(parameters))
        self.artifacts.keep_text(self.run_id, config, "config.yaml")
        return self.run_id

    def end(self, status: RunStatus, files: Iterable[Path], metrics: Mapping[str, float], description: str) -> None:
        """Finish the pipeline run's record; the description, in Markdown, is what MLflow shows above all else."""
        for path in files:
            self.artifacts.keep(self.run_id, path)
        self.client.log_batch(
            self.run_id,
            metrics=as_metrics(metrics),
            tags=as_tags({STATE: status.lower(), NOTE: description[:TAG_LIMIT]}),
        )
        self.client.set_terminated(self.run_id, status)
        self.run_ended = True

    @contextlib.contextmanager
    def failed_on_error(self) -> Iterator[None]:
        """Close the record of a pipeline run that something unforeseen breaks off, as FAILED."""
        try:
            yield
        except BaseException:
            self.mark_failed()
            raise

    def mark_failed(self) -> None:
        """Close the record as FAILED, unless it is closed."""
        if self.run_id and not self.run_ended:
            self.client.log_batch(self.run_id, tags=as_tags({STATE: State.FAILED}))
            self.client.set_terminated(self.run_id, RunStatus.FAILED)

    def create_sweep(self) -> str:
        """A run that is the parent of several pipeline runs."""
        tags = {PROCESS: this_process(), LEASE: new_lease()} | source_tags()
        return str(self.client.create_run(self.store.experiment_id, tags=tags, run_name="sweep").info.run_id)

    def env_manager(self) -> str:
        """The environment manager that this pipeline was started with: `mlflow run` leaves it as a tag."""
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            return str(self.client.get_run(run_id).data.tags.get(MLFLOW_PROJECT_ENV, "local"))
        return "local"

    def alive(self) -> contextlib.AbstractContextManager[None]:
        """Renew the pipeline run's lease meanwhile."""

        def renew() -> None:
            self.client.set_tag(self.run_id, LEASE, new_lease())

        return renewing(renew)

    def mark_dead_runs_killed(self) -> list[str]:
        """Mark KILLED what died pipelines left RUNNING in this experiment; their run IDs."""
        running = paged(
            self.client.search_runs,
            experiment_ids=[self.store.experiment_id],
            filter_string="attributes.status = 'RUNNING'",
            max_results=RUNNING_AT_ONCE,
        )
        found = {run.info.run_id: run.data.tags for run in running}
        leases = {run_id: tags.get(LEASE, "") for run_id, tags in found.items()}
        left = []
        for run_id, tags in found.items():
            pipeline = tags.get(PIPELINE_RUN, run_id)  # which has the lease
            if pipeline not in leases:
                there = if_there(self.client.get_run, pipeline)
                leases[pipeline] = there.data.tags.get(LEASE, "") if there else ""
            if is_dead(tags.get(PROCESS, ""), leases[pipeline]):
                left.append(run_id)
        for run_id in left:
            self.client.log_batch(run_id, tags=as_tags({STATE: "killed", REASON: "its process died"}))
            self.client.set_terminated(run_id, RunStatus.KILLED)
        return left

    # Steps -----------------------------------------------------------------------------------------------------------

    def begin_step(self, step: Step, decision: Decision, attempt: int, folder: Path) -> str:
        """A run for a step, child of the pipeline run, with its parameters as they were given."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_USER: user(),
            MLFLOW_SOURCE_NAME: str(folder),
            MLFLOW_SOURCE_TYPE: "PROJECT",
            MLFLOW_PROJECT_ENTRY_POINT: step.entry_point,
            STEP: step.name,
            PIPELINE_RUN: self.run_id,
            PROCESS: this_process(),
            **fingerprint_tags(decision.fingerprint),
        } | ({ATTEMPT: str(attempt)} if attempt > 1 else {})
        run = self.client.create_run(self.store.experiment_id, tags=tags, run_name=step.name)
        self.artifacts.known_runs[run.info.run_id] = run
        self.client.log_batch(run.info.run_id, params=as_params(decision.parameters))
        return str(run.info.run_id)

    def keep_code(self, run_id: str, name: str, content: bytes) -> str:
        """Log the archive of a step's code with its run; the artifact's path."""
        path = f"{RESERVED}/{name}"
        self.artifacts.keep_bytes(run_id, content, path)
        return path

    def keep_task(self, run_id: str, task: str) -> None:
        """Leave with a step's run what another machine has to know of it, as JSON."""
        self.artifacts.keep_text(run_id, task, TASK_ARTIFACT)

    def adopt_step(self, run_id: str, step: Step, decision: Decision) -> None:
        """Make a run that another backend created a child of this pipeline run, named after its step."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_RUN_NAME: step.name,
            STEP: step.name,
            PIPELINE_RUN: self.run_id,
        }
        self.client.log_batch(run_id, tags=as_tags(tags | fingerprint_tags(decision.fingerprint)))

    def finish_step(
        self,
        run_id: str,
        step: Step,
        decision: Decision,
        log: Path,
        seconds: float,
        reads: Reads,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> Result:
        """Record a step that ended well: its log, the digest of each output and of what it read.

        `metrics`, `tags`: what it left to be logged, beside what it logged itself.

        From here on it can be reused, unless its code, an input or something it read `moved` while it ran.
        """
        self._log(run_id, log)
        run = self.artifacts.known_runs[run_id] = self.client.get_run(run_id)  # as it is now that the step has ended
        run.data.metrics.update(metrics)
        scratch = log.parent
        digests, listing = self.artifacts.digests(run_id, scratch / "outputs", scratch / "fetched")
        read = json.dumps(dict(reads.digests), sort_keys=True)
        if reads.digests:
            self.artifacts.keep_text(run_id, read, READS_ARTIFACT)
        moved = [printable(name_of(path, self.root)) for path in paths_moved(decision.looks)] + list(reads.moved)
        tags = {
            **tags,
            **output_tags(digests),
            METRICS: metrics_digest(run.data.metrics),
            # Too many for a tag: the artifact is read, and must be as it was written.
            READS: read if len(read) <= TAG_LIMIT else f"@{hashlib.sha256(read.encode()).hexdigest()}",
            SECONDS: f"{seconds:.3f}",
            STATE: MOVED if moved else State.EXECUTED,
        }
        if listing is not None and (text := listing_text(listing)):
            tags[SIZES] = text  # they are elsewhere, where looking at a listing is quicker than reading
        if run.info.status != RunStatus.FINISHED:
            self.client.set_terminated(run_id, RunStatus.FINISHED)
        self.client.log_batch(run_id, metrics=as_metrics(metrics), tags=as_tags(tags))
        run.data.tags.update(tags)
        self.history.forget_latest(step.name)
        return Result(
            step.name,
            run_id,
            digests,
            metrics_of(run),
            decision.fingerprint or Fingerprint(),
            reads=reads.digests,
            effects=effects_of(run.data.tags),
            seconds=seconds,
            note=run.data.tags.get(NOTE, ""),
            moved=tuple(moved),
        )

    def fail_step(self, run_id: str, log: Path, status: RunStatus, reason: str) -> None:
        """Record a step that did not end well, with its log, if that can be kept."""
        with contextlib.suppress(Exception):  # the store may be what failed
            self._log(run_id, log)
        self.history.forget_aliases()
        self.client.log_batch(run_id, tags=as_tags({STATE: status.lower(), REASON: reason[:TAG_LIMIT]}))
        self.client.set_terminated(run_id, status)

    def _log(self, run_id: str, log: Path) -> None:
        if log.is_file():
            self.artifacts.keep(run_id, log, RESERVED)

    def log_location(self, run_id: str, name: str) -> str:
        """Where a person finds a step's log."""
        return self.artifacts.location(run_id, f"{RESERVED}/{name}")
