"""What earlier runs left in the store: the planner's `Store`. Nothing is written here."""

import json
from collections.abc import Iterator
from dataclasses import replace

from mlflow.entities import Run

from pipeline.files import content_digest
from pipeline.planning.decision import Result
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.reads import moved
from pipeline.tracking.artifacts import Artifacts, differing, same_etags
from pipeline.tracking.store import TrackingStore, if_there
from pipeline.tracking.tags import (
    FINGERPRINT,
    METRICS,
    READS,
    SIZES,
    STATE,
    STEP,
    as_result,
    is_good,
    listing_of,
    metrics_digest,
)

FEW = 20  # good runs that are taken in at once
SAME_FINGERPRINT = 3  # runs with the same fingerprint that are looked at, newest first


class History:
    """Finds the good runs of steps in one experiment."""

    def __init__(self, store: TrackingStore, artifacts: Artifacts):
        self.store, self.artifacts = store, artifacts
        self._latest: dict[str, Result | None] = {}
        # By step, the experiment's good runs, newest first; None where there are more than were taken in.
        self._all: dict[str, list[Result]] | None = None
        self._aliases: dict[tuple[str, str], str | None] = {}  # (model, alias) -> version
        self._ran: set[str] = set()  # steps that have run since

    def prefetch(self, steps: int) -> None:
        """Take in the newest good runs of the experiment with one query instead of several for each of so many steps.

        Where these are all there are, nothing is asked for later: what others record meanwhile is not reused.
        """
        limit = max(FEW, 2 * steps)
        runs = self._runs("", limit)
        found = [result for run in runs if (result := self._result(run))]
        for result in found:
            self._latest.setdefault(result.step, result)
        by_step: dict[str, list[Result]] = {}
        for result in found:
            by_step.setdefault(result.step, []).append(result)
        self._all = by_step if len(runs) < limit else None

    def latest(self, step: str) -> Result | None:
        """The step's latest good run in this experiment."""
        if step not in self._latest:
            known = self._known(step)
            found = self._search(f"tags.`{STEP}` = '{step}' and ", 1) if known is None else known
            self._latest[step] = next(iter(found), None)
        return self._latest[step]

    def good_run(self, step: str, run_id: str) -> Result | None:
        """This run, if it is a good one of the step."""
        run = if_there(self.store.client.get_run, run_id)
        if run is None or not is_good(run) or run.data.tags[STEP] != step:
            return None
        self.artifacts.known_runs[run_id] = run
        return self._result(run)

    def forget_latest(self, step: str) -> None:
        """The step has run again."""
        self.forget_aliases()
        self._latest.pop(step, None)
        self._ran.add(step)

    def forget_aliases(self) -> None:
        """A step ended, and may have moved one."""
        self._aliases.clear()

    def matching(self, step: str, fingerprint: Fingerprint) -> Iterator[Result]:
        """The step's good runs with this fingerprint, newest first; a few are enough."""
        latest = self.latest(step)
        if latest and latest.fingerprint == fingerprint:
            yield latest
        if (known := self._known(step)) is not None:
            same = [result for result in known if result.fingerprint == fingerprint][:SAME_FINGERPRINT]
        else:
            condition = f"tags.`{FINGERPRINT}` = '{fingerprint.digest}' and tags.`{STEP}` = '{step}' and "
            same = self._search(condition, SAME_FINGERPRINT)
        yield from (result for result in same if not latest or result.run_id != latest.run_id)

    def _known(self, step: str) -> list[Result] | None:
        """All good runs of the step, newest first; None where they were not all taken in."""
        if self._all is None or step in self._ran:
            return None
        return self._all.get(step, [])

    def _search(self, condition: str, limit: int) -> list[Result]:
        return [result for run in self._runs(condition, limit) if (result := self._result(run))]

    def _runs(self, condition: str, limit: int) -> list[Run]:
        runs = self.store.client.search_runs(
            [self.store.experiment_id],
            f"{condition}tags.`{STATE}` = 'executed' and attributes.status = 'FINISHED'",
            max_results=limit,
            order_by=["attributes.end_time DESC"],
        )
        self.artifacts.known_runs |= {run.info.run_id: run for run in runs}
        return list(runs)

    def _result(self, run: Run) -> Result | None:
        """The run as a result; None where it is not known any more what it read."""
        result, tag = as_result(run), run.data.tags.get(READS, "")
        if not tag.startswith("@"):
            return result
        reads = self.artifacts.reads(run, tag.removeprefix("@"))
        return None if reads is None else replace(result, reads=reads)

    def integrity_error(self, result: Result) -> str:
        """What is wrong with a result's artifacts in the store, in words; "" where they are as they were made.

        What was digested by this process and looks the same since is not digested again.
        """
        seen = self.artifacts.looks.get(result.run_id)
        if seen is not None and not moved(seen):
            return ""
        error = self._integrity_error(result)
        if error:
            self.artifacts.looks.pop(result.run_id, None)
        return error

    def _integrity_error(self, result: Result) -> str:
        run = self.artifacts.known_runs[result.run_id]
        return self._altered_files(run, result) or (
            f"the metrics of run {result.run_id[:8]} were altered in the store"
            if metrics_digest(run.data.metrics) != run.data.tags.get(METRICS)
            else ""
        )

    def _altered_files(self, run: Run, result: Result) -> str:
        text = None if self.artifacts.verify_content else run.data.tags.get(SIZES)
        now = self.artifacts.listing(run) if text else None
        if text and now is not None and all(one.size is not None for one in now.values()):
            then = listing_of(text)
            for path in differing(then, now):
                how = "is no longer" if path not in now else "was altered" if path in then else "was added"
                return f"{path} of run {result.run_id[:8]} {how} in the store"
            if same_etags(then, now):
                return ""
        with self.artifacts.outputs(result.run_id) as found:
            self.artifacts.remember(result.run_id, found)
            for name, sha256 in result.outputs.items():
                if name not in found:
                    return f"{name} of run {result.run_id[:8]} is no longer in the store"
                if content_digest(found[name]) != sha256:
                    return f"{name} of run {result.run_id[:8]} was altered in the store"
        return ""

    def effect_error(self, result: Result) -> str:
        """Which effect that a result declares does not hold any more, in words; "" where all do.

        An effect is one in the model registry: `{"model": NAME, "aliases": {ALIAS: VERSION}}` says who carries which
        alias ("": nobody), `{"model": NAME, "version": VERSION}` that the run made this version.
        """
        for name, text in result.effects.items():
            try:
                effect = json.loads(text)
                model, aliases, version = effect["model"], effect.get("aliases", {}), effect.get("version")
                wrong = self._wrong_alias(model, aliases) or (version and self._wrong_version(model, version, result))
            except (ValueError, KeyError, TypeError, AttributeError):
                return f"its effect {name} is not one that can be verified"
            if wrong:
                return f"its effect no longer holds: {wrong}"
        return ""

    def _wrong_alias(self, model: str, aliases: dict[str, str]) -> str:
        for alias, then in aliases.items():
            carrier = self._aliases[model, alias] = self._model_version_now(model, alias)
            now = carrier or ""
            if now != then:
                words = [f"version {one}" if one else "none" for one in (now, then)]
                return f"{alias} of {model} is {words[0]}, not {words[1]}"
        return ""

    def _wrong_version(self, model: str, version: str, result: Result) -> str:
        there = if_there(self.store.client.get_model_version, model, version)
        made_by = there.run_id if there else ""
        return "" if made_by == result.run_id else f"version {version} of {model}, which it made, is gone"

    def artifact_digest(self, uri: str) -> str:
        """The digest of what a `runs:/` or `models:/` URI points at; LookupError where nothing is there."""
        return self.artifacts.digest_at(uri)

    def model_version(self, name: str, alias: str) -> str | None:
        """The version of a registered model that carries the alias, as it was when a step last ended."""
        if (name, alias) not in self._aliases:
            self._aliases[name, alias] = self._model_version_now(name, alias)
        return self._aliases[name, alias]

    def _model_version_now(self, name: str, alias: str) -> str | None:
        there = if_there(self.store.client.get_model_version_by_alias, name, alias)
        return str(there.version) if there else None
