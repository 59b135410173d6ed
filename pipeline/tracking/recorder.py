"""The one place that speaks to MLflow's tracking store: finds earlier results, keeps records of this run."""

import contextlib
import getpass
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import psutil
from filelock import FileLock
from mlflow.entities import LoggedModel, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
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
from pipeline.errors import RequestError
from pipeline.planning.fingerprint import PARTS, Fingerprint, digest
from pipeline.planning.planner import Decision, Result

# Tags of ours. A step's run is good only once `pipeline.state` is there: it is written last, with the digests.
STEP, STATE, FINGERPRINT = "pipeline.step", "pipeline.state", "pipeline.fingerprint"
OUTPUT, PIPELINE_RUN, PROCESS, ATTEMPT = "pipeline.output.", "pipeline.run", "pipeline.process", "pipeline.attempt"
RESERVED = "pipeline"  # the artifact folder that is ours, not the step's
TAG_LIMIT = 8000  # characters that MLflow keeps of a tag


class Tracking:
    """A tracking store, one experiment of it, and the pipeline run that is being recorded."""

    def __init__(self, root: Path):
        self.root = root
        self.uri = absolute(mlflow.get_tracking_uri())
        mlflow.set_tracking_uri(self.uri)  # as it is now, absolute: the steps work in other folders
        try:
            with store_lock(self.uri):
                self.client = mlflow.MlflowClient()
                self.experiment_id = self._experiment_id()
        except MlflowException as error:
            why = str(error).splitlines()[0]
            raise RequestError(f"cannot use the tracking store {without_password(self.uri)} ({why})") from error
        self.run_id = ""
        self.run_ended = False
        self.git: dict[str, Any] = {}
        self._latest: dict[str, Result | None] = {}
        self._runs: dict[str, Run] = {}  # as they were found: where a result's artifacts are does not change

    def _experiment_id(self) -> str:
        """The experiment that the environment names, as MLflow reads it; never one of our own choosing."""
        if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            if experiment := self.client.get_experiment_by_name(name):
                return experiment.experiment_id
            return self.client.create_experiment(name)
        found = os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
        self.client.get_experiment(found)  # opens the store, and says so where the experiment is not there
        return found

    # -- looking up -----------------------------------------------------------------------------------------------

    def look_back(self, steps: int) -> None:
        """Take in the newest good runs of the experiment with one query instead of one for each of so many steps."""
        for result in self._search("", 2 * steps):
            self._latest.setdefault(result.step, result)

    def open_registry(self) -> None:
        """Open the model registry before a step has to wait for that."""
        with contextlib.suppress(MlflowException):
            self.client.search_registered_models(max_results=1)

    def latest(self, step: str) -> Result | None:
        """The step's latest good run in this experiment."""
        if step not in self._latest:
            self._latest[step] = next(iter(self._search(f"tags.`{STEP}` = '{step}' and ", 1)), None)
        return self._latest[step]

    def matching(self, step: str, fingerprint: Fingerprint) -> Iterator[Result]:
        """The step's good runs with this fingerprint, newest first; a few are enough."""
        latest = self.latest(step)
        if latest and latest.fingerprint == fingerprint:
            yield latest
        for result in self._search(
            f"tags.`{FINGERPRINT}` = '{fingerprint.digest}' and tags.`{STEP}` = '{step}' and ", 3
        ):
            if not latest or result.run_id != latest.run_id:
                yield result

    def _search(self, condition: str, limit: int) -> list[Result]:
        runs = self.client.search_runs(
            [self.experiment_id],
            f"{condition}tags.`{STATE}` = 'executed' and attributes.status = 'FINISHED'",
            max_results=limit,
            order_by=["attributes.end_time DESC"],
        )
        self._runs |= {run.info.run_id: run for run in runs}
        return [as_result(run) for run in runs]

    def damage(self, result: Result) -> str:
        """What is wrong with a result's artifacts in the store, in words; "" where they are as they were made."""
        with self.outputs(result.run_id) as found:
            for name, sha256 in result.outputs.items():
                if name not in found:
                    return f"{name} of run {result.run_id[:8]} is no longer in the store"
                if digest(found[name]) != sha256:
                    return f"{name} of run {result.run_id[:8]} was altered in the store"
        return ""

    @contextlib.contextmanager
    def outputs(self, run_id: str) -> Iterator[dict[str, Path]]:
        """A run's top-level artifacts, logged models among them, as local paths (fetched where they are remote)."""
        with tempfile.TemporaryDirectory() as folder:
            run = self._runs.get(run_id) or self.client.get_run(run_id)
            found = {}
            places = [(None, run.info.artifact_uri)] + [(m.name, m.artifact_location) for m in self._models(run)]
            for name, uri in places:
                place = local_path(uri) or fetched(uri, Path(folder, name or "artifacts"))
                if name and place.is_dir():
                    found[name] = place
                elif place.is_dir():
                    found |= {path.name: path for path in sorted(place.iterdir()) if path.name != RESERVED}
            yield found

    def _models(self, run: Run) -> list[LoggedModel]:
        made = run.outputs.model_outputs if run.outputs else []
        models = []
        for output in made:
            with contextlib.suppress(MlflowException):  # deleted since
                models.append(self.client.get_logged_model(output.model_id))
        return models

    def artifact_digest(self, uri: str) -> str:
        """The digest of what a `runs:/` or `models:/` URI points at.

        Raises:
            LookupError: nothing is there.
        """
        if match := re.fullmatch(r"runs:/([^/]+)/([^/]+)(/.+)?", uri):
            with contextlib.suppress(MlflowException), self.outputs(match[1]) as found:
                path = Path(f"{found[match[2]]}{match[3] or ''}") if match[2] in found else None
                if path and path.exists():
                    return digest(path)
            raise LookupError(f"there is nothing at {uri}; check the run and the path")
        try:
            with tempfile.TemporaryDirectory() as folder:
                match = re.fullmatch(r"models:/([^/@]+)/(\d+)", uri)
                place = self._version_folder(*match.groups()) if match else None
                return digest(place or Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)))
        except (MlflowException, OSError) as error:
            raise LookupError(
                f"there is nothing at {uri} ({str(error).splitlines()[0]}); check the name and version"
            ) from None

    def _version_folder(self, name: str, version: str) -> Path | None:
        path = local_path(self.client.get_model_version_download_uri(name, version))
        return path if path and path.is_dir() else None

    def model_version(self, name: str, alias: str) -> str | None:
        """The version of a registered model that carries the alias."""
        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException:
            return None

    # -- keeping records ------------------------------------------------------------------------------------------

    def begin(self, parameters: Mapping[str, str], tags: Mapping[str, str], config: str) -> str:
        """Start recording this pipeline run: in the run that `mlflow run` made for us, or in a new one."""
        self.git = git_state(self.root)
        commit = {MLFLOW_GIT_COMMIT: self.git["commit"]} if "commit" in self.git else {}
        tags = {
            PROCESS: this_process(),
            STATE: "running",
            **commit,
            "pipeline.git_dirty": str(self.git.get("dirty", "")),
            **tags,
        }
        given = os.environ.get("MLFLOW_RUN_ID")
        if given:
            self.run_id = given
            self.client.log_batch(given, tags=as_tags(tags | {MLFLOW_RUN_NAME: "pipeline"}))
        else:
            self.run_id = self.client.create_run(
                self.experiment_id, tags=source_tags() | tags, run_name=tags.get(MLFLOW_RUN_NAME, "pipeline")
            ).info.run_id
            self.client.log_batch(self.run_id, params=as_params(parameters))
        self.client.log_text(self.run_id, config, "config.yaml")
        return self.run_id

    def end(self, status: str, files: Iterable[Path], metrics: Mapping[str, float]) -> None:
        """Finish the pipeline run's record: `status` FINISHED, FAILED or KILLED."""
        for path in files:
            self.client.log_artifact(self.run_id, str(path))
        self.client.log_batch(self.run_id, metrics=as_metrics(metrics), tags=as_tags({STATE: status.lower()}))
        self.client.set_terminated(self.run_id, status)
        self.run_ended = True

    def abandon(self) -> None:
        """Close the record of a pipeline run that something unforeseen broke off."""
        if not self.run_ended:
            self.client.log_batch(self.run_id, tags=as_tags({STATE: "failed"}))
            self.client.set_terminated(self.run_id, "FAILED")

    def create_sweep(self) -> str:
        """A run that is the parent of several pipeline runs."""
        tags = {PROCESS: this_process()} | source_tags()
        return self.client.create_run(self.experiment_id, tags=tags, run_name="sweep").info.run_id

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
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=step.name)
        self.client.log_batch(run.info.run_id, params=as_params(decision.parameters))
        return run.info.run_id

    def adopt_step(self, run_id: str, step: Step, decision: Decision) -> None:
        """Make a run that another backend created a child of this pipeline run, named after its step."""
        tags = {
            MLFLOW_PARENT_RUN_ID: self.run_id,
            MLFLOW_RUN_NAME: step.name,
            STEP: step.name,
            PIPELINE_RUN: self.run_id,
        }
        self.client.log_batch(run_id, tags=as_tags(tags | fingerprint_tags(decision.fingerprint)))

    def finish_step(self, run_id: str, step: Step, decision: Decision, log: Path, seconds: float) -> Result:
        """Record a step that ended well: its log, the digest of each output; from here on it can be reused."""
        self._log(run_id, log)
        self._runs[run_id] = self.client.get_run(run_id)  # as it is now that the step has ended
        with self.outputs(run_id) as found:
            digests = {name: digest(path) for name, path in found.items()}
        tags = {OUTPUT + name: sha256 for name, sha256 in digests.items()} | {STATE: "executed"}
        self.client.set_terminated(run_id, "FINISHED")
        self.client.log_batch(run_id, tags=as_tags(tags | {"pipeline.seconds": f"{seconds:.3f}"}))
        self._latest.pop(step.name, None)
        return Result(step.name, run_id, digests, self._runs[run_id].data.metrics, decision.fingerprint, seconds)

    def fail_step(self, run_id: str, log: Path, status: str, reason: str) -> None:
        """Record a step that did not end well, as FAILED or KILLED, with its log."""
        self._log(run_id, log)
        self.client.log_batch(run_id, tags=as_tags({STATE: status.lower(), "pipeline.reason": reason[:TAG_LIMIT]}))
        self.client.set_terminated(run_id, status)

    def _log(self, run_id: str, log: Path) -> None:
        if log.is_file():
            self.client.log_artifact(run_id, str(log), RESERVED)

    def log_location(self, run_id: str, name: str) -> str:
        """Where a person finds a step's log: its path, or the artifact of its run where the store is elsewhere."""
        place = local_path(self.client.get_run(run_id).info.artifact_uri)
        return str(place / RESERVED / name) if place else f"artifact {RESERVED}/{name} of run {run_id}"

    def save(self, uri: str, target: Path) -> None:
        """Put the artifact at `uri` (a file) at `target`, whole: readers see the old one or the new one."""
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
            Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)).replace(target)

    def repair(self) -> list[str]:
        """Mark KILLED what died pipelines of this machine left RUNNING in this experiment; their run IDs."""
        running = self.client.search_runs([self.experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
        left = [run for run in running if is_dead(run.data.tags.get(PROCESS, ""))]
        for run in left:
            self.client.log_batch(
                run.info.run_id, tags=as_tags({STATE: "killed", "pipeline.reason": "its process died"})
            )
            self.client.set_terminated(run.info.run_id, "KILLED")
        return [run.info.run_id for run in left]

    def started_with(self) -> str:
        """The environment manager that this pipeline was started with: `mlflow run` leaves it as a tag."""
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            return self.client.get_run(run_id).data.tags.get(MLFLOW_PROJECT_ENV, "local")
        return "local"


def store_lock(uri: str) -> contextlib.AbstractContextManager:
    """Two processes that open a new SQLite store at the same moment would both make its tables."""
    if not uri.startswith("sqlite:///"):
        return contextlib.nullcontext()
    path = Path(uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


def absolute(uri: str) -> str:
    """A relative SQLite file as an absolute one: each step, in its own folder, would make a database of its own."""
    path = uri.removeprefix("sqlite:///")
    return uri if path == uri or Path(path).is_absolute() else f"sqlite:///{Path(path).resolve()}"


def without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", uri)


def as_result(run: Run) -> Result:
    tags = run.data.tags
    return Result(
        step=tags[STEP],
        run_id=run.info.run_id,
        outputs={name.removeprefix(OUTPUT): value for name, value in tags.items() if name.startswith(OUTPUT)},
        metrics=run.data.metrics,
        fingerprint=as_fingerprint(tags),
        seconds=float(tags.get("pipeline.seconds", 0)),
        when=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.info.end_time / 1000)),
    )


def fingerprint_tags(fingerprint: Fingerprint) -> dict[str, str]:
    """The fingerprint, and its parts for telling later what changed."""
    parts = {f"{FINGERPRINT}.{part}": json.dumps(dict(getattr(fingerprint, part)), sort_keys=True) for part in PARTS}
    return {FINGERPRINT: fingerprint.digest, f"{FINGERPRINT}.entry_point": fingerprint.entry_point} | parts


def as_fingerprint(tags: Mapping[str, str]) -> Fingerprint:
    """What `fingerprint_tags` wrote; of a run by another release, one that equals none of today's."""
    try:
        parts = {part: json.loads(tags[f"{FINGERPRINT}.{part}"]) for part in PARTS}
        return Fingerprint(entry_point=tags[f"{FINGERPRINT}.entry_point"], **parts)
    except (KeyError, ValueError):
        return Fingerprint()


def local_path(uri: str) -> Path | None:
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def fetched(uri: str, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(MlflowException):  # a run without artifacts
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target)))
    return target


def as_tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in tags.items()]


def as_params(parameters: Mapping[str, str]) -> list[Param]:
    return [Param(key, value[:6000]) for key, value in parameters.items()]


def as_metrics(metrics: Mapping[str, float]) -> list[Metric]:
    now = int(time.time() * 1000)
    return [Metric(key, value, now, 0) for key, value in metrics.items()]


def this_process() -> str:
    """This machine, process and its start time: enough to tell later whether it still lives."""
    return f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time():.2f}"


def is_dead(process: str) -> bool:
    """Whether a process of this machine, named as by `this_process`, is no more."""
    host, _, rest = process.partition(" ")
    if host != socket.gethostname() or not rest:
        return False
    pid, started = rest.split()
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1
    except psutil.NoSuchProcess:
        return True


def git_state(root: Path) -> dict[str, Any]:
    """The commit of the project's work tree and whether anything in it differs; {} where there is none."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD")
    except FileNotFoundError:
        return {}
    return {"commit": commit, "dirty": git("status", "--porcelain") != ""} if commit else {}


def source_tags() -> dict[str, str]:
    """Who and what started a run that is not an MLflow project's."""
    return {MLFLOW_USER: user(), MLFLOW_SOURCE_NAME: "main.py", MLFLOW_SOURCE_TYPE: "LOCAL"}


def user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


if __name__ == "__main__":  # make the store's tables, once, whoever asks at the same moment
    Tracking(Path.cwd())
