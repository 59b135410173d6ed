"""Run the steps of a plan.

    while steps are left:
        settle those that need no run        reused, skipped, failed before they start
        start those that are ready           as many at a time as max_parallel (elsewhere: max_parallel_remote) allows
        wait                                 for an end, a timeout, a signal
        settle those that ended              executed; failed, or tried again

The runner decides and tells its listeners; it prints nothing and does not know MLflow.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from pipeline.config import Request, Step
from pipeline.errors import StoreError
from pipeline.planning.decision import Decision, Result
from pipeline.planning.planner import Planner
from pipeline.states import Action, RunStatus, State

POLL = 0.2  # seconds between two looks at signals and timeouts
ELSEWHERE = 2  # further attempts of a step whose machine failed under it
GRACE = 1.0  # seconds that a step has between the request to stop and its end


@dataclass(frozen=True)
class Exit:
    """How a step's process ended: its exit code, negative for a signal, and why, where somebody knows better."""

    code: int
    why: str = ""
    elsewhere: bool = False  # through no fault of the step's: on another machine it may do better

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.code == 0

    def __str__(self) -> str:
        if self.why:
            return self.why
        if self.code == -9:
            return "killed by the system (signal 9), most often because memory ran out"
        return f"killed by signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


class Job(Protocol):
    """A step's process."""

    @property
    def sentinel(self) -> Any:
        """Something that `multiprocessing.connection.wait` can wait for."""

    def ended(self) -> Exit | None:
        """How it ended; None as long as it runs."""

    def stop(self, force: bool = False) -> None:
        """Ask it to end, or end it."""


class Executor(Protocol):
    """Starts steps and keeps their records."""

    def start(self, step: Step, decision: Decision, attempt: int) -> tuple[str, Path, Job]:
        """Start a step; its run's ID ("" where a backend makes the run), its log, and its process."""

    def finish(self, step: Step, decision: Decision, run_id: str, log: Path, seconds: float) -> Result:
        """Record a step that ended well."""

    def fail(self, step: Step, decision: Decision, run_id: str, log: Path, status: RunStatus, reason: str) -> None:
        """Record a step that did not end well."""


@dataclass
class Outcome:
    """What a step came to."""

    step: str
    state: State
    reason: str = ""  # for people: why it was run, reused or skipped, or its last words
    run_id: str = ""  # of the step's run, or of the earlier one that is reused
    seconds: float = 0.0  # wall time of the last attempt
    decision: Decision | None = None  # None where an upstream step settled it
    result: Result | None = None  # None unless executed or reused
    log: Path | None = None
    attempts: int = 0
    began: float | None = None  # the last attempt, seconds since 1970; None where there was none


@dataclass(frozen=True)
class Event:
    """What happened: `warning`, `reads`, `builds`, `queued`, `started`, `output`, `retry`, `ended`, `tick`."""

    kind: str
    step: str = ""
    text: str = ""
    outcome: Outcome | None = None
    run_id: str = ""
    log: Path | None = None


Listener = Callable[[Event], None]


@dataclass
class Running:
    """A step under way. Times are of the monotonic clock, in seconds."""

    step: Step
    decision: Decision
    attempt: int  # 1 for the first
    run_id: str
    log: Path
    job: Job
    started: float
    deadline: float  # when the step has had its time
    stop_reason: str = ""  # why it was asked to stop, if it was
    kill_at: float = float("inf")  # when it is ended if it has not stopped by then


@dataclass
class Runner:
    """Runs `order` (all steps selected, upstream first); see the module's text for the loop."""

    request: Request
    planner: Planner
    executor: Executor
    listeners: list[Listener] = field(default_factory=list)
    max_parallel: int = 1
    left: list[str] = field(default_factory=list)  # neither settled nor under way
    upstream: dict[str, list[str]] = field(default_factory=dict)  # step -> those selected that it waits for
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    retrying: dict[str, tuple[float, int]] = field(default_factory=dict)  # step -> when (monotonic), attempt
    interrupted: str = ""

    def run(self, order: list[str]) -> dict[str, Outcome]:
        """Run the steps; each one's outcome by name, in the order they ended."""
        self.left = list(order)
        selected = set(self.request.selected)
        self.upstream = {name: [u for u in self.request.steps[name].upstream() if u in selected] for name in order}
        try:
            while self.left or self.running:
                self.start_ready_steps()
                self.wait()
        except BaseException as error:  # something unforeseen, or a store that does not answer
            self.stop_all("the pipeline ended", force=True)
            for r in self.running.values():
                with contextlib.suppress(Exception):
                    reason = f"the pipeline ended: {error}"
                    self.executor.fail(r.step, r.decision, r.run_id, r.log, RunStatus.KILLED, reason)
            raise
        return self.outcomes

    def start_ready_steps(self) -> None:
        """Go once through the steps that are left, upstream first."""
        for name in list(self.left):
            upstream = self.upstream[name]
            if self.interrupted:
                self.settle(Outcome(name, State.SKIPPED, self.interrupted))
            elif any(u not in self.outcomes for u in upstream):
                continue
            elif bad := next((u for u in upstream if self.blocks(u)), None):
                self.settle(Outcome(name, State.SKIPPED, f"{bad} {self.outcomes[bad].state}"))
            elif self.is_full(self.request.steps[name]) or self.retrying.get(name, (0, 0))[0] > time.monotonic():
                continue
            else:
                self.settle_or_start(self.request.steps[name], upstream)
            self.left.remove(name)

    def is_full(self, step: Step) -> bool:
        """Whether as many steps are under way as may be, on this machine or on others, where the step would be one."""
        most = self.request.max_parallel_remote or len(self.request.steps) if step.is_remote else self.max_parallel
        return sum(running.step.is_remote == step.is_remote for running in self.running.values()) >= most

    def blocks(self, name: str) -> bool:
        """Whether a step failed, or was skipped because of a failure further up."""
        outcome = self.outcomes[name]
        return outcome.state == State.FAILED or (outcome.state == State.SKIPPED and outcome.decision is None)

    def settle_or_start(self, step: Step, upstream: list[str]) -> None:
        """Do with a step what the planner decides now that all that it reads is there."""
        try:
            decision = self.planner.decide(step, {name: self.outcomes[name].result for name in upstream}, set())
        except StoreError as error:  # nothing is concluded from that
            decision = Decision(Action.FAIL, str(error))
        if decision.result:  # Action.REUSE
            run_id = decision.result.run_id
            self.settle(Outcome(step.name, State.REUSED, decision.reason, run_id, 0.0, decision, decision.result))
        elif decision.action == Action.SKIP:
            self.settle(Outcome(step.name, State.SKIPPED, decision.reason, decision=decision))
        elif decision.action == Action.FAIL:
            self.settle(Outcome(step.name, State.FAILED, decision.reason, decision=decision))
        else:
            _, attempt = self.retrying.pop(step.name, (0, 1))
            started = time.monotonic()
            run_id, log, job = self.executor.start(step, decision, attempt)
            deadline = started + step.timeout if step.timeout else float("inf")
            self.running[step.name] = Running(step, decision, attempt, run_id, log, job, started, deadline)
            self.tell(Event("started", step.name, decision.reason, run_id=run_id, log=log))

    def wait(self) -> None:
        """Until a step ends, one has had its time, or a signal came; then settle what ended."""
        if self.running:
            wait({r.job.sentinel for r in self.running.values()}, timeout=POLL)
        elif self.retrying and not self.interrupted:
            time.sleep(max(0.0, min(POLL, min(at for at, _ in self.retrying.values()) - time.monotonic())))
        now = time.monotonic()
        for running in list(self.running.values()):
            if exit := running.job.ended():
                del self.running[running.step.name]
                self.ended(running, exit)
            elif now > running.deadline and not running.stop_reason:
                self.stop(running, f"it took longer than its timeout of {running.step.timeout:g} s")
            elif now > running.kill_at:
                running.job.stop(force=True)
        self.tell(Event("tick"))

    def ended(self, running: Running, exit: Exit) -> None:
        """Settle a step whose process ended, or put it back for another attempt."""
        running.job.stop(force=True)  # what the step may have left running
        step, seconds = running.step, time.monotonic() - running.started
        outcome = Outcome(
            step.name, State.EXECUTED, running.decision.reason, running.run_id, seconds, running.decision,
            log=running.log, attempts=running.attempt, began=time.time() - seconds,
        )  # fmt: skip
        unrecorded = ""
        if exit.ok and not running.stop_reason:
            try:
                outcome.result = self.executor.finish(step, running.decision, running.run_id, running.log, seconds)
            except StoreError as error:  # what it made is not known: it is not good
                unrecorded = f"it ended well, but {error}"
        if outcome.result:
            outcome.run_id = outcome.result.run_id
            if outcome.result.moved:
                names = ", ".join(outcome.result.moved[:3])
                self.tell(Event("warning", step.name, f"{names} changed while it ran: its result is not reused later"))
            if outcome.result.appeared:
                names = ", ".join(outcome.result.appeared[:3])
                text = f"{names} appeared in its own folder while it ran, which makes it look changed"
                self.tell(Event("warning", step.name, text))
            self.settle(outcome)
            return
        reason = (
            running.stop_reason
            or unrecorded
            or "".join(tail(running.log, 1)).removeprefix(f"{step.name}: ")
            or str(exit)
        )
        if (exit.why or exit.code < 0) and not running.stop_reason:
            reason = str(exit)
        status = RunStatus.KILLED if running.stop_reason else RunStatus.FAILED
        self.executor.fail(step, running.decision, running.run_id, running.log, status, reason)
        further = step.retries + (ELSEWHERE if exit.elsewhere else 0)
        if running.attempt <= further and not self.interrupted:
            pause = step.retry_pause * 2 ** (running.attempt - 1)
            self.retrying[step.name] = (time.monotonic() + pause, running.attempt + 1)
            self.tell(Event("retry", step.name, f"attempt {running.attempt} failed ({reason}); again in {pause:g} s"))
            self.left.append(step.name)
        else:
            outcome.state, outcome.reason = State.FAILED, reason
            self.settle(outcome)

    def stop(self, running: Running, reason: str, force: bool = False) -> None:
        """Ask a step to stop; it is ended after GRACE seconds, or at once with `force`."""
        running.stop_reason = running.stop_reason or reason
        running.kill_at = min(running.kill_at, time.monotonic() + GRACE)
        running.job.stop(force)

    def stop_all(self, reason: str, force: bool = False) -> None:
        """Ask all running steps to stop."""
        for running in list(self.running.values()):
            self.stop(running, reason, force)

    def interrupt(self, reason: str) -> None:
        """End what is under way and start nothing more; safe to call from a signal handler."""
        self.interrupted = self.interrupted or reason
        self.stop_all(reason)

    def settle(self, outcome: Outcome) -> None:
        """Take down what a step came to, once and for all."""
        self.outcomes[outcome.step] = outcome
        self.tell(Event("ended", outcome.step, outcome.reason, outcome))

    def tell(self, event: Event) -> None:
        """Pass an event on to all listeners."""
        for listener in self.listeners:
            listener(event)


def tail(log: Path, lines: int) -> list[str]:
    """The last lines a step wrote, blank ones left out."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16384))
        text = file.read().decode(errors="replace")
    # A progress bar writes over its own line: only what was left standing counts.
    written = (line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n"))
    return [line for line in written if line][-lines:]


def dry_run(request: Request, planner: Planner, order: list[str]) -> Mapping[str, Decision]:
    """What `Runner.run` would decide, without running anything: what is not known before a step ran is said so."""
    decisions: dict[str, Decision] = {}
    for name in order:
        step = request.steps[name]
        upstream = [u for u in step.upstream() if u in decisions]
        if bad := next((u for u in upstream if decisions[u].action == Action.FAIL), None):
            decisions[name] = Decision(Action.SKIP, f"{bad} failed")
            continue
        pending = {u for u in upstream if decisions[u].action == Action.EXECUTE}
        decisions[name] = planner.decide(step, {u: decisions[u].result for u in upstream if u not in pending}, pending)
    return decisions
