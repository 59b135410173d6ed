"""The model that answers now: a new version goes live beside the old one, without a restart. No HTTP here.

Where the model was asked for by an alias (models:/NAME@ALIAS), the alias is looked at every few seconds.
"""

import json
import logging
import tempfile
import threading
import time

import mlflow
from mlflow.exceptions import MlflowException
from request_rows import JSON, RequestError, decimal_chars, read_rows
from saved_model import SavedModel, open_model
from serving_batches import answer_alone
from step import MODEL_URI
from step_error import StepError, first_line

EXAMPLE = "input_example.json"
logger = logging.getLogger("inference")


class LiveModel:
    """`current` is replaced as a whole: whoever has taken it keeps what it took."""

    def __init__(self, model: SavedModel, uri: str = "", reload_seconds: float = 0) -> None:
        self.current = self.first = model
        self.since = self.checked = time.time()
        self.problem = ""  # why the alias's version does not answer
        self.refused = ""  # that version, where it would not do next time either
        self.swaps = 0
        found = MODEL_URI.fullmatch(uri)
        self.name, self.alias = found.group("name", "alias") if found and found["alias"] else ("", "")
        self.seconds = reload_seconds if self.alias else 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watch", daemon=True)

    def start(self) -> None:
        if self.seconds:
            self.thread.start()

    def stop(self) -> None:
        self.stopping.set()

    def watch(self) -> None:
        while not self.stopping.wait(self.seconds):
            self.look()

    def look(self) -> None:
        """Take the version that the alias is of now, if it is another one and will do; else say why not."""
        problem, version = self.problem, "?"
        try:
            version = str(mlflow.MlflowClient().get_model_version_by_alias(self.name, self.alias).version)
            if version == self.current.version:
                problem = ""
            elif version != self.refused:
                self.take(version)
                problem = ""
        except Exception as error:  # whatever a registry, a store or a model raises: the old one answers on
            problem = f"{self.name}@{self.alias} is version {version}, which does not answer: {first_line(error, 300)}"
        if problem != self.problem and problem:
            logger.error("%s; version %s answers on", problem, self.current.label)
        self.problem, self.checked = problem, time.time()

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
        before = self.current.label
        self.current, self.since, self.refused = model, time.time(), ""
        self.swaps += 1
        logger.warning("version %s answers in place of %s", model.label, before)


def check(model: SavedModel, first: SavedModel) -> None:
    """Raises StepError unless whoever asked the first model can ask this one, and it answers for its own example."""
    new, old = model.table, first.table
    if new.question != old.question:
        raise StepError(f"it predicts {new.target.name} ({new.task}), not {old.target.name} ({old.task}); start anew")
    if more := [name for name in model.wanted if name not in first.wanted]:
        raise StepError(f"it reads {', '.join(more)}, which requests need not have so far; start the server anew")
    try:
        example = json.loads((model.folder / EXAMPLE).read_text(encoding="utf-8"))
        body = json.dumps({"dataframe_split": example}).encode()
        cells = read_rows(JSON, body, model.wanted, decimal_chars(model.table))
    except (OSError, ValueError, RequestError) as error:
        raise StepError(f"it has no {EXAMPLE} that it could be tried on ({error}); train it again") from None
    answer_alone(model, cells)
