"""The models that answer now: a new version goes live beside the old one, without a restart. No HTTP here.

Where a model was asked for by an alias (models:/NAME@ALIAS), the alias is looked at every few seconds.
"""

import json
import logging
import tempfile
import threading
import time
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from request_rows import JSON, RequestError, decimal_chars, read_rows
from saved_model import SavedModel, open_model
from serving_batches import Models, answer_alone
from serving_log import ServedLog
from serving_settings import Settings
from step import MODEL_URI
from step_error import StepError, first_line

EXAMPLE = "input_example.json"
NO_ALIAS = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # as registries say it
logger = logging.getLogger("inference")


class LiveModel:
    """The model of one role. `current` is replaced as a whole: whoever has taken it keeps what it took."""

    def __init__(self, model: SavedModel, uri: str = "") -> None:
        self.current: SavedModel | None = model
        self.first = model
        self.since = self.checked = time.time()
        self.problem = ""  # why the alias's version does not answer
        self.refused = ""  # that version, where it would not do next time either
        self.swaps = 0
        found = MODEL_URI.fullmatch(uri)
        self.name, self.alias = found.group("name", "alias") if found and found["alias"] else ("", "")

    def look(self) -> None:
        """Take the version that the alias is of now, if it is another one and will do; else say why not."""
        problem, version = self.problem, "?"
        try:
            version = str(mlflow.MlflowClient().get_model_version_by_alias(self.name, self.alias).version)
            if version == self.version:
                problem = ""
            elif version != self.refused:
                self.take(version)
                problem = ""
        except Exception as error:  # whatever a registry, a store or a model raises: the old one answers on
            problem = self.without_version(version, error)
        if problem != self.problem and problem:
            logger.error("%s; version %s answers on", problem, (self.current or self.first).label)
        self.problem, self.checked = problem, time.time()

    @property
    def version(self) -> str:
        return self.current.version if self.current else ""

    def without_version(self, version: str, error: Exception) -> str:
        """The old one answers on; what is wrong, in a sentence."""
        return f"{self.name}@{self.alias} is version {version}, which does not answer: {first_line(error, 300)}"

    def take(self, version: str) -> None:
        """Raises StepError where that version will not do."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                uri = f"models:/{self.name}/{version}"
                local = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
            except (MlflowException, OSError) as error:  # it may be there the next time
                raise StepError(f"it could not be downloaded ({error})") from None
            try:
                model = open_model(local)
                check(model, self.first)
            except Exception:
                self.refused = version
                raise
        before = self.current.label if self.current else "none"
        self.current, self.since, self.refused = model, time.time(), ""
        self.swaps += 1
        logger.warning("%s@%s: version %s in place of %s", self.name, self.alias, model.label, before)


class OtherModel(LiveModel):
    """A challenger or shadow: one that `first`, the champion, can be compared with. There may be none."""

    def __init__(self, first: SavedModel, uri: str) -> None:
        """Raises StepError where the URI is of no model that will do; an alias may have none, or a better one later."""
        super().__init__(first, uri)
        self.current = None
        if self.alias:
            self.look()
        elif uri:
            self.current = open_model(uri)
            check(self.current, first)

    def without_version(self, version: str, error: Exception) -> str:
        """Its rows are the champion's; nothing is wrong where the alias was taken away."""
        if version == "?" and isinstance(error, MlflowException):
            if error.error_code not in NO_ALIAS:
                return super().without_version(version, error)
            self.current = None
            return ""
        self.current = None
        return super().without_version(version, error)


class Live:
    """The models of all roles, `current`, replaced as a whole too; and the thread that looks at their aliases."""

    def __init__(self, model: SavedModel, settings: Settings) -> None:
        self.champion = LiveModel(model, settings.uri)
        self.challenger = OtherModel(model, settings.challenger if settings.canary else "")
        self.shadow = OtherModel(model, settings.shadow)
        self.canary = settings.canary
        self.log = None
        if settings.log:
            pieces = (settings.log_share, settings.log_rows, settings.log_seconds)
            self.log = ServedLog(Path(settings.log), model.table, *pieces)
        self.roles = (self.champion, self.challenger, self.shadow)
        self.seconds = settings.reload_seconds if any(one.alias for one in self.roles) else 0
        self.current = self.compose()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watch", daemon=True)

    def compose(self) -> Models:
        champion = self.champion.current or self.champion.first
        return Models(champion, self.challenger.current, self.shadow.current, self.canary, self.log)

    def start(self) -> None:
        if self.log:
            self.log.start()
        if self.seconds:
            self.thread.start()

    def stop(self) -> None:
        """After the last answer."""
        self.stopping.set()
        if self.log:
            self.log.stop()

    def watch(self) -> None:
        while not self.stopping.wait(self.seconds):
            before = [one.current for one in self.roles]
            for one in self.roles:
                if one.alias:
                    one.look()
            if any(one.current is not old for one, old in zip(self.roles, before, strict=True)):
                self.current = self.compose()


def check(model: SavedModel, first: SavedModel) -> None:
    """Raises StepError unless whoever asked the first model can ask this one, and it answers for its own example."""
    new, old = model.table, first.table
    if new.question != old.question:
        raise StepError(f"it predicts {new.target.name} ({new.task}), not {old.target.name} ({old.task}); start anew")
    if more := [name for name in model.wanted if name not in first.wanted]:
        raise StepError(f"it reads {', '.join(more)}, which requests need not have so far; start the server anew")
    try:
        example = json.loads((model.folder / EXAMPLE).read_text(encoding="utf-8"))
        kinds = [new.by_name[name].type for name in example["columns"]]
        rows = [  # models know true as 1
            [cell if cell is None or kind != "boolean" else bool(cell) for cell, kind in zip(row, kinds, strict=True)]
            for row in example["data"]
        ]
        body = json.dumps({"dataframe_split": {"columns": example["columns"], "data": rows}}).encode()
        cells = read_rows(JSON, body, model.wanted, decimal_chars(model.table))
    except (OSError, ValueError, KeyError, TypeError, RequestError) as error:
        raise StepError(f"it has no {EXAMPLE} that it could be tried on ({error}); train it again") from None
    answer_alone(model, cells)
