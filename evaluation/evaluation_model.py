"""Open a model folder that may come from anybody: nothing in it may run code. No MLflow here."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import skops.io
import yaml
from skops.io.exceptions import UntrustedTypesFoundException

# Stock types that skops does not trust by itself. A model's own list (skops_trusted_types in MLmodel) does not count:
# whoever wrote the file wrote that too.
TRUSTED_TYPES = ["numpy.dtype", "numpy.ravel", "numpy.sum", "sklearn.tree._tree.Tree"]
PICKLES = {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill", ".pt", ".pth", ".py", ".so"}


class EvaluationError(Exception):
    """The model cannot be judged, or nothing may be released; the text is meant for the user."""


@dataclass(frozen=True)
class SavedModel:
    """A model folder that holds nothing but data, and the classifier in it."""

    folder: Path
    run_id: str
    model_id: str
    columns: list[str]  # of its signature
    decimals: list[str]  # those of type double
    classifier: Any  # scikit-learn's, which has no types
    sha256: str  # of model.skops

    def probability(self, passengers: pd.DataFrame) -> pd.Series:
        """Probability of survival, 0 to 1, for each row."""
        if missing := [name for name in self.columns if name not in passengers.columns]:
            raise EvaluationError(f"the holdout has no column {', '.join(missing)}, which the model reads")
        return pd.Series(self.classifier.predict_proba(passengers[self.columns])[:, 1], index=passengers.index)


def open_model(folder: Path) -> SavedModel:
    """The model in an MLflow model folder.

    Raises:
        EvaluationError: no model folder, not saved with skops, or it holds pickles, code or types that are not trusted.
    """
    specification = read_specification(folder)
    refuse_code(folder, specification)
    data = folder / "model.skops"
    if not data.is_file() or not zipfile.is_zipfile(data):
        raise EvaluationError(
            f"the model {folder.name} has no readable model.skops; train it again with the step training"
        )
    try:
        classifier = skops.io.load(data, trusted=TRUSTED_TYPES)
    except UntrustedTypesFoundException:  # before anything of it was made
        untrusted = set(skops.io.get_untrusted_types(file=data)) - set(TRUSTED_TYPES)
        raise EvaluationError(
            f"the model {folder.name} is refused: it holds types that are not trusted "
            f"({', '.join(sorted(untrusted)[:5])}); only stock scikit-learn models are loaded"
        ) from None
    except Exception as error:  # whatever a damaged or hostile file brings about
        raise EvaluationError(
            f"the model {folder.name} cannot be read ({type(error).__name__}); train it again with the step training"
        ) from error
    inputs = yaml.safe_load((specification.get("signature") or {}).get("inputs") or "[]")
    if not hasattr(classifier, "predict_proba") or not inputs:
        raise EvaluationError(f"the model {folder.name} has no predict_proba or no signature; a classifier is needed")
    return SavedModel(
        folder,
        run_id=specification.get("run_id") or "",
        model_id=specification.get("model_id") or "",
        columns=[column["name"] for column in inputs],
        decimals=[column["name"] for column in inputs if column["type"] == "double"],
        classifier=classifier,
        sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
    )


def read_specification(folder: Path) -> dict[str, Any]:
    """The content of the folder's MLmodel file."""
    try:
        specification = yaml.safe_load((folder / "MLmodel").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        specification = None
    if not isinstance(specification, dict) or not isinstance(specification.get("flavors"), dict):
        raise EvaluationError(
            f"{folder} is no MLflow model (no readable MLmodel file in it); give a model folder or URI"
        )
    return specification


def refuse_code(folder: Path, specification: dict[str, Any]) -> None:
    """Before anything is loaded: scikit-learn by skops, and no other flavor, file or import.

    Raises:
        EvaluationError: the folder could run code on loading.
    """
    flavors = specification["flavors"]
    sklearn, pyfunc = flavors.get("sklearn") or {}, flavors.get("python_function") or {}
    problems = []
    if other := sorted(set(flavors) - {"sklearn", "python_function"}):
        problems.append(f"flavor {', '.join(map(str, other))}")
    if sklearn.get("serialization_format") != "skops":
        problems.append(f"serialization format {sklearn.get('serialization_format')}")
    if sklearn.get("pickled_model") != "model.skops" or pyfunc.get("model_path", "model.skops") != "model.skops":
        problems.append("a model file other than model.skops")
    if pyfunc and pyfunc.get("loader_module") != "mlflow.sklearn":
        problems.append(f"loader {pyfunc.get('loader_module')}")
    if any(sklearn.get(key) or pyfunc.get(key) for key in ("code", "config", "model_code_path", "python_model")):
        problems.append("code of its own")
    files = [file for file in folder.rglob("*") if file.is_symlink() or file.is_file()]
    problems += [f"the file {f.name}" for f in sorted(files) if f.is_symlink() or f.suffix.lower() in PICKLES]
    if wanted := set(sklearn.get("skops_trusted_types") or []) - set(TRUSTED_TYPES):
        problems.append(f"types that are not trusted ({', '.join(sorted(map(str, wanted))[:5])})")
    if problems:
        raise EvaluationError(
            f"the model {folder.name} is refused, since loading it could run code: {'; '.join(problems)}; "
            "only scikit-learn models saved with skops are loaded"
        )
