"""The words for what a step does, and for what came of it: the same in every wing, in the store and in the manifest."""

from enum import IntEnum, StrEnum


class Action(StrEnum):
    """What the planner decides for a step."""

    EXECUTE = "execute"
    REUSE = "reuse"  # take the result of an earlier run
    SKIP = "skip"
    FAIL = "fail"  # its parameters cannot be worked out


class State(StrEnum):
    """What a step came to."""

    EXECUTED = "executed"
    REUSED = "reused"
    FAILED = "failed"
    SKIPPED = "skipped"


class RunStatus(StrEnum):
    """How MLflow calls the end of a run."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class ExitCode(IntEnum):
    """How the whole process ends."""

    DONE = 0
    STEP_FAILED = 1
    REFUSED = 2  # the request was wrong, and nothing was started
    INTERRUPTED = 130
