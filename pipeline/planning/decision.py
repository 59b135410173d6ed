"""What deciding is about: results of earlier runs, a step's inputs, and the decision itself. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config import Reference
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.reads import Look
from pipeline.states import Action

UNKNOWN = "?"  # the digest of what is not made yet


@dataclass(frozen=True)
class Result:
    """A step's good run: where its outputs are, their digests, its metrics, and what it was made of."""

    step: str
    run_id: str
    outputs: Mapping[str, str] = field(default_factory=dict)  # top-level artifact -> SHA-256
    metrics: Mapping[str, float] = field(default_factory=dict)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    reads: Mapping[str, str] = field(default_factory=dict)  # what it read beside its code and inputs -> digest
    effects: Mapping[str, str] = field(default_factory=dict)  # what it did outside its artifacts: name -> JSON
    source_sha256: str = ""  # of what it fetched from a web address, where it says that it checked that
    seconds: float = 0.0  # wall time
    ended: str = ""  # local time, for people
    note: str = ""  # what its run says of itself to people, where they should know
    moved: tuple[str, ...] = ()  # what changed while it ran: such a result is used for nothing later
    appeared: tuple[str, ...] = ()  # files that it left in its own folder

    def lookup(self, reference: Reference) -> tuple[Mapping[str, float] | Mapping[str, str], str]:
        """Where a reference to this step points: its metrics or its outputs, and the name to look for there."""
        if reference.kind == "metric":
            return self.metrics, reference.name
        return self.outputs, reference.name.split("/")[0]


@dataclass(frozen=True)
class Input:
    """One parameter that points at content."""

    uri: str  # what the step is given
    sha256: str  # of the content; UNKNOWN as long as it is not made
    name: str  # what a person calls it
    versioned: bool = False  # which run or model version it is counts too, not its content alone
    path: Path | None = None  # where it is a file or folder on this machine
    looks: Mapping[Path, Look | None] = field(default_factory=dict)  # of its files, before they were digested

    @property
    def identity(self) -> str:
        """What of it decides the step's result: two inputs of the same identity are the same to the step."""
        return f"{self.uri} {self.sha256}" if self.versioned else self.sha256


@dataclass(frozen=True)
class Decision:
    """What a step does, and why."""

    action: Action
    reason: str  # for people
    parameters: Mapping[str, str] = field(default_factory=dict)  # as the step gets them, references replaced
    inputs: Mapping[str, Input] = field(default_factory=dict)  # those of the parameters that point at content
    fingerprint: Fingerprint | None = None  # None where it was settled before the parameters were worked out
    looks: Mapping[Path, Look | None] = field(default_factory=dict)  # of code and inputs when they were digested
    result: Result | None = None  # the earlier run that is reused
