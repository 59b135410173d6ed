"""The frame of a step that calls no MLflow: it leaves what it made in files, and the pipeline logs them.

It starts sooner for it, since MLflow takes a second to import, and asks a shared store less. Where there is no pipeline
the files are logged here. This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from step import MODEL_URI, file_digest, run_step, unquoted
from step_error import StepError

if TYPE_CHECKING:
    import mlflow


class Record:
    """What a step made, in the form of $STEP_OUTPUTS (step_outputs.py has it).

    `datasets`: entries of dataset.json; `model`: model.json.
    """

    def __init__(self, outputs: Path, inputs: Mapping[str, Mapping[str, Any]] | None = None):
        """`inputs`: what is known of the parameters that name something of an earlier run, in the form of $STEP_INPUTS.

        That is for each its `uri`, as it was asked for, and the `effects` of the run that it is of.
        """
        self.outputs, self.inputs = outputs, inputs or {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.datasets: list[dict[str, Any]] = []
        self.model: dict[str, Any] = {}

    def requested(self, parameter: str, value: object) -> str:
        """The parameter as it was asked for: a URI, where `value` has become a local copy."""
        return str(self.inputs.get(parameter, {}).get("uri") or value)

    def registered(self, parameter: str) -> tuple[str, str]:
        """Name and version of the registered model that a parameter is, "" where that is not known here."""
        known = self.inputs.get(parameter, {})
        if match := MODEL_URI.fullmatch(str(known.get("uri"))):
            return match["name"], match["version"] or ""
        made = known.get("effects", {}).get("registry")
        return (str(made.get("model") or ""), str(made.get("version") or "")) if isinstance(made, dict) else ("", "")

    def read(self, parameter: str, path: Path, context: str) -> str:
        """Have the file that a parameter names as data that were read; its SHA-256 in hex."""
        digest = file_digest(path)
        self.datasets.append({"parameter": parameter, "name": path.name, "sha256": digest, "context": context})
        return digest

    def take(self, folder: Path) -> None:
        """Have all that is in a folder as artifacts; it is moved."""
        for path in list(folder.iterdir()):
            shutil.move(path, self.outputs / path.name)

    def write(self) -> None:
        """Write what is told beside the artifacts."""
        told = {
            "metrics.json": self.metrics,
            "tags.json": self.tags,
            "dataset.json": self.datasets,
            "model.json": self.model,
        }
        for name, content in told.items():
            if content:
                (self.outputs / name).write_text(json.dumps(content), encoding="utf-8")

    def log(self, run_id: str) -> None:
        """Log all of it to the run."""
        from mlflow import MlflowClient
        from step_outputs import log_outputs

        self.write()
        log_outputs(self.outputs, MlflowClient(), run_id)


Work = Callable[[Record, Path], None]


def record_step(step: str, work: Work) -> int:
    """`work` with a record to fill and a folder of its own; the exit code.

    What a step recorded before it failed is logged too: it may say why.
    """
    outputs = os.environ.get("STEP_OUTPUTS")
    if not outputs:
        return run_step(step, lambda run, folder: work_and_log(work, run, folder))
    known = Path(os.environ.get("STEP_INPUTS", ""))
    record = Record(Path(outputs), json.loads(known.read_text(encoding="utf-8")) if known.is_file() else None)
    try:
        with tempfile.TemporaryDirectory() as folder:
            work(record, Path(folder))
        record.write()
    except StepError as error:
        if any(record.outputs.iterdir()) or record.metrics or record.tags or record.datasets:
            record.log(os.environ["MLFLOW_RUN_ID"])  # the pipeline takes the files of a step that ends well
        print(f"{step}: {error}", file=sys.stderr)
        return 1
    return 0


def work_and_log(work: Work, run: "mlflow.ActiveRun", folder: Path) -> None:
    """`work` with a record that is logged to the run, whether it fails or not."""
    (own := folder / "own").mkdir()
    (outputs := folder / "outputs").mkdir()
    record = Record(outputs, {name: {"uri": unquoted(text)} for name, text in run.data.params.items()})
    try:
        work(record, own)
    finally:
        record.log(run.info.run_id)
