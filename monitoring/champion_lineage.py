"""What a model was trained on, found through its own lineage: model -> run -> that run's artifacts and metrics."""

from functools import cached_property
from pathlib import Path

import mlflow
import pandas as pd
from grouped_rows import group_codes
from mlflow.exceptions import MlflowException
from monitored_files import read_rows
from predictions import METRICS
from saved_model import SavedModel
from sharing import Sharing
from step_error import StepError


class Lineage:
    """The training run of a model."""

    def __init__(self, model: SavedModel, max_rows: int, sharing: Sharing) -> None:
        self.model = model
        self.max_rows, self.sharing = max_rows, sharing  # of the holdout that are looked at; who reads it

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The run's metrics; none where the run is not known."""
        try:
            return dict(mlflow.MlflowClient().get_run(self.model.run_id).data.metrics)
        except MlflowException:
            return {}

    @property
    def training_metrics(self) -> dict[str, float]:
        """Those of the holdout, by their names in `predictions.METRICS`."""
        return {name: self.metrics[name] for name in METRICS[self.model.table.task] if name in self.metrics}

    def baseline(self, metric: str) -> tuple[float, int, bool] | None:
        """What the metric was on unseen rows, on how many, and whether on the training rows; None if it is not known.

        Out of the folds of a cross-validation it is over all training rows (each counted once, however often it was
        repeated); else it is over the holdout, which is a fraction of them.
        """
        for name, rows in ((f"cv_{metric}_mean", "rows_train"), (metric, "rows_holdout")):
            if {name, rows} <= self.metrics.keys():
                return self.metrics[name], int(self.metrics[rows]), rows == "rows_train"
        return None

    @cached_property
    def importance(self) -> dict[str, float]:
        """What the model loses when a column is shuffled, by column; none where the run does not say."""
        try:
            found = pd.read_csv(self.artifact("importance.csv"))
            return dict(zip(found["column"].astype(str), found["mean"].astype(float), strict=True))
        except (StepError, KeyError, ValueError):
            return {}

    def artifact(self, name: str) -> Path:
        """A file of the training run.

        Raises:
            StepError: the run has none of that name, or is not known.
        """
        run = self.model.run_id
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path=name))
        except (MlflowException, OSError):
            instead = "reference" if name == "train.csv" else "reference_predictions"
            raise StepError(
                f"the run {run} that made {self.model} has no {name}; train it again, or give {instead}=…"
            ) from None

    @cached_property
    def holdout(self) -> tuple[pd.Series, pd.DataFrame, pd.Series]:
        """The outcomes of rows that the model was not trained on, what it says of them (as `predict` gives it), and
        their groups.

        Its predictions for its training rows would be more confident than its later predictions.

        Raises:
            StepError: the holdout could not be had.
        """
        table = self.model.table
        rows = read_rows(table, self.artifact("holdout.csv"), self.max_rows, sharing=self.sharing).frame
        return rows[table.target.name], self.model.predict(rows), group_codes(table, rows)
