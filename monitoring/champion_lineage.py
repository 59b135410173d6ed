"""What a model was trained on, found through its own lineage: version -> run -> that run's artifacts and metrics."""

import re
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from monitored_files import MonitoringError

# All that a model may hold beyond what skops trusts by itself (as in inference): plain data types, pure functions.
TRUSTED_TYPES = ("numpy.dtype", "numpy.ravel", "numpy.sum", "sklearn.tree._tree.Tree")
COMPARED_METRICS = ("accuracy", "roc_auc", "log_loss", "brier")


@dataclass(frozen=True)
class Lineage:
    """A model's training run: its ID, its model's version in the registry ("" where unknown), its metrics."""

    uri: str
    run_id: str
    version: str
    metrics: dict[str, float]

    def artifact(self, name: str) -> Path:
        """A file of the training run.

        Raises:
            MonitoringError: the run has none of that name.
        """
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=self.run_id, artifact_path=name))
        except (MlflowException, OSError):
            raise MonitoringError(
                f"the run {self.run_id} that made model {self.uri} has no {name}; give reference=… instead"
            ) from None


def find_lineage(uri: str) -> Lineage:
    """The lineage of a model in the registry, of a run, or in a folder.

    Raises:
        MonitoringError: no such model, or it does not say which run made it.
    """
    client = mlflow.MlflowClient()
    version = ""
    try:
        if alias := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri):
            found = client.get_model_version_by_alias(*alias.groups())
            run_id, version = found.run_id, str(found.version)
        elif numbered := re.fullmatch(r"models:/([^/@]+)/(\d+)", uri):
            found = client.get_model_version(*numbered.groups())
            run_id, version = found.run_id, str(found.version)
        elif of_run := re.match(r"runs:/([0-9a-f]{32})/", uri):
            run_id = of_run[1]
        else:
            meta = yaml.safe_load((Path(uri) / "MLmodel").read_text(encoding="utf-8"))
            run_id = meta.get("run_id")
        metrics = client.get_run(str(run_id)).data.metrics
    except (MlflowException, OSError, AttributeError, yaml.YAMLError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise MonitoringError(
            f"model {uri} cannot be traced to its training ({reason}); train and promote one, or give reference=…"
        ) from None
    return Lineage(uri, str(run_id), version, dict(metrics))


def score_holdout(lineage: Lineage) -> pd.DataFrame:
    """The model's own predictions for passengers it was not trained on: Survived, probability.

    Its predictions for its training rows would be more confident than its later predictions.

    Raises:
        MonitoringError: the model or its holdout could not be downloaded, or the model may not be loaded.
    """
    import skops.io

    holdout = pd.read_csv(lineage.artifact("holdout.csv"), dtype={"Ticket": object, "Cabin": object})
    uri = lineage.uri
    try:
        folder = Path(uri) if Path(uri).is_dir() else Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        meta = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        flavor = meta["flavors"]["sklearn"]
        if flavor.get("serialization_format") != "skops":
            raise MonitoringError(f"model {uri} is not saved by skops, so not loaded; give reference_predictions=…")
        file = folder / Path(flavor["pickled_model"]).name  # MLflow's key, whatever the format
        classifier = skops.io.load(file, trusted=list(TRUSTED_TYPES))
        names = getattr(classifier, "feature_names_in_", holdout.columns)
        probability = np.round(classifier.predict_proba(holdout[list(names)])[:, 1], 10)
    except MonitoringError:
        raise
    except Exception as error:  # a damaged or forged model can make skops raise anything
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise MonitoringError(
            f"model {uri} cannot score its holdout ({type(error).__name__}: {reason}); give reference_predictions=…"
        ) from None
    return pd.DataFrame({"probability": probability})
