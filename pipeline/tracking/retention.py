"""Which old runs nothing refers to any more; they are marked deleted here (execution/disposal.py purges them).

A run stays for a reason of its own, and what it refers to stays with it, and what that refers to, and so on. A run
refers to each run, logged model and model version whose ID or URI is among its parameters, tags and datasets; a
pipeline run that stays for a reason of its own refers to each run in its manifest, those that it reused too. What no
pipeline made is not ours to remove, nor is what it refers to.

The versions of registered models stay, with their tags: they are the history of all that was decided about them. The
files of one that carries no alias, and that none refers to which does, go with the run that made it.
"""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.errors import RequestError
from pipeline.files import bytes_freed
from pipeline.states import State
from pipeline.tracking.past_runs import PastRuns
from pipeline.tracking.store import TrackingStore, if_there, local_path, paged
from pipeline.tracking.tags import PIPELINE_RUN, PROCESS, SIZES, STATE, STEP, STEPS, listing_of

PIPELINE, SWEEP, NESTED = "pipeline run", "sweep", "run below a step's"
KEEP = "keep"  # a tag that a person sets, with any value: the run stays
FILES_REMOVED = "files_removed"  # of a model version: when
BEFORE = ("predecessor", "anchor.before")  # tags by which a model version names another, to go back to
REFERENCE = re.compile(r"(?<![0-9a-zA-Z])(?:m-)?[0-9a-f]{32}(?![0-9a-zA-Z])|models:/[^/@\n]+/\d+")
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class Seen:
    """A run as far as it matters here."""

    run_id: str
    experiment_id: str
    kind: str  # the step that it is a run of, or one of the words below
    parent: str  # the run ID of its parent, "" if it has none
    ended: int  # milliseconds since 1970; when it was started, where it has not ended
    status: str
    good: bool
    of_pipeline: bool
    is_deleted: bool
    pinned: bool
    artifact_uri: str
    size_elsewhere: int | None  # bytes of artifacts on a server, where they were noted
    references: frozenset[str]


@dataclass(frozen=True)
class Survey:
    """What goes, and what stays and why, by ID: runs, logged models, and model versions as `models:/NAME/VERSION`."""

    runs: dict[str, Seen]  # of this experiment
    models: dict[str, LoggedModel]  # those of these runs
    versions: dict[str, ModelVersion]
    why: dict[str, str]  # ID -> the reason for which it stays

    @property
    def going(self) -> list[Seen]:
        """The runs that nothing refers to."""
        return [run for run_id, run in self.runs.items() if run_id not in self.why]

    @property
    def models_going(self) -> list[LoggedModel]:
        """The logged models whose run goes, or has gone before."""
        there = self.why.keys()
        return [m for m in self.models.values() if m.model_id not in there and m.source_run_id not in there]

    def sizes(self) -> dict[str, int]:
        """Bytes of the artifacts and logged models of each run that goes, as far as they are known; by run ID."""
        found = {run.run_id: (run.size_elsewhere or 0) + size_here(run.artifact_uri) for run in self.going}
        for model in self.models_going:
            found[str(model.source_run_id)] = found.get(str(model.source_run_id), 0) + size_here(
                model.artifact_location
            )
        return found


def survey(store: TrackingStore, since: int) -> Survey:
    """Look at all runs; those that ended at or after `since` (milliseconds since 1970) stay.

    Runs of other experiments are looked at too: what they refer to stays.
    """
    client = store.client
    experiments = [one.experiment_id for one in paged(client.search_experiments, view_type=ViewType.ACTIVE_ONLY)]
    runs = {
        run.info.run_id: as_seen(run)
        for run in paged(client.search_runs, experiment_ids=experiments, run_view_type=ViewType.ALL)
    }
    models = {
        model.model_id: model
        for model in paged(client.search_logged_models, experiment_ids=[store.experiment_id])
        if model.source_run_id
    }
    versions = {uri_of(one): one for one in paged(client.search_model_versions)}
    references = {run_id: set(run.references) for run_id, run in runs.items()}
    references |= {model_id: {str(model.source_run_id)} for model_id, model in models.items()}
    references |= {uri: set(of_version(version)) for uri, version in versions.items()}
    for run in runs.values():  # a run that a step started below its own
        if run.parent in runs and run.kind == NESTED:
            references[run.parent].add(run.run_id)
    roots = [*aliased(store), *of_runs(runs, store, since)]
    past = PastRuns(store)
    for run_id in {node for node, _ in roots if node in runs and runs[node].kind == PIPELINE}:
        with contextlib.suppress(RequestError):  # it did not come so far
            steps = past.manifest(run_id)["steps"].values()
            references[run_id] |= {step["run_id"] for step in steps if step["run_id"]}
    why = reached(roots, references)
    # On a server nothing more can be done about those that are marked.
    here = {
        run_id: run
        for run_id, run in runs.items()
        if run.experiment_id == store.experiment_id and (store.is_opened_here() or not run.is_deleted)
    }
    return Survey(here, models, versions, why)


def as_seen(run: Run) -> Seen:
    """The little of a run that is kept in memory."""
    tags, info = run.data.tags, run.info
    ours = any(name in tags for name in (STEP, STEPS, PIPELINE_RUN, PROCESS))
    parent = tags.get(MLFLOW_PARENT_RUN_ID, "")
    sources = [one.dataset.source for one in run.inputs.dataset_inputs] if run.inputs else []
    texts = "\n".join([*run.data.params.values(), *tags.values(), *sources])
    used = [one.model_id for one in run.inputs.model_inputs] if run.inputs else []
    return Seen(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        kind=tags.get(STEP) or (PIPELINE if STEPS in tags else SWEEP if ours else NESTED),
        parent=parent,
        ended=info.end_time or info.start_time,
        status=info.status,
        good=info.status == "FINISHED" and (STEPS in tags or (STEP in tags and tags.get(STATE) == State.EXECUTED)),
        of_pipeline=ours,
        is_deleted=info.lifecycle_stage == "deleted",
        pinned=KEEP in tags,
        artifact_uri=info.artifact_uri,
        size_elsewhere=sum(one.size or 0 for one in listing_of(tags[SIZES]).values()) if SIZES in tags else None,
        references=frozenset([*REFERENCE.findall(texts), *used]),
    )


def of_version(version: ModelVersion) -> list[str]:
    """What a model version refers to."""
    before = [f"models:/{version.name}/{version.tags[tag]}" for tag in BEFORE if version.tags.get(tag)]
    texts = "\n".join([str(version.source), *version.tags.values()])
    return [str(version.run_id or ""), *before, *REFERENCE.findall(texts)]


def uri_of(version: ModelVersion) -> str:
    """`models:/NAME/VERSION`."""
    return f"models:/{version.name}/{version.version}"


def aliased(store: TrackingStore) -> Iterator[tuple[str, str]]:
    """The model versions that carry an alias, in any experiment, each with that as the reason."""
    for model in paged(store.client.search_registered_models):
        for alias, number in sorted(model.aliases.items()):
            yield f"models:/{model.name}/{number}", f"lineage of {model.name}@{alias}"


def of_runs(runs: dict[str, Seen], store: TrackingStore, since: int) -> Iterator[tuple[str, str]]:
    """The runs that stay for a reason of their own."""
    here = sorted((r for r in runs.values() if r.experiment_id == store.experiment_id), key=lambda r: -r.ended)
    latest: dict[str, str] = {}
    for run in here:
        if run.good and not run.is_deleted:
            latest.setdefault(run.kind, run.run_id)
    yield from ((run_id, "the latest good run of its step, or needed for it") for run_id in latest.values())
    for run in runs.values():
        if run.experiment_id != store.experiment_id:
            yield run.run_id, "another experiment refers to it"
        elif run.pinned:
            yield run.run_id, f"tagged {KEEP}, or needed for such a run"
        elif run.ended >= since or run.status not in ENDED:
            yield run.run_id, "young, or used by a young one"
        elif not ours(run, runs):
            yield run.run_id, "made by no pipeline, or used by such a run"


def ours(run: Seen | None, runs: dict[str, Seen]) -> bool:
    """Whether a pipeline made the run, or a step of one did below its own."""
    while run and not run.of_pipeline:
        run = runs.get(run.parent)
    return run is not None


def reached(roots: Iterable[tuple[str, str]], references: dict[str, set[str]]) -> dict[str, str]:
    """All that can be reached from the roots, each with the reason of the first root that it is reached from."""
    why: dict[str, str] = {}
    for root, reason in roots:
        left = [root]
        while left:
            if (node := left.pop()) not in why:
                why[node] = reason
                left += references.get(node, ())
    return why


def refuse_while_running(found: Survey) -> None:
    """Raises RequestError where a pipeline runs: it may have decided to use what would go."""
    for run in found.runs.values():
        if run.kind == PIPELINE and run.status not in ENDED and not run.is_deleted:
            raise RequestError(
                f"pipeline run {run.run_id[:8]} is running, and may use what would be removed; wait for its end"
            )


def mark(store: TrackingStore, found: Survey) -> None:
    """Mark the runs that go as deleted; and, with the date, the model versions whose files will be purged with them."""
    gone, today = {run.run_id for run in found.going}, time.strftime("%Y-%m-%d")
    for uri, version in found.versions.items():
        if version.run_id in gone and uri not in found.why and store.is_opened_here():
            store.client.set_model_version_tag(version.name, version.version, FILES_REMOVED, today)
    for run in found.going:
        if not run.is_deleted:
            store.client.delete_run(run.run_id)


def mark_models(store: TrackingStore, found: Survey) -> None:
    """The same for their logged models."""
    for model in found.models_going:
        if_there(store.client.delete_logged_model, model.model_id)


def size_here(uri: str) -> int:
    """Bytes of the files at an artifact URI on this machine; 0 where it is elsewhere."""
    place = local_path(uri)
    return bytes_freed(place) if place else 0
