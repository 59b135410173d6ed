"""What the store holds of earlier pipeline runs, and of the models that they registered. Nothing is written here."""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from pipeline.errors import RequestError
from pipeline.planning.decision import Result
from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.store import TrackingStore, if_there
from pipeline.tracking.tags import STEPS, as_result, is_good, local_time

EVENT = re.compile(r"history\.\d{6}")  # the tags of a registered model that say when which version became champion
PROMOTED = "promoted"  # what such an event is, if it is not a rollback
MOST = 1000  # pipeline runs that are looked through for one whose ID begins as asked


@dataclass(frozen=True)
class PastRun:
    """A pipeline run as the store has it."""

    run_id: str
    name: str  # what it did, in a few words
    status: str
    began: int  # milliseconds since 1970
    seconds: float

    @property
    def started(self) -> str:
        """Local time, for people."""
        return local_time(self.began)


@dataclass(frozen=True)
class Alias:
    """A version of a registered model that carries an alias, and the run that made it (None: it is gone)."""

    model: str
    alias: str
    version: str
    since: str  # local time at which the version was made
    made_by: Result | None


@dataclass(frozen=True)
class Releases:
    """How a registered model's champions came and went, as the steps that moved the alias took it down."""

    model: str
    since: datetime  # the champion of now is champion
    promotions: int
    rollbacks: int
    lead_time: float | None  # seconds from its data being fetched to that; None: nobody knows


class PastRuns:
    """The pipeline runs of one experiment."""

    def __init__(self, store: TrackingStore):
        self.store, self.client, self.artifacts = store, store.client, Artifacts(store)

    def latest(self, count: int) -> list[PastRun]:
        """The newest ones first."""
        return [as_past_run(run) for run in self._search(count)]

    def find(self, start: str) -> PastRun:
        """The one whose run ID begins so.

        Raises:
            RequestError: there is none, or there are several.
        """
        found = [run for run in self._search(MOST) if run.info.run_id.startswith(start)]
        if len(found) != 1:
            which = "is no pipeline run" if not found else f"means {len(found)} pipeline runs"
            raise RequestError(f"{start!r} {which} of this experiment; `python main.py status` lists the latest")
        return as_past_run(found[0])

    def manifest(self, run_id: str) -> dict[str, Any]:
        """What came of a pipeline run, as it wrote it down at its end.

        Raises:
            RequestError: it did not come so far.
            StoreError: its artifacts cannot be read.
        """
        with self.artifacts.outputs(run_id) as files:
            try:
                found: dict[str, Any] = json.loads(files["manifest.json"].read_text(encoding="utf-8"))
            except (LookupError, OSError, ValueError):
                raise RequestError(f"pipeline run {run_id[:8]} left no manifest: it did not come to its end") from None
        return found

    def result(self, run_id: str | None) -> Result | None:
        """A step's good run; None where it is none, or gone."""
        run = if_there(self.client.get_run, run_id) if run_id else None
        return as_result(run) if run and is_good(run) else None

    def places(self, manifest: Mapping[str, Any]) -> dict[str, dict[str, Path]]:
        """Where what a pipeline run's steps made lies on this machine, by step and name."""
        steps = manifest["steps"].items()
        return {n: self.artifacts.places(step["run_id"] or "", n, step["outputs"]) for n, step in steps}

    def aliases(self, models: Iterable[str]) -> list[Alias]:
        """Who carries which alias among these models, by model and alias; those that are not registered left out."""
        found = []
        for name in dict.fromkeys(models):
            model = if_there(self.client.get_registered_model, name)
            given: Mapping[str, Any] = model.aliases if model else {}
            for alias, number in sorted(given.items()):
                version = self.client.get_model_version(name, str(number))
                since = local_time(version.creation_timestamp)
                found.append(Alias(name, alias, str(number), since, self.result(version.run_id)))
        return found

    def releases(self, models: Iterable[str]) -> list[Releases]:
        """How the champions of these models came and went; those that never had one left out."""
        found = []
        for name in dict.fromkeys(models):
            model = if_there(self.client.get_registered_model, name)
            kept: Mapping[str, str] = model.tags if model else {}
            events = [json.loads(kept[key]) for key in sorted(kept) if EVENT.fullmatch(key)]
            if events:
                since = datetime.fromisoformat(events[-1]["when"])
                began = self._first_start(events[-1]["model_run_id"])
                lead = None if began is None else since.timestamp() - began / 1000
                happened = [event["event"] for event in events]
                counts = happened.count(PROMOTED), len(happened) - happened.count(PROMOTED)
                found.append(Releases(name, since, *counts, lead))
        return found

    def _first_start(self, run_id: str) -> int | None:
        """When the first of the runs began that a run is made of, in milliseconds; None where it is gone."""
        starts, left = {}, [run_id]
        while left:
            run = if_there(self.client.get_run, left.pop())
            if run and run.info.run_id not in starts:
                starts[run.info.run_id] = run.info.start_time
                texts = [word for text in run.data.params.values() for word in split(text)]
                left += [match[1] for text in texts if (match := re.match(r"runs:/(\w+)/", text))]
        return min(starts.values(), default=None)

    def _search(self, count: int) -> list[Run]:
        return list(
            self.client.search_runs(
                [self.store.experiment_id],
                f"tags.`{STEPS}` != ''",
                max_results=count,
                order_by=["attributes.start_time DESC"],
            )
        )


def split(text: str) -> list[str]:
    """A parameter's words, which MLflow stores shell-quoted; none where it is not."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def as_past_run(run: Run) -> PastRun:
    """What is said of a pipeline run in a line."""
    end = run.info.end_time or run.info.start_time
    return PastRun(
        run.info.run_id,
        run.info.run_name or "pipeline",
        run.info.status,
        run.info.start_time,
        (end - run.info.start_time) / 1000,
    )
