"""From a step's parameters as they are written to those it gets: references, aliases and paths worked out."""

import contextlib
import difflib
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.config import REFERENCE, Reference, Step, references
from pipeline.files import content_digest
from pipeline.planning.decision import UNKNOWN, Input, Result
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.project import Project
from pipeline.planning.reads import looks

REMOTE = re.compile(r"(?!file:)[a-z][a-z\d+.-]+://", re.IGNORECASE)


class Store(Protocol):
    """What planning needs of the tracking store."""

    def latest(self, step: str) -> Result | None:
        """The step's latest good run."""

    def good_run(self, step: str, run_id: str) -> Result | None:
        """This run, if it is a good one of the step."""

    def matching(self, step: str, fingerprint: Fingerprint) -> Iterable[Result]:
        """The step's good runs with this fingerprint, newest first."""

    def integrity_error(self, result: Result) -> str:
        """What is wrong with a result's artifacts, in words; "" where they are as they were made."""

    def effect_error(self, result: Result) -> str:
        """Which effect that a result declares does not hold any more, in words; "" where all do."""

    def artifact_digest(self, uri: str) -> str:
        """The digest of what a `runs:/` or `models:/` URI points at; LookupError where nothing is there."""

    def model_version(self, name: str, alias: str) -> str | None:
        """The version of a registered model that carries the alias."""


@dataclass(frozen=True)
class Resolver:
    """Works out parameters from the results of upstream steps.

    `upstream` and `pending` are handed to each call: the results of upstream steps by name (None: skipped), and the
    steps whose outputs nobody knows yet, which only a dry run has.
    """

    store: Store
    root: Path  # relative paths are the project's

    def inputs(
        self, step: Step, project: Project, upstream: Mapping[str, Result | None], pending: set[str]
    ) -> tuple[dict[str, str], dict[str, Input]]:
        """The parameters as MLflow gets them, and those of them that point at content.

        Raises:
            LookupError: an output, a run or a model version is not there.
        """
        parameters: dict[str, str] = {}
        inputs: dict[str, Input] = {}
        for name, raw in (project.defaults() | dict(step.parameters)).items():
            value, reference = self.resolve(raw, upstream, pending)
            if reference and reference.kind == "artifact" and raw == whole_reference(raw):
                sha256 = UNKNOWN if value == UNKNOWN else self.digest_of(value, upstream.get(reference.step), reference)
                inputs[name] = Input(value, sha256, reference.name)
            elif value.startswith(("models:/", "runs:/")):
                try:
                    value = self.pin_alias(value)
                except LookupError:
                    if name in step.parameters:
                        raise
                    parameters[name] = value  # a default that means nothing yet: the step knows what to do then
                    continue
                digest = self.store.artifact_digest(value)
                inputs[name] = Input(value, digest, value if reference else raw, versioned=True)
            elif path := self.local_path(value, project.is_path(name)):
                value = str(path)
                seen = looks([path])
                inputs[name] = Input(value, content_digest(path), raw, path=path, looks=seen)
            parameters[name] = value
        return parameters, inputs

    def resolve(
        self, raw: str, upstream: Mapping[str, Result | None], pending: set[str]
    ) -> tuple[str, Reference | None]:
        """A parameter's text with its references replaced, and the last of these.

        Raises:
            LookupError: the upstream step made no such output.
        """
        reference = None
        value = raw
        for match, reference in zip(list(REFERENCE.finditer(raw)), references(raw), strict=True):
            if reference.kind == "model" and pending:
                return UNKNOWN, reference  # the alias may move until the step starts
            if version := self.alias_uri(reference):
                value = value.replace(match[0], version)
                continue
            if reference.step in pending:
                return UNKNOWN, reference
            result = upstream.get(reference.step)
            if result is None:
                raise LookupError(f"{reference} is not there: {reference.step} has no good run")
            found, name = result.lookup(reference)
            if name not in found:
                raise LookupError(
                    f"{reference} is not there: its run {result.run_id[:8]} made {', '.join(found) or 'nothing'}"
                )
            if reference.kind == "metric":
                value = value.replace(match[0], number_text(result.metrics[name]))
            else:
                value = value.replace(match[0], f"runs:/{result.run_id}/{reference.name}")
                reference = Reference("artifact", reference.step, reference.name)
        return value, reference

    def digest_of(self, uri: str, result: Result | None, reference: Reference) -> str:
        """The digest of an upstream artifact: known for a whole output, read for a part of one."""
        if result and reference.name in result.outputs:
            return result.outputs[reference.name]
        return self.store.artifact_digest(uri)

    def alias_uri(self, reference: Reference) -> str:
        """The `models:/NAME/VERSION` that a model reference's alias means now; "" where there is none."""
        if reference.kind != "model":
            return ""
        name, _, alias = reference.model.partition("@")
        version = self.store.model_version(name, alias)
        return f"models:/{name}/{version}" if version else ""

    def pin_alias(self, uri: str) -> str:
        """`models:/NAME@ALIAS` as the version that it means at this moment.

        Raises:
            LookupError: no version carries the alias.
        """
        match = re.fullmatch(r"models:/([^@/]+)@(.+)", uri)
        if not match:
            return uri
        version = self.store.model_version(match[1], match[2])
        if version is None:
            raise LookupError(
                f"no version of model {match[1]!r} carries the alias {match[2]!r}; set it, or name a version"
            )
        return f"models:/{match[1]}/{version}"

    def local_path(self, value: str, is_path: bool) -> Path | None:
        """As `local_file`, in the project."""
        return local_file(self.root, value, is_path)

    def file_meant(self, value: str) -> str:
        """For a path in the project that names nothing there: the one beside it with nearly its name, "" if none."""
        path = Path(value)
        if len(path.parts) < 2 or path.is_absolute() or urllib.parse.urlsplit(value).scheme or "\0" in value:
            return ""
        with contextlib.suppress(OSError):  # no name that a file could have
            if not (self.root / path).exists() and (self.root / path.parent).is_dir():
                names = [other.name for other in (self.root / path.parent).iterdir()]
                return "".join(str(path.with_name(n)) for n in difflib.get_close_matches(path.name, names, n=1))
        return ""


def local_file(root: Path, value: str, is_path: bool) -> Path | None:
    """The file (for a `path` parameter, the folder too) that a value names, relative ones in the folder `root`."""
    if not value or "\0" in value or len(value) > 4096:
        return None
    parts = urllib.parse.urlsplit(value)
    if parts.scheme not in ("", "file"):
        return None
    path = root / (urllib.parse.unquote(parts.path) if parts.scheme == "file" else value)
    with contextlib.suppress(OSError):  # no name that a file could have
        return path.resolve() if path.is_file() or (is_path and path.is_dir()) else None
    return None


def whole_reference(raw: str) -> str:
    """The first reference in a parameter's text."""
    match = REFERENCE.search(raw)
    return match[0] if match else ""


def number_text(value: float) -> str:
    """A metric as a parameter, to the last digit."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def remote_address(parameters: Iterable[str]) -> str:
    """The first address among a step's parameters whose content is not ours to look at, or ""."""
    return next((v.strip() for v in parameters if REMOTE.match(v.strip())), "")
