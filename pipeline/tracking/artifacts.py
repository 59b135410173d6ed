"""Where a run's artifacts are, and what is in them."""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from mlflow.entities import LoggedModel, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.credentials import masked
from pipeline.errors import StoreError
from pipeline.files import RESERVED, UNFINISHED, content_digest, owned
from pipeline.planning.reads import Look, looks
from pipeline.tracking.store import NOT_THERE, TrackingStore, first_line, if_there, local_path
from pipeline.tracking.tags import SIZES, Listed, Listing, listing_of, outputs_of

PAUSES = (0.5, 2.0)  # seconds before a further try to read, after MLflow's own
ETAG = 16  # characters of an ETag that are kept: tags are short
T = TypeVar("T")
READS_ARTIFACT = f"{RESERVED}/reads.json"
TASK_ARTIFACT = f"{RESERVED}/task.json"  # what another machine has to know of a step


class Artifacts:
    """The artifacts in a store."""

    def __init__(self, store: TrackingStore, verify_content: bool = False):
        """`verify_content`: read what is elsewhere too, where a listing is known and would do."""
        self.client, self.verify_content = store.client, verify_content
        self.known_runs: dict[str, Run] = {}  # as they were found: where a run's artifacts are does not change
        # Run ID or URI -> how its artifacts' files looked before this process digested them; none of what is elsewhere.
        self.looks: dict[str, dict[Path, Look | None]] = {}
        # Run ID -> what this pipeline has of a run's outputs that are elsewhere, by name, and how each copy looked.
        self.copies: dict[str, dict[str, tuple[Path, dict[Path, Look | None]]]] = {}
        self.folders: dict[str, Path] = {}  # URI -> the folder on this machine that was digested for it
        self.listings: dict[str, Listing] = {}  # of logged models that were looked at, by URI
        self.versions: dict[str, str] = {}  # digests of model versions that are elsewhere, by URI: they do not change

    @contextlib.contextmanager
    def outputs(self, run_id: str) -> Iterator[dict[str, Path]]:
        """A run's top-level artifacts, logged models among them, as local paths (fetched where they are remote)."""
        with contextlib.ExitStack() as folders:
            run = self.known_runs.get(run_id) or self.client.get_run(run_id)
            found = {}
            for name, uri in self._places(run):
                place = local_path(uri) or fetch(uri, Path(folders.enter_context(tempfile.TemporaryDirectory())))
                if name and place.is_dir():
                    found[name] = place
                elif place.is_dir():
                    found |= {path.name: path for path in sorted(place.iterdir()) if path.name != RESERVED}
            yield found

    def _places(self, run: Run) -> list[tuple[str | None, str]]:
        """Where a run's artifacts are, and each of its logged models by name."""
        return [(None, run.info.artifact_uri), *((m.name, m.artifact_location) for m in self._models(run))]

    def listing(self, run: Run) -> Listing | None:
        """A run's files that are elsewhere, models' too; None where they are on this machine.

        Raises:
            StoreError: they cannot be listed.
        """
        if local_path(run.info.artifact_uri):
            return None
        found: Listing = {}
        for name, uri in self._places(run):
            if local_path(uri):
                return None
            listing = listing_at(uri)
            if name:
                self.listings[uri] = listing
            found |= {f"{name}/{path}" if name else path: one for path, one in listing.items()}
        return found

    def _models(self, run: Run) -> list[LoggedModel]:
        models = []
        for output in run.outputs.model_outputs if run.outputs else []:
            if model := if_there(self.client.get_logged_model, output.model_id):  # else deleted since
                models.append(model)
        return models

    def digests(self, run_id: str, made: Path, fetched: Path) -> tuple[dict[str, str], Listing | None]:
        """SHA-256, in hex, of each of a run's top-level artifacts; the files as listed, None where they are here.

        Artifacts elsewhere are not read where the same files are in the folder `made`, from which they were written;
        else they are fetched to the folder `fetched`. Steps to come get these copies.
        """
        run = self.known_runs[run_id]
        listing = self.listing(run)
        if listing is None:
            with self.outputs(run_id) as found:
                self.remember(run_id, found)
                return {name: content_digest(path) for name, path in found.items()}, None
        if not is_copy(made, listing):
            for name, uri in self._places(run):
                fetch(uri, fetched / (name or ""))
            made = fetched
        copies = {name: made / name for name in dict.fromkeys(path.partition("/")[0] for path in listing)}
        self.copies[run_id] = {name: (path, looks([path])) for name, path in copies.items()}
        return {name: content_digest(path) for name, path in copies.items()}, listing

    def remember(self, run_id: str, outputs: Mapping[str, Path]) -> None:
        """How a run's artifacts look, to be called before they are digested."""
        if local_path(self.known_runs[run_id].info.artifact_uri):
            self.looks[run_id] = looks(outputs.values())
            self.folders |= {f"runs:/{run_id}/{name}": path for name, path in outputs.items() if path.is_dir()}

    def at_hand(self, uri: str) -> Path | None:
        """What there is of `runs:/RUN_ID/PATH` on this machine: where it lies, or an unaltered copy; None: nothing."""
        match = re.fullmatch(r"runs:/(\w+)/([^/]+)(/.+)?", uri)
        copy, seen = self.copies.get(match[1], {}).get(match[2], (None, {})) if match else (None, {})
        if not match or not copy or looks([copy]) != seen:  # a step that was given it wrote to it
            return self.local(uri)
        path = Path(f"{copy}{match[3] or ''}")
        return path if path.exists() else None

    def digest_at(self, uri: str) -> str:
        """The digest of what a `runs:/` or `models:/` URI points at.

        Raises:
            LookupError: nothing is there.
        """
        if match := re.fullmatch(r"runs:/([^/]+)/([^/]+)(/.+)?", uri):
            if if_there(self.client.get_run, match[1]):
                with self.outputs(match[1]) as found:
                    path = Path(f"{found[match[2]]}{match[3] or ''}") if match[2] in found else None
                    if path and path.exists():
                        self.looks[uri] = looks([path])
                        if path.is_dir():
                            self.folders[uri] = path
                        return content_digest(path)
            raise LookupError(f"there is nothing at {uri}; check the run and the path")
        if uri in self.versions:
            return self.versions[uri]
        with tempfile.TemporaryDirectory() as folder:
            match = re.fullmatch(r"models:/([^/@]+)/(\d+)", uri)
            if match and not self.verify_content and (digest := self._recorded_digest(*match.groups())):
                self.versions[uri] = digest
                return digest
            source = if_there(self.client.get_model_version_download_uri, match[1], match[2]) if match else uri
            if source is None:
                raise LookupError(f"there is nothing at {uri}; check the name and version")
            place = local_path(source) if match else None
            if place and place.is_dir():
                self.looks[uri] = looks([place])
                return content_digest(place)
            try:
                digest = content_digest(Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)))
                if match:
                    self.versions[uri] = digest
                return digest
            except Exception as error:  # of whatever library reads there
                gone = isinstance(error, OSError) and not hasattr(error, "response")  # which requests' have
                if place or gone or getattr(error, "error_code", "") in NOT_THERE:
                    raise LookupError(
                        f"there is nothing at {uri} ({first_line(error)}); check the name and version"
                    ) from None
                raise no_read(uri, error) from error

    def folder(self, uri: str) -> Path | None:
        """Where the folder lies on this machine that a `runs:/` URI points at, if it was digested.

        Not of `models:/`, where MLflow says in a further file which version it is.
        """
        place = self.folders.get(uri)
        return place if place and place.is_dir() else None  # what was fetched from elsewhere is gone again

    def _recorded_digest(self, name: str, version: str) -> str:
        """The digest of a model version elsewhere, as the run that made it has it, if its files are listed as then."""
        found = if_there(self.client.get_model_version, name, version)
        run = self._known_run(found.run_id) if found and found.run_id else None
        if not found or not run or SIZES not in run.data.tags:
            return ""
        files = listing_of(run.data.tags[SIZES])
        for model in self._models(run):
            if found.source == f"models:/{model.model_id}" and not local_path(model.artifact_location):
                then = {path: one for path, one in files.items() if path.startswith(f"{model.name}/")}
                uri = model.artifact_location
                listing = self.listings.pop(uri, None) or listing_at(uri)  # a moment ago, when the run was looked at
                now = {f"{model.name}/{path}": one for path, one in listing.items()}
                same = not differing(then, now) and same_etags(then, now)
                return outputs_of(run.data.tags).get(model.name, "") if same else ""
        return ""

    def local(self, uri: str) -> Path | None:
        """Where an artifact `runs:/RUN_ID/PATH` of a known run lies on this machine; None where it is elsewhere."""
        match = re.fullmatch(r"runs:/(\w+)/(.+)", uri)
        run = self.known_runs.get(match[1]) if match else None
        place = local_path(run.info.artifact_uri) if run else None
        path = place / match[2] if place and match else None
        return path if path and path.exists() else None

    def places(self, run_id: str, step: str, outputs: Iterable[str]) -> dict[str, Path]:
        """Where the outputs of a step's run, and its log, lie on this machine, by name; those that do."""
        if not (run_id and self._known_run(run_id)):
            return {}
        found = {name: self.local(f"runs:/{run_id}/{name}") for name in (*outputs, f"{RESERVED}/{step}.log")}
        return {name: place for name, place in found.items() if place}

    def _known_run(self, run_id: str) -> Run | None:
        """A run, asked for once; None where there is none."""
        if run_id not in self.known_runs and (run := if_there(self.client.get_run, run_id)):
            self.known_runs[run_id] = run
        return self.known_runs.get(run_id)

    def reads(self, run: Run, sha256: str) -> dict[str, str] | None:
        """What a run read, as its artifact says; None where that is not as it was written."""
        with tempfile.TemporaryDirectory() as folder:
            uri = f"{run.info.artifact_uri}/{RESERVED}"
            place = local_path(uri) or fetch(uri, Path(folder))
            try:
                text = Path(place, Path(READS_ARTIFACT).name).read_text(encoding="utf-8")
            except OSError:
                return None
        return json.loads(text) if hashlib.sha256(text.encode()).hexdigest() == sha256 else None

    def artifact_uri(self, run_id: str) -> str:
        """Where a run's artifacts are, which does not change."""
        if run_id not in self.known_runs:
            self.known_runs[run_id] = self.client.get_run(run_id)
        return str(self.known_runs[run_id].info.artifact_uri)

    def keep(self, run_id: str, file: Path, folder: str | None = None) -> None:
        """Log a file as a run's artifact.

        Raises:
            StoreError: it could not be written.
        """
        try:
            get_artifact_repository(self.artifact_uri(run_id)).log_artifact(str(file), folder)
        except Exception as error:  # of whatever library writes there
            uri = masked(self.artifact_uri(run_id))
            raise StoreError(
                f"{file.name} could not be written to {uri} ({masked(first_line(error))}); see to that, and run again"
            ) from error

    def keep_text(self, run_id: str, text: str, path: str) -> None:
        """Log a text as a run's artifact; as `keep`."""
        self.keep_bytes(run_id, text.encode(), path)

    def keep_bytes(self, run_id: str, content: bytes, path: str) -> None:
        """Log some bytes as a run's artifact; as `keep`."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            file.write_bytes(content)
            self.keep(run_id, file, str(Path(path).parent) if "/" in path else None)

    def location(self, run_id: str, path: str) -> str:
        """Where a person finds an artifact: its path, or its name and run where the store is elsewhere."""
        place = local_path(self.artifact_uri(run_id))
        return str(place / path) if place else f"artifact {path} of run {run_id}"

    def save(self, uri: str, target: Path) -> None:
        """Put the artifact at `uri` (a file) at `target`, whole: readers see the old one or the new one.

        Raises:
            StoreError: it cannot be read.
        """
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=UNFINISHED) as folder, owned(Path(folder)):
            if path := self.at_hand(uri):
                copy = shutil.copyfile(path, Path(folder, target.name))
            else:
                try:
                    copy = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
                except Exception as error:  # of whatever library reads there
                    raise no_read(uri, error) from error
            copy.replace(target)


def fetch(uri: str, target: Path) -> Path:
    """A local copy of remote artifacts; an empty folder where there are none.

    What could not be listed or read is not nothing: it is tried again, after PAUSES.

    Raises:
        StoreError: it could not be had.
    """
    target.mkdir(parents=True, exist_ok=True)
    return tried_again(lambda: Path(get_artifact_repository(uri).download_artifacts("", str(target))), uri)


def is_copy(folder: Path, listing: Listing) -> bool:
    """Whether there are files of these sizes in the folder, by their paths, and no others."""
    files = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    return files == {path: one.size for path, one in listing.items()}


def differing(then: Listing, now: Listing) -> list[str]:
    """The files that came, went, or have another size."""
    return [
        path for path in {**then, **now} if path not in then or path not in now or then[path].size != now[path].size
    ]


def same_etags(then: Listing, now: Listing) -> bool:
    """Whether the store had and has the same ETag of each file, of those of which it told one then."""
    return all(one.etag in ("", now[path].etag) for path, one in then.items())


def listing_at(uri: str) -> Listing:
    """The files at an artifact URI.

    Raises:
        StoreError: they cannot be listed.
    """
    list_all = listed_in_s3 if uri.startswith("s3://") else listed
    return tried_again(lambda: list_all(get_artifact_repository(uri)), uri)


def listed(repository: ArtifactRepository, folder: str | None = None) -> Listing:
    """The files in an artifact folder and those below it; MLflow tells no ETags."""
    found: Listing = {}
    for entry in repository.list_artifacts(folder):
        if not entry.is_dir:
            found[entry.path] = Listed(entry.file_size)
        elif entry.path != RESERVED:
            found |= listed(repository, entry.path)
    return found


def listed_in_s3(repository: Any) -> Listing:
    """The same of an `S3ArtifactRepository`, with ETags, by one request for a thousand files rather than for a folder.

    An ETag is another one for every other content, but after a copy or another kind of upload also for the same.
    """
    bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
    root = f"{root.rstrip('/')}/"
    asked = {"Bucket": bucket, "Prefix": root, **repository._bucket_owner_params}
    pages = repository._get_s3_client().get_paginator("list_objects_v2").paginate(**asked)  # with MLflow's settings
    found = {one["Key"].removeprefix(root): one for page in pages for one in page.get("Contents", ())}
    return {
        path: Listed(one["Size"], one.get("ETag", "").strip('"')[:ETAG])
        for path, one in found.items()
        if not path.endswith("/") and not path.startswith(f"{RESERVED}/")  # of a folder
    }


def tried_again(work: Callable[[], T], uri: str) -> T:
    """What `work` gives, at the first try that succeeds, with PAUSES between them.

    Raises:
        StoreError: none did.
    """
    for pause in (*PAUSES, None):
        try:
            return work()
        except Exception as error:  # of whatever library reads there
            if pause is None:
                raise no_read(uri, error) from error
            time.sleep(pause)
    raise AssertionError("the last try neither returned nor failed")


def no_read(uri: str, error: BaseException) -> StoreError:
    """The sentence for artifacts that could not be had."""
    return StoreError(f"the artifacts at {masked(uri)} cannot be read ({masked(first_line(error))}); try again later")
