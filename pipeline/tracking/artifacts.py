"""Where a run's artifacts are, and what is in them."""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException

from pipeline.files import content_digest
from pipeline.planning.reads import Look, looks
from pipeline.tracking.store import TrackingStore, local_path

RESERVED = "pipeline"  # the artifact folder that is ours, not the step's
READS_ARTIFACT = f"{RESERVED}/reads.json"


class Artifacts:
    """The artifacts in a store."""

    def __init__(self, store: TrackingStore):
        self.client = store.client
        self.known_runs: dict[str, Run] = {}  # as they were found: where a run's artifacts are does not change
        # Run ID or URI -> how its artifacts' files looked before this process digested them; none of what is elsewhere.
        self.looks: dict[str, dict[Path, Look | None]] = {}

    @contextlib.contextmanager
    def outputs(self, run_id: str) -> Iterator[dict[str, Path]]:
        """A run's top-level artifacts, logged models among them, as local paths (fetched where they are remote)."""
        with tempfile.TemporaryDirectory() as folder:
            run = self.known_runs.get(run_id) or self.client.get_run(run_id)
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
        models = []
        for output in run.outputs.model_outputs if run.outputs else []:
            with contextlib.suppress(MlflowException):  # deleted since
                models.append(self.client.get_logged_model(output.model_id))
        return models

    def digests(self, run_id: str) -> dict[str, str]:
        """SHA-256, in hex, of each of a run's top-level artifacts."""
        with self.outputs(run_id) as found:
            self.remember(run_id, found)
            return {name: content_digest(path) for name, path in found.items()}

    def remember(self, run_id: str, outputs: Mapping[str, Path]) -> None:
        """How a run's artifacts look, to be called before they are digested."""
        if local_path(self.known_runs[run_id].info.artifact_uri):
            self.looks[run_id] = looks(outputs.values())

    def digest_at(self, uri: str) -> str:
        """The digest of what a `runs:/` or `models:/` URI points at.

        Raises:
            LookupError: nothing is there.
        """
        if match := re.fullmatch(r"runs:/([^/]+)/([^/]+)(/.+)?", uri):
            with contextlib.suppress(MlflowException), self.outputs(match[1]) as found:
                path = Path(f"{found[match[2]]}{match[3] or ''}") if match[2] in found else None
                if path and path.exists():
                    self.looks[uri] = looks([path])
                    return content_digest(path)
            raise LookupError(f"there is nothing at {uri}; check the run and the path")
        try:
            with tempfile.TemporaryDirectory() as folder:
                match = re.fullmatch(r"models:/([^/@]+)/(\d+)", uri)
                place = self._version_folder(match[1], match[2]) if match else None
                if place:
                    self.looks[uri] = looks([place])
                return content_digest(place or Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)))
        except (MlflowException, OSError) as error:
            raise LookupError(
                f"there is nothing at {uri} ({str(error).splitlines()[0]}); check the name and version"
            ) from None

    def local(self, uri: str) -> Path | None:
        """Where an artifact `runs:/RUN_ID/PATH` of a known run lies on this machine; None where it is elsewhere."""
        match = re.fullmatch(r"runs:/(\w+)/(.+)", uri)
        run = self.known_runs.get(match[1]) if match else None
        place = local_path(run.info.artifact_uri) if run else None
        path = place / match[2] if place and match else None
        return path if path and path.exists() else None

    def _version_folder(self, name: str, version: str) -> Path | None:
        path = local_path(self.client.get_model_version_download_uri(name, version))
        return path if path and path.is_dir() else None

    def reads(self, run: Run, sha256: str) -> dict[str, str] | None:
        """What a run read, as its artifact says; None where that is not as it was written."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                place = local_path(run.info.artifact_uri)
                path = (
                    place / READS_ARTIFACT
                    if place
                    else Path(self.client.download_artifacts(run.info.run_id, READS_ARTIFACT, folder))
                )
                text = path.read_text(encoding="utf-8")
            except (MlflowException, OSError):
                return None
        return json.loads(text) if hashlib.sha256(text.encode()).hexdigest() == sha256 else None

    def location(self, run_id: str, path: str) -> str:
        """Where a person finds an artifact: its path, or its name and run where the store is elsewhere."""
        place = local_path(self.client.get_run(run_id).info.artifact_uri)
        return str(place / path) if place else f"artifact {path} of run {run_id}"

    def save(self, uri: str, target: Path) -> None:
        """Put the artifact at `uri` (a file) at `target`, whole: readers see the old one or the new one."""
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
            path = self.local(uri)
            copy = (
                shutil.copyfile(path, Path(folder, target.name))
                if path
                else Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
            )
            copy.replace(target)


def fetched(uri: str, target: Path) -> Path:
    """A local copy of remote artifacts."""
    target.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(MlflowException):  # a run without artifacts
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(target)))
    return target
