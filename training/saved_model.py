"""Open a model folder that may come from anybody: nothing in it may run code. The one place that does.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from companions import COMPANIONS, Companions
from declaration import read_declaration
from predictions import predict
from step_error import StepError, first_line
from table import BINARY, REGRESSION, Table

# All that a model may hold beyond what skops trusts by itself: plain data types, pure functions of numbers. A model's
# own list (skops_trusted_types in MLmodel) does not count: whoever wrote the file wrote that too.
TRUSTED_TYPES = (
    "numpy.asarray",
    "numpy.diff",
    "numpy.dtype",
    "numpy.ravel",
    "numpy.sum",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.tree._tree.Tree",
)
DECLARATION = "dataset.json"
BACKGROUND = "background.csv"
PICKLE_NAME = re.compile(r"(?i)\.(pkl|pickle|p|cloudpickle|joblib|dill|pt|pth|npy\.obj)$")
PICKLE_START = re.compile(rb"\x80[\x02-\x05]")  # protocol 2 and later; earlier ones have no mark
MAX_UNPACKED = 4 << 30  # bytes of a model's archive


@dataclass(frozen=True)
class SavedModel:
    """A fitted estimator, the table that it is for, and which model it is."""

    estimator: Any  # scikit-learn's, which has no types
    table: Table
    folder: Path
    columns: tuple[str, ...]  # that it reads
    run_id: str
    model_id: str
    sha256: str  # of model.skops and, where there is one, of companions.json: of what decides its predictions
    name: str = ""  # in the registry; "" where it is not registered
    version: str = ""
    background: pd.DataFrame | None = None  # some of the rows that it was trained on, which others are compared with
    companions: Companions | None = None  # by whom its probabilities are corrected

    @property
    def label(self) -> str:
        """What the column model_version says: the registry's version, else the model's or run's ID."""
        return self.version or self.model_id or self.run_id or "unregistered"

    def __str__(self) -> str:
        return f"{self.name} version {self.version}" if self.version else f"model {self.label}"

    def tags(self, role: str = "model") -> dict[str, str]:
        """Tags of a run that used it: model.name, model.version, model.run_id, model.id, as far as they are known."""
        found = {"name": self.name, "version": self.version, "run_id": self.run_id, "id": self.model_id}
        return {f"{role}.{key}": value for key, value in found.items() if value}

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What the model says of rows of a clean table; see `predictions.predict`.

        Raises:
            StepError: a column that it reads is not there.
        """
        if missing := [name for name in self.columns if name not in rows.columns]:
            raise StepError(f"there is no column {', '.join(missing)}, which the model reads")
        said = predict(self.estimator, self.table, rows[list(self.columns)])
        return self.companions.correct(self.table, said, rows) if self.companions else said

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that `predict` looks at: those that the model reads, with companions the key and the group."""
        if not self.companions:
            return self.columns
        key = [self.table.key.name] if self.table.has_key else []
        return tuple(dict.fromkeys([*key, *self.columns, self.companions.group]))


def open_model(uri: str | Path, registered: tuple[str, str] = ("", "")) -> SavedModel:
    """The model at `uri`: a folder, or any URI that MLflow knows.

    `registered`: its name and version in the registry, which is asked where they are not known.

    Raises:
        StepError: nothing there, a pickle or code in it, types that are not trusted, no declaration.
    """
    folder, name = fetch_model(str(uri)), str(uri)
    meta = read_mlmodel(folder, name)
    file = skops_file(folder, meta, name)
    refuse_pickle(folder, name)
    if not (folder / DECLARATION).is_file():
        raise StepError(
            f"model {name} has no {DECLARATION}, which says what it is for; train it again with this training"
        )
    table = read_declaration(folder / DECLARATION)
    estimator = load_skops(file, name)
    refuse_other_target(estimator, table, name)
    columns = signature_columns(meta, table, name)
    companions = read_companions(folder, table, name)
    run_id, model_id = str(meta.get("run_id") or ""), str(meta.get("model_id") or "")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if companions:
        digest.update(companions.text().encode())
    known, version = registered if all(registered) else registered_as(folder, run_id, model_id)
    others = read_background(folder, table, columns)
    return SavedModel(
        estimator, table, folder, columns, run_id, model_id, digest.hexdigest(), known, version, others, companions
    )


def read_background(folder: Path, table: Table, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """The columns that the model reads, of the rows that it keeps to compare with; None where it keeps none."""
    if not (folder / BACKGROUND).is_file():
        return None
    return table.read(folder / BACKGROUND, target="none", columns=columns)[list(columns)]


def read_companions(folder: Path, table: Table, uri: str) -> Companions | None:
    """The table of companions, None where the model has none.

    Raises:
        StepError: it is none, or of another table.
    """
    if not (folder / COMPANIONS).is_file():
        return None
    try:
        found = Companions.read((folder / COMPANIONS).read_text(encoding="utf-8"))
        if table.task != BINARY or (found.key, found.group) != (table.key.name, table.group):
            raise ValueError("it is of another table")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StepError(
            f"model {uri} has a {COMPANIONS} that cannot be used ({first_line(error)}); train it again"
        ) from None
    return found


def fetch_model(uri: str) -> Path:
    """The model's local folder."""
    if Path(uri).is_dir():
        return Path(uri)
    if not re.match(r"[a-zA-Z][\w+.-]+:/", uri):
        raise StepError(f"model {uri!r} is neither a folder nor a URI such as models:/NAME@champion")
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (mlflow.MlflowException, OSError) as error:
        raise StepError(
            f"model {uri} could not be downloaded ({first_line(error)}); train one first, or name another"
        ) from None


def champion_uri(alias: str = "champion") -> str:
    """`models:/NAME@ALIAS` of the one registered model that has the alias.

    Raises:
        StepError: none has it, or several have.
    """
    import mlflow

    try:
        found = [one.name for one in mlflow.MlflowClient().search_registered_models() if alias in one.aliases]
    except mlflow.MlflowException as error:
        raise StepError(f"the model registry cannot be read ({error}); give model=models:/NAME@{alias}") from None
    if len(found) != 1:
        which = "no registered model has" if not found else f"{', '.join(sorted(found))} all have"
        hint = "train and evaluate one first" if not found else f"say which: models:/NAME@{alias}"
        raise StepError(f"{which} a {alias}; {hint}")
    return f"models:/{found[0]}@{alias}"


def read_mlmodel(folder: Path, uri: str) -> dict[str, Any]:
    meta = read_yaml(folder / "MLmodel")
    if not isinstance(meta.get("flavors"), dict):
        raise StepError(f"model {uri} has no readable MLmodel file; give a model's folder or URI")
    return meta


def read_yaml(file: Path) -> dict[str, Any]:
    """What the file says, or nothing where it cannot be read."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def skops_file(folder: Path, meta: dict[str, Any], uri: str) -> Path:
    """The model's own file, if everything in MLmodel says that it is a scikit-learn model saved by skops.

    Raises:
        StepError: another flavor, another format, code of its own, a file outside the folder.
    """
    flavors = meta["flavors"]
    sklearn, pyfunc = flavors.get("sklearn") or {}, flavors.get("python_function") or {}
    if not (isinstance(sklearn, dict) and sklearn and isinstance(pyfunc, dict)):
        raise StepError(f"model {uri} is not a scikit-learn model (it has: {', '.join(map(str, flavors))})")
    saved_as = sklearn.get("serialization_format") or "pickle"  # MLflow's own reading of an absent one
    if saved_as != "skops":
        raise StepError(
            f"model {uri} is saved as {saved_as}, which can run code when loaded; "
            "save it with serialization_format='skops'"
        )
    loader = pyfunc.get("loader_module", "mlflow.sklearn")
    keys = ("code", "config", "model_code_path", "python_model")
    if loader != "mlflow.sklearn" or any(flavor.get(key) for flavor in (sklearn, pyfunc) for key in keys):
        raise StepError(f"model {uri} brings code of its own, which is not run; save it without code_paths")
    file = (folder / str(sklearn.get("pickled_model"))).resolve()  # MLflow's key, whatever the format
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise StepError(f"model {uri} names no file of its own folder as the model; log it again")
    # MLflow's own loader goes by these: what was looked at here must be what it opens.
    if pyfunc.get("data") or pyfunc.get("model_path", sklearn["pickled_model"]) != sklearn["pickled_model"]:
        raise StepError(f"model {uri} names another file as the model to MLflow than to scikit-learn; log it again")
    return file


def refuse_pickle(folder: Path, uri: str) -> None:
    """No file of the folder, and none inside its zip files, may be a pickle.

    Raises:
        StepError: one is, by its name or its first bytes.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            found = looks_pickled(file.name, stream.read(2))
        if not found and zipfile.is_zipfile(file):
            try:
                with zipfile.ZipFile(file) as packed:
                    if sum(one.file_size for one in packed.infolist()) > MAX_UNPACKED:
                        raise StepError(
                            f"model {uri} unpacks to more than {MAX_UNPACKED >> 30} GB, so it is not opened"
                        )
                    found = any(looks_pickled(name, packed.open(name).read(2)) for name in packed.namelist())
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):
                raise StepError(f"model {uri} has a damaged archive ({file.name}); train it again") from None
        if found:
            raise StepError(
                f"model {uri} carries a pickle ({file.relative_to(folder)}), which can run code when it is loaded; "
                "save the model with serialization_format='skops' alone"
            )


def looks_pickled(name: str, start: bytes) -> bool:
    return bool(PICKLE_NAME.search(name) or PICKLE_START.match(start))


def load_skops(file: Path, uri: str) -> Any:
    """Raises StepError for types beyond TRUSTED_TYPES: the list in the model's own MLmodel is not asked."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(file, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException:  # before anything of it was made
        names = ", ".join(sorted(set(skops.io.get_untrusted_types(file=file)) - set(TRUSTED_TYPES)))[:300]
        raise StepError(f"model {uri} holds types that are not trusted, so it is not loaded: {names}") from None
    except Exception as error:  # a damaged or forged file can make skops raise anything
        raise StepError(
            f"model {uri} is not one that skops can load ({type(error).__name__}: {first_line(error)})"
        ) from None


def refuse_other_target(estimator: Any, table: Table, uri: str) -> None:
    """Raises StepError unless the estimator predicts what the declaration says."""
    if table.task == REGRESSION:
        if hasattr(estimator, "classes_") or not hasattr(estimator, "predict"):
            raise StepError(f"model {uri} predicts no number, but its declaration says so; train it again")
        return
    classes = list(getattr(estimator, "classes_", []))
    if not hasattr(estimator, "predict_proba") or set(classes) != set(table.classes):
        raise StepError(
            f"model {uri} is not a classifier of {', '.join(map(str, table.classes))} with probabilities; "
            "give one that training made"
        )


def signature_columns(meta: dict[str, Any], table: Table, uri: str) -> tuple[str, ...]:
    """The columns that the model reads, in order.

    Raises:
        StepError: no signature, or a column that its declaration does not have.
    """
    try:
        inputs = json.loads(meta["signature"]["inputs"])  # YAML reads surrogate pairs otherwise
        names = tuple(str(column["name"]) for column in inputs)
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError):
        raise StepError(f"model {uri} has no signature of named columns; log it with a signature") from None
    if unknown := [name for name in names if name not in table.by_name]:
        raise StepError(f"model {uri} reads {', '.join(unknown)}, which its declaration does not have; train it again")
    return names


def registered_as(folder: Path, run_id: str, model_id: str) -> tuple[str, str]:
    """Name and version in the registry, "" where there is none: from the download's own note, else by the run."""
    note = read_yaml(folder / "registered_model_meta")
    if note.get("model_name") and note.get("model_version"):
        return str(note["model_name"]), str(note["model_version"])
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        return "", ""
    import mlflow

    try:
        versions = mlflow.MlflowClient().search_model_versions(f"run_id = '{run_id}'")
    except mlflow.MlflowException:
        return "", ""
    same = [found for found in versions if model_id and model_id in (found.source or "")] or versions
    newest = max(same, key=lambda found: int(found.version), default=None)
    return (newest.name, str(newest.version)) if newest else ("", "")
