"""Decide what one step does next: run, be reused, or be skipped, and why."""

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline import credentials
from pipeline.config import Reference, Request, Step, references
from pipeline.errors import RequestError
from pipeline.files import content_digest, files_below, printable
from pipeline.planning.decision import UNKNOWN, Decision, Input, Result
from pipeline.planning.fingerprint import IGNORED, Fingerprint, environment_of, folder_files, folders_files
from pipeline.planning.project import Project
from pipeline.planning.reads import Look, changed, look, moved
from pipeline.planning.references import Resolver, Store, remote_address
from pipeline.states import Action


class Planner:
    """Decides for each step from what its upstream steps came to; the same for a dry run and a real one."""

    def __init__(self, request: Request, projects: Mapping[str, Project], store: Store, root: Path, env_manager: str):
        self.request, self.projects, self.store, self.root = request, projects, store, root
        self.env_manager = env_manager
        self.resolver = Resolver(store, root)
        self.reused_upstream: dict[str, Result] = {}  # results of steps that are read but not among the selected
        self.known_code: dict[str, dict[str, str]] = {}  # step -> its files' digests
        self.code_files: dict[str, set[Path]] = {}  # step -> all files in its folder, those that do not count too
        self.code_looks: dict[str, dict[Path, Look | None]] = {}  # step -> how its files looked before that

    def anew(self, store: Store) -> "Planner":
        """Another one, which knows the same code, and nothing yet of what the store holds."""
        planner = Planner(self.request, self.projects, store, self.root, self.env_manager)
        planner.known_code, planner.code_files, planner.code_looks = self.known_code, self.code_files, self.code_looks
        return planner

    # What is asked for, against what is there ------------------------------------------------------------------------

    def check(self) -> list[str]:
        """Find what selected steps read from steps that are not; warnings for a person to read.

        Raises:
            RequestError: a result that nobody ever made, a secret in a parameter; all of them at once.
        """
        problems: list[str] = []
        warnings: list[str] = []
        named = self.request.upstream_runs
        self.reused_upstream |= {name: self.good_run(name, run_id) for name, run_id in named.items() if run_id}
        for step in (self.request.steps[name] for name in self.request.selected):
            given = self.projects[step.name].defaults() | dict(step.parameters)
            problems += [
                credentials.refusal(f"{step.name}.{name}", found)
                for name, value in given.items()
                if (found := credentials.found_in(value))
            ]
            warnings += [
                f"{step.name}.{name}: there is no {value}; did you mean {meant}?"
                for name, value in given.items()
                if (meant := self.resolver.file_meant(value))
            ]
            for _, reference in step.references():
                if reference.step in self.request.selected or named.get(reference.step) == "":
                    continue
                follows_alias = self.resolver.alias_uri(reference)
                result = self.reused_upstream.get(reference.step)
                if result is None:
                    result = self.store.latest(reference.step)
                    if result is None:
                        problems += [] if follows_alias else [self.no_good_run(step, reference)]
                        continue
                    self.reused_upstream[reference.step] = result
                    warnings += self.outdated(result)
                if not follows_alias:
                    problems += self.missing_outputs(step, reference, result)
        if problems:
            raise RequestError(problems)
        return warnings

    def good_run(self, step: str, run_id: str) -> Result:
        """What a run made of a step that is not selected.

        Raises:
            RequestError: it is no good run of the step.
        """
        if (result := self.store.good_run(step, run_id)) is None:
            raise RequestError(f"run {run_id!r} is no good run of {step} in this tracking store; name one that is")
        return result

    def borrowed(self, step: str) -> list[str]:
        """What a step reads of runs of steps that are not selected, and of which run, each once."""
        found = {
            f"{reference} from run {result.run_id[:8]} of {result.ended}": None
            for _, reference in self.request.steps[step].references()
            if (result := self.reused_upstream.get(reference.step)) and not self.resolver.alias_uri(reference)
        }
        return list(found)

    def no_good_run(self, step: Step, reference: Reference) -> str:
        """The sentence for an input that nobody ever made."""
        steps = ",".join(n for n in self.request.steps if n in (reference.step, *self.request.selected))
        return (
            f"{step.name} needs {reference}, and {reference.step} is not among the steps and has no good "
            f"run in this experiment; add it: steps={steps}"
        )

    def missing_outputs(self, step: Step, reference: Reference, result: Result) -> list[str]:
        """What is wrong with a result that a step reads, in a sentence; none where all is there."""
        found, name = result.lookup(reference)
        if name not in found:
            have = ", ".join(found) or "nothing"
            return [
                f"{step.name} needs {reference}, but run {result.run_id[:8]} of {result.step} "
                f"made no {name} (it made: {have})"
            ]
        if error := self.store.integrity_error(result):
            return [f"{step.name} needs {reference}, but {error}; run {result.step} again: add it to steps"]
        return []

    def outdated(self, result: Result) -> list[str]:
        """A warning where an upstream result was made by other code, parameters or files than today's."""
        if result.step not in self.projects:
            return []
        step, then, project = self.request.steps[result.step], result.fingerprint, self.projects[result.step]
        literal = {n: v for n, v in (project.defaults() | dict(step.parameters)).items() if not references(v)}
        files = {name: self.resolver.local_path(value, project.is_path(name)) for name, value in literal.items()}
        now = Fingerprint(
            code=self.code(step),
            entry_point=step.entry_point,
            parameters={name: value for name, value in literal.items() if name not in then.inputs},
            inputs={name: content_digest(path) for name, path in files.items() if path},
            environment=then.environment,
        )
        then = replace(
            then,
            parameters={name: value for name, value in then.parameters.items() if name in literal},
            inputs={name: value for name, value in then.inputs.items() if name in now.inputs},
        )
        if not (differences := now.differences(then, literal)):
            return []
        return [f"run {result.run_id[:8]} of {step.name} ({result.ended}) is outdated: {'; '.join(differences)}"]

    # What a step does ------------------------------------------------------------------------------------------------

    def decide(self, step: Step, upstream: Mapping[str, Result | None], pending: set[str]) -> Decision:
        """What `step` does, given the results of its upstream steps (None: skipped) and those yet `pending`.

        Only a dry run has pending ones: steps that would be executed, and whose outputs nobody knows yet.
        """
        skipped = dict.fromkeys(name for name, run_id in self.request.upstream_runs.items() if not run_id)
        upstream = {**skipped, **self.reused_upstream, **upstream}
        needed = {r.step for _, r in step.references() if not self.resolver.alias_uri(r)}
        for name in [n for n, result in upstream.items() if result is None and n in needed]:
            fallback = self.store.latest(name) if step.if_skipped == "latest" else None
            if fallback is None:
                why = ", and no earlier good run of it is there" if step.if_skipped == "latest" else ""
                return Decision(Action.SKIP, f"{name} was skipped{why}")
            upstream[name] = fallback
        try:
            if step.when:
                value, _ = self.resolver.resolve(step.when, upstream, pending)
                if value == UNKNOWN:
                    return Decision(Action.EXECUTE, f"if {step.when} is not zero, which is not known yet")
                if not is_true(value):
                    condition = ", ".join(map(str, references(step.when))) or "its condition"
                    return Decision(Action.SKIP, f"when: {condition} is {value}")
            self.code(step)
            parameters, inputs = self.resolver.inputs(step, self.projects[step.name], upstream, pending)
        except LookupError as error:
            return Decision(Action.FAIL, f"{step.name}: {error.args[0]}")
        return self.reuse_or_execute(step, parameters, inputs)

    def reuse_or_execute(self, step: Step, parameters: Mapping[str, str], inputs: Mapping[str, Input]) -> Decision:
        """Whether a finished run with these parameters and inputs can stand in for the step."""
        fingerprint = self.fingerprint(step, parameters, inputs)
        seen = dict(ChainMap(self.code_looks[step.name], *(dict(i.looks) for i in inputs.values())))
        decision = partial(Decision, parameters=parameters, inputs=inputs, fingerprint=fingerprint, looks=seen)
        execute = partial(decision, Action.EXECUTE)
        if step.name in self.request.force:
            return execute("forced")
        if not step.cache:
            return execute("cache: false")
        url, pin = remote_address(parameters.values()), parameters.get("sha256", "").strip().lower()
        if url and not pin:
            return execute(f"{url} may have changed: give sha256 to reuse what is there")
        if any(value == UNKNOWN for name, value in parameters.items() if name not in inputs):
            return execute("its parameters come from a step that runs before it")
        if unknown := [i.name for i in inputs.values() if i.sha256 == UNKNOWN]:
            return execute(f"{', '.join(unknown)} will be made again; reused if the content stays the same")
        reason = ""
        for result in self.store.matching(step.name, fingerprint):
            error = self.reads_changed(result) or self.store.integrity_error(result) or self.store.effect_error(result)
            if url and result.source_sha256 != pin:
                error = f"run {result.run_id[:8]} did not say that what came from {url} has this sha256"
            if not error:
                return decision(Action.REUSE, "nothing changed", result=result)
            reason = reason or error
        if reason:
            return execute(reason)
        before = self.store.latest(step.name)
        if before is None:
            return execute("never run")
        names = {parameter: i.name for parameter, i in inputs.items()}
        return execute("; ".join(fingerprint.differences(before.fingerprint, names)) or "no finished run of it")

    def reads_changed(self, result: Result) -> str:
        """What a result's run read and is not as it was, in words; "" where all is."""
        names = [printable(name) for name in changed(result.reads, self.root)]
        more = " …" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more}, which it read, changed" if names else ""

    def fingerprint(self, step: Step, parameters: Mapping[str, str], inputs: Mapping[str, Input]) -> Fingerprint:
        """All that decides the step's output."""
        return Fingerprint(
            code=self.known_code[step.name],  # which `decide` has just looked at
            entry_point=step.entry_point,
            parameters={name: value for name, value in parameters.items() if name not in inputs}
            | {f"env.{name}": value for name, value in step.env.items()},
            inputs={name: i.identity for name, i in inputs.items()},
            environment=environment_of(self.env_manager_of(step), step.backend, step.backend_config, step.toolchain),
        )

    def env_manager_of(self, step: Step) -> str:
        """The environment manager that a step runs with."""
        return self.env_manager if step.env_manager == "inherit" else step.env_manager

    def code(self, step: Step) -> dict[str, str]:
        """The digests of the step's files; looked at again where one of them moved since."""
        folder, known = self.projects[step.name].folder, self.code_looks.get(step.name)
        if known is not None and not folder.is_dir() and known:
            raise LookupError(f"its folder {folder} is gone; put it back, and run again")
        if known is None:
            self.read_code([name for name in self.projects if name not in self.code_looks])
        elif moved(known) or (files := set(files_below(folder, skip=IGNORED))) != self.code_files.get(step.name, files):
            self.read_code([step.name])
        return self.known_code[step.name]

    def read_code(self, names: Iterable[str]) -> None:
        """Digest the files of these steps; of all at once, since Git has to be asked about them."""
        folders = {name: self.projects[name].folder for name in names}
        seen = {name: {p: look(p) for p in files_below(folder, skip=IGNORED)} for name, folder in folders.items()}
        digests = folders_files(dict.fromkeys(folders.values()))
        for name, folder in folders.items():
            self.code_files[name] = set(seen[name])
            self.known_code[name] = digests[folder]
            self.code_looks[name] = {folder / file: seen[name].get(folder / file) for file in digests[folder]}

    def appeared(self, step: Step) -> list[Path]:
        """The files in the step's folder, among those that count, that were not there when it was decided about."""
        folder = self.projects[step.name].folder
        new = set(files_below(folder, skip=IGNORED)) - self.code_files[step.name]
        return [folder / name for name in folder_files(folder) if folder / name in new] if new else []


def is_true(value: str) -> bool:
    """Whether a condition holds: a number other than zero, or a word that does not mean no."""
    try:
        return float(value) != 0
    except ValueError:
        return value.strip().lower() not in ("", "false", "no", "off", "none")
