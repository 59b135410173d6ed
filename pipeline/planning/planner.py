"""Decide what one step does next: run, be reused, or be skipped, and why."""

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from pipeline.config import REFERENCE, Reference, Request, Step, references
from pipeline.errors import RequestError
from pipeline.planning.fingerprint import Fingerprint, digest, environment, folder_files
from pipeline.planning.project import Project

UNKNOWN = "?"  # the digest of what is not made yet


@dataclass(frozen=True)
class Result:
    """A step's good run: where its outputs are, their digests, its metrics, and what it was made of."""

    step: str
    run_id: str
    outputs: Mapping[str, str] = field(default_factory=dict)  # top-level artifact -> SHA-256
    metrics: Mapping[str, float] = field(default_factory=dict)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    seconds: float = 0.0
    when: str = ""  # local time of its end, for people

    def holding(self, reference: Reference) -> tuple[Mapping, str]:
        """Where a reference to this step points: its metrics or its outputs, and the name to look for there."""
        if reference.kind == "metric":
            return self.metrics, reference.name
        return self.outputs, reference.name.split("/")[0]


@dataclass(frozen=True)
class Input:
    """One parameter that points at content: the URI handed over, its digest, and what a person calls it."""

    uri: str
    sha256: str
    name: str


@dataclass(frozen=True)
class Decision:
    """What a step does: `execute`, `reuse` (with whose result), `skip`, or `fail`; and the reason, for people."""

    action: str
    reason: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    fingerprint: Fingerprint | None = None
    result: Result | None = None


class Store(Protocol):
    """What deciding needs of the tracking store."""

    def latest(self, step: str) -> Result | None: ...

    def matching(self, step: str, fingerprint: Fingerprint) -> Iterable[Result]: ...

    def damage(self, result: Result) -> str: ...

    def artifact_digest(self, uri: str) -> str: ...

    def model_version(self, name: str, alias: str) -> str | None: ...


class Planner:
    """Decides for each step from what its upstream steps came to; the same for a dry run and a real one."""

    def __init__(self, request: Request, projects: Mapping[str, Project], store: Store, root: Path, env_manager: str):
        self.request, self.projects, self.store, self.root = request, projects, store, root
        self.env_manager = env_manager
        self.borrowed: dict[str, Result] = {}  # results of steps that are not among the selected
        self.known_code: dict[str, dict[str, str]] = {}

    def check(self) -> list[str]:
        """Find what selected steps read from steps that are not; warnings for a person to read.

        Raises:
            RequestError: a result that nobody ever made, a secret in a parameter; all of them at once.
        """
        problems: list[str] = []
        warnings: list[str] = []
        selected = [self.request.steps[name] for name in self.request.selected]
        for step in selected:
            problems += [
                f"{step.name}.{name} carries credentials, which would be stored in clear; take them out of the URL"
                for name, value in step.parameters.items()
                if has_credentials(value)
            ]
            for _, reference in step.references():
                if reference.step in self.request.selected or reference.step in self.borrowed:
                    continue
                result = self.store.latest(reference.step)
                if result is None:
                    if reference.kind == "model" and self.alias(reference):
                        continue
                    steps = ",".join(n for n in self.request.steps if n in (reference.step, *self.request.selected))
                    problems.append(
                        f"{step.name} needs {reference}, and {reference.step} is not among the steps and has no good "
                        f"run in this experiment; add it: steps={steps}"
                    )
                    continue
                self.borrowed[reference.step] = result
                warnings += self.stale(result)
            for _, reference in step.references():
                result = self.borrowed.get(reference.step)
                if result and not (reference.kind == "model" and self.alias(reference)):
                    problems += self.lacking(step, reference, result)
        if problems:
            raise RequestError(problems)
        return warnings

    def lacking(self, step: Step, reference: Reference, result: Result) -> list[str]:
        found, name = result.holding(reference)
        if name not in found:
            have = ", ".join(found) or "nothing"
            return [
                f"{step.name} needs {reference}, but run {result.run_id[:8]} of {result.step} "
                f"made no {name} (it made: {have})"
            ]
        if damage := self.store.damage(result):
            return [f"{step.name} needs {reference}, but {damage}; run {result.step} again: add it to steps"]
        return []

    def stale(self, result: Result) -> list[str]:
        """A warning where a borrowed result was made by other code, parameters or files than today's."""
        if result.step not in self.projects:
            return []
        step, then = self.request.steps[result.step], result.fingerprint
        given = self.projects[step.name].defaults() | dict(step.parameters)
        literal = {name: value for name, value in given.items() if not references(value)}
        files = {name: self.local(literal[name], self.projects[step.name].is_path(name)) for name in literal}
        now = Fingerprint(
            code=self.code(step),
            entry_point=step.entry_point,
            parameters={name: value for name, value in literal.items() if name not in then.inputs},
            inputs={name: digest(path) for name, path in files.items() if path},
            environment=then.environment,
        )
        then = replace(
            then,
            parameters={name: value for name, value in then.parameters.items() if name in literal},
            inputs={name: value for name, value in then.inputs.items() if name in now.inputs},
        )
        if not (differences := now.differences(then, literal)):
            return []
        return [
            f"run {result.run_id[:8]} of {step.name} ({result.when}) is not of today's making: {'; '.join(differences)}"
        ]

    def decide(self, step: Step, upstream: Mapping[str, Result | None], pending: set[str]) -> Decision:
        """What `step` does, given the results of its upstream steps (None: skipped) and those yet `pending`.

        Only a dry run has pending ones: steps that would be executed, and whose outputs nobody knows yet.
        """
        upstream = dict(upstream)
        needed = {r.step for _, r in step.references() if not (r.kind == "model" and self.alias(r))}
        for name in [n for n, result in upstream.items() if result is None and n in needed]:
            fallback = self.store.latest(name) if step.if_skipped == "latest" else None
            if fallback is None:
                why = ", and no earlier good run of it is there" if step.if_skipped == "latest" else ""
                return Decision("skip", f"{name} was skipped{why}")
            upstream[name] = fallback
        try:
            if step.when:
                value, _ = self.resolve(step.when, upstream, pending)
                if value == UNKNOWN:
                    return Decision("execute", f"if {step.when} is not zero, which is not known yet")
                if not is_true(value):
                    condition = ", ".join(map(str, references(step.when))) or "its condition"
                    return Decision("skip", f"when: {condition} is {value}")
            parameters, inputs = self.inputs(step, upstream, pending)
        except LookupError as error:
            return Decision("fail", f"{step.name}: {error.args[0]}")
        fingerprint = self.fingerprint(step, parameters, inputs)
        names = {parameter: i.name for parameter, i in inputs.items()}
        unknown = [i.name for i in inputs.values() if i.sha256 == UNKNOWN]
        make = partial(Decision, parameters=parameters, inputs=inputs, fingerprint=fingerprint)

        if step.name in self.request.force:
            return make("execute", "forced")
        if not step.cache:
            return make("execute", "cache: false")
        if url := self.remote(step):
            return make("execute", f"{url} may have changed: give sha256 to reuse what is there")
        if any(value == UNKNOWN for name, value in parameters.items() if name not in inputs):
            return make("execute", "its parameters come from a step that runs before it")
        if unknown:
            return make("execute", f"{', '.join(unknown)} will be made again; reused if the content stays the same")
        damage = ""
        for result in self.store.matching(step.name, fingerprint):
            damage = self.store.damage(result)
            if not damage:
                return make("reuse", "nothing changed", result=result)
        if damage:
            return make("execute", damage)
        before = self.store.latest(step.name)
        if before is None:
            return make("execute", "never run")
        return make("execute", "; ".join(fingerprint.differences(before.fingerprint, names)) or "no finished run of it")

    def inputs(
        self, step: Step, upstream: Mapping[str, Result | None], pending: set[str]
    ) -> tuple[dict[str, str], dict[str, Input]]:
        """The parameters as MLflow gets them, and those of them that point at content."""
        parameters: dict[str, str] = {}
        inputs: dict[str, Input] = {}
        for name, raw in (self.projects[step.name].defaults() | dict(step.parameters)).items():
            value, reference = self.resolve(raw, upstream, pending)
            if reference and reference.kind == "artifact" and raw == str(REFERENCE.search(raw)[0]):
                sha256 = UNKNOWN if value == UNKNOWN else self.content(value, upstream.get(reference.step), reference)
                inputs[name] = Input(value, sha256, reference.name)
            elif value.startswith(("models:/", "runs:/")):
                try:
                    value = self.pinned(value)
                except LookupError:
                    if name in step.parameters:
                        raise
                    parameters[name] = value  # a default that means nothing yet: the step knows what to do then
                    continue
                inputs[name] = Input(
                    value, f"{value} {self.store.artifact_digest(value)}", raw if not reference else value
                )
            elif path := self.local(value, self.projects[step.name].is_path(name)):
                value = str(path)
                inputs[name] = Input(value, digest(path), raw)
            parameters[name] = value
        return parameters, inputs

    def content(self, uri: str, result: Result | None, reference: Reference) -> str:
        """The digest of an upstream artifact: known for a whole output, read for a part of one."""
        if result and reference.name in result.outputs:
            return result.outputs[reference.name]
        return self.store.artifact_digest(uri)

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
            if reference.kind == "model" and (version := self.alias(reference)):
                value = value.replace(match[0], version)
                continue
            if reference.step in pending:
                return UNKNOWN, reference
            result = upstream.get(reference.step) or self.borrowed[reference.step]
            found, top = result.holding(reference)
            if top not in found:
                raise LookupError(
                    f"{reference} is not there: its run {result.run_id[:8]} made {', '.join(found) or 'nothing'}"
                )
            if reference.kind == "metric":
                value = value.replace(
                    match[0], f"{found[top]:g}" if found[top] == int(found[top]) else repr(found[top])
                )
            else:
                value = value.replace(match[0], f"runs:/{result.run_id}/{reference.name}")
                reference = Reference("artifact", reference.step, reference.name)
        return value, reference

    def alias(self, reference: Reference) -> str:
        """The `models:/NAME/VERSION` that a model reference's alias means now, or "" where nothing carries it."""
        name, _, alias = reference.model.partition("@")
        version = self.store.model_version(name, alias)
        return f"models:/{name}/{version}" if version else ""

    def pinned(self, uri: str) -> str:
        """`models:/NAME@ALIAS` as the version that it means at this moment."""
        match = re.fullmatch(r"models:/([^@/]+)@(.+)", uri)
        if not match:
            return uri
        version = self.store.model_version(match[1], match[2])
        if version is None:
            raise LookupError(
                f"no version of model {match[1]!r} carries the alias {match[2]!r}; set it, or name a version"
            )
        return f"models:/{match[1]}/{version}"

    def local(self, value: str, is_path: bool) -> Path | None:
        """The file (for a `path` parameter, the folder too) that a value names, relative ones in the project."""
        if not value or "\0" in value or len(value) > 4096:
            return None
        parts = urllib.parse.urlsplit(value)
        if parts.scheme not in ("", "file"):
            return None
        path = self.root / (urllib.parse.unquote(parts.path) if parts.scheme == "file" else value)
        return path.resolve() if path.is_file() or (is_path and path.is_dir()) else None

    def remote(self, step: Step) -> str:
        """The web address among a step's parameters whose content nothing pins down, or ""."""
        if step.parameters.get("sha256"):
            return ""
        return next((v for v in step.parameters.values() if v.lower().startswith(("http://", "https://"))), "")

    def fingerprint(self, step: Step, parameters: Mapping[str, str], inputs: Mapping[str, Input]) -> Fingerprint:
        return Fingerprint(
            code=self.code(step),
            entry_point=step.entry_point,
            parameters={name: value for name, value in parameters.items() if name not in inputs},
            inputs={name: i.sha256 for name, i in inputs.items()},
            environment=environment(self.manager(step), step.backend, step.backend_config),
        )

    def manager(self, step: Step) -> str:
        """The environment manager that a step runs with."""
        return self.env_manager if step.env_manager == "inherit" else step.env_manager

    def code(self, step: Step) -> dict[str, str]:
        if step.name not in self.known_code:
            self.known_code[step.name] = folder_files(self.projects[step.name].folder)
        return self.known_code[step.name]


def is_true(value: str) -> bool:
    try:
        return float(value) != 0
    except ValueError:
        return value.strip().lower() not in ("", "false", "no", "off", "none")


def has_credentials(value: str) -> bool:
    parts = urllib.parse.urlsplit(value) if "://" in value else None
    return bool(parts and parts.password is not None)
