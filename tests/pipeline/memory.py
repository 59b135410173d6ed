"""A pipeline in memory: a store and an executor without MLflow or processes, for the tests of planning and running."""

import hashlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import Request, Step, parse
from pipeline.execution.runner import Exit, Runner
from pipeline.planning.decision import Result
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.graph import order
from pipeline.planning.planner import Planner
from pipeline.planning.project import Project


def ready_file() -> int:
    """A file descriptor that is ready at once, as the sentinel of a process that has ended is."""
    read, write = os.pipe()
    os.close(write)
    return read


@dataclass
class MemoryJob:
    code: int
    sentinel: int = field(default_factory=ready_file)

    def ended(self) -> Exit:
        os.close(self.sentinel)
        return Exit(self.code)

    def stop(self, force: bool = False) -> None:
        pass


@dataclass
class MemoryStore:
    """Results by run ID, newest last; `lost` are runs whose artifacts are gone, `undone` those whose effects are."""

    results: dict[str, Result] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)

    def latest(self, step: str) -> Result | None:
        return next((r for r in reversed(self.results.values()) if r.step == step), None)

    def good_run(self, step: str, run_id: str) -> Result | None:
        result = self.results.get(run_id)
        return result if result and result.step == step else None

    def matching(self, step: str, fingerprint: Fingerprint) -> list[Result]:
        return [r for r in reversed(self.results.values()) if r.step == step and r.fingerprint == fingerprint]

    def integrity_error(self, result: Result) -> str:
        return f"output of run {result.run_id} is no longer in the store" if result.run_id in self.lost else ""

    def effect_error(self, result: Result) -> str:
        return f"effect of run {result.run_id} is undone" if result.run_id in self.undone else ""

    def artifact_digest(self, uri: str) -> str:
        return f"digest of {uri}"

    def model_version(self, name: str, alias: str) -> str | None:
        return self.aliases.get((name, alias))


@dataclass
class MemoryExecutor:
    """Runs a step at once: its output is a digest of all that it read, or of nothing where it is `constant`."""

    store: MemoryStore
    failing: dict[str, int] = field(default_factory=dict)  # step -> how many attempts fail
    constant: set[str] = field(default_factory=set)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    code: int = 1

    def start(self, step: Step, decision, attempt: int):
        self.started.append(step.name)
        run_id = f"{step.name}-{len(self.store.results)}-{len(self.started)}"
        fails = self.failing.get(step.name, 0) >= attempt
        return run_id, Path("/nonexistent"), MemoryJob(self.code if fails else 0)

    def finish(self, step: Step, decision, run_id: str, log: Path, seconds: float) -> Result:
        pin = decision.parameters.get("sha256", "")
        made_of = "" if step.name in self.constant else decision.fingerprint.digest
        outputs = {"out": hashlib.sha256(f"{step.name} {made_of}".encode()).hexdigest()}
        result = Result(
            step.name, run_id, outputs, self.metrics.get(step.name, {}), decision.fingerprint, source_sha256=pin
        )
        self.store.results[run_id] = result
        return result

    def fail(self, step: Step, decision, run_id: str, log: Path, status: str, reason: str) -> None:
        pass


@dataclass
class Memory:
    """A pipeline in memory whose steps' code is text that a test can change."""

    pipeline: dict
    code: dict[str, str] = field(default_factory=dict)
    store: MemoryStore = field(default_factory=MemoryStore)
    events: list = field(default_factory=list)

    def __post_init__(self):
        self.executor = MemoryExecutor(self.store)

    def planner(self, upstream_runs: Mapping[str, str] | None = None, **settings) -> Planner:
        request = replace(parse({"pipeline": self.pipeline, **settings}), upstream_runs=upstream_runs or {})
        projects = {
            name: Project(Path(name), {p: {"type": "string"} for p in step.parameters}, "")
            for name, step in request.steps.items()
        }
        planner = Planner(request, projects, self.store, Path("/nonexistent"), "local")
        planner.known_code.update({name: {"run.py": self.code.get(name, "")} for name in request.steps})
        planner.code_looks.update({name: {} for name in request.steps})
        return planner

    def order(self, request: Request) -> list[str]:
        return [name for name in order(request.steps) if name in request.selected]

    def run(self, max_parallel: int = 2, **settings) -> dict[str, str]:
        """Run it; each step's state."""
        planner = self.planner(**settings)
        planner.check()
        self.executor.started.clear()
        self.events.clear()
        runner = Runner(planner.request, planner, self.executor, [self.events.append], max_parallel)
        self.outcomes = runner.run(self.order(planner.request))
        return {name: outcome.state for name, outcome in self.outcomes.items()}


def chain(*names: str) -> dict:
    """A pipeline in which each step reads what the one before made."""
    blocks = {names[0]: {}}
    for before, name in itertools.pairwise(names):
        blocks[name] = {"parameters": {"input": f"${{artifact:{before},out}}"}}
    return blocks
