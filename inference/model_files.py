"""Load a model without trusting it: skops alone, with our own list of types. Nothing in its folder is run."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# All that a model may hold beyond what skops trusts by itself: plain data types and pure functions.
TRUSTED_TYPES = ("numpy.dtype", "numpy.ravel", "numpy.sum", "sklearn.tree._tree.Tree")
PICKLE_NAME = re.compile(r"(?i)\.(pkl|pickle|p|cloudpickle|joblib|dill|pt|pth|npy\.obj)$")
PICKLE_START = re.compile(rb"\x80[\x02-\x05]")  # protocol 2 and later; earlier ones have no mark
KINDS = {"double": "number", "float": "number", "long": "whole", "integer": "whole", "string": "text"}


class ModelError(Exception):
    """The model could not be downloaded, or is not one that may be loaded; the text is meant for the user."""


@dataclass(frozen=True)
class LoadedModel:
    """A classifier of 0 and 1, and which model it is."""

    classifier: Any  # scikit-learn's, which has no types
    folder: Path
    kinds: dict[str, str]  # the signature's columns, in order: number, whole or text
    run_id: str
    model_id: str
    name: str  # in the registry; "" where it is not registered
    version: str

    @property
    def label(self) -> str:
        """What the column model_version says: the registry's version, else the model's or run's ID."""
        return self.version or self.model_id or self.run_id or "unregistered"


def load(uri: str) -> LoadedModel:
    """The model at `uri` (any model URI or folder).

    Raises:
        ModelError: nothing there, a pickle in it, types that are not trusted, no signature, not a 0/1 classifier.
    """
    folder = fetch(uri)
    meta = read_mlmodel(folder, uri)
    file = skops_file(folder, meta, uri)
    refuse_pickle(folder, uri)
    classifier = load_skops(file, uri)
    classes = [int(value) for value in getattr(classifier, "classes_", [])]
    if classes != [0, 1] or not hasattr(classifier, "predict_proba"):
        raise ModelError(f"model {uri} is not a classifier of 0 and 1 with probabilities; give one that training made")
    run_id, model_id = str(meta.get("run_id") or ""), str(meta.get("model_id") or "")
    name, version = registered_as(folder, run_id, model_id)
    return LoadedModel(classifier, folder, signature_kinds(meta, uri), run_id, model_id, name, version)


def fetch(uri: str) -> Path:
    """The model's local folder."""
    import mlflow

    if Path(uri).is_dir():
        return Path(uri)
    if not re.match(r"[a-zA-Z][\w+.-]+:/", uri):
        raise ModelError(f"model {uri!r} is neither a folder nor a URI such as models:/titanic@champion")
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (mlflow.MlflowException, OSError) as error:
        cause = str(error).strip().splitlines()[0][:200]
        raise ModelError(f"model {uri} could not be downloaded ({cause}); train one first, or name another") from None


def read_mlmodel(folder: Path, uri: str) -> dict[str, Any]:
    try:
        meta = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        meta = None
    if not isinstance(meta, dict) or not isinstance(meta.get("flavors"), dict):
        raise ModelError(f"model {uri} has no readable MLmodel file; give a model's folder or URI")
    return meta


def skops_file(folder: Path, meta: dict[str, Any], uri: str) -> Path:
    """The model's own file, if everything in MLmodel says that it is a scikit-learn model saved by skops.

    Raises:
        ModelError: another flavor, another format, code of its own, a file outside the folder.
    """
    flavors = meta["flavors"]
    sklearn, pyfunc = flavors.get("sklearn") or {}, flavors.get("python_function") or {}
    if not sklearn:
        raise ModelError(f"model {uri} is not a scikit-learn model (it has: {', '.join(map(str, flavors))})")
    saved_as = sklearn.get("serialization_format") or "pickle"  # MLflow's own reading of an absent one
    if saved_as != "skops":
        raise ModelError(
            f"model {uri} is saved as {saved_as}, which can run code when loaded; "
            "save it with serialization_format='skops'"
        )
    loader = pyfunc.get("loader_module", "mlflow.sklearn")
    if loader != "mlflow.sklearn" or any(flavor.get("code") for flavor in (sklearn, pyfunc)):
        raise ModelError(f"model {uri} brings code of its own, which is not run; save it without code_paths")
    file = (folder / str(sklearn.get("pickled_model"))).resolve()  # MLflow's key, whatever the format
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise ModelError(f"model {uri} names no file of its own folder as the model; log it again")
    return file


def refuse_pickle(folder: Path, uri: str) -> None:
    """No file of the folder, and none inside its zip files, may be a pickle.

    Raises:
        ModelError: one is, by its name or its first bytes.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            found = looks_pickled(file.name, stream.read(2))
        if not found and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                found = any(looks_pickled(name, packed.open(name).read(2)) for name in packed.namelist())
        if found:
            raise ModelError(
                f"model {uri} carries a pickle ({file.relative_to(folder)}), which can run code when it is loaded; "
                "save the model with serialization_format='skops' alone"
            )


def looks_pickled(name: str, start: bytes) -> bool:
    return bool(PICKLE_NAME.search(name) or PICKLE_START.match(start))


def load_skops(file: Path, uri: str) -> object:
    """Raises ModelError for types beyond TRUSTED_TYPES: the list in the model's own MLmodel is not asked."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.load(file, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException:  # before anything of it was made
        names = ", ".join(sorted(set(skops.io.get_untrusted_types(file=file)) - set(TRUSTED_TYPES)))[:300]
        raise ModelError(f"model {uri} holds types that are not trusted, so it is not loaded: {names}") from None
    except Exception as error:  # a damaged or forged file can make skops raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"model {uri} is not one that skops can load ({type(error).__name__}: {reason})") from None


def signature_kinds(meta: dict[str, Any], uri: str) -> dict[str, str]:
    """The columns that the model takes, and what each holds.

    Raises:
        ModelError: no signature, or one with other than named columns of numbers and text.
    """
    from mlflow.models import ModelSignature

    try:
        columns = ModelSignature.from_dict(meta["signature"]).inputs.input_dict()
        return {name: KINDS[spec.type.name] for name, spec in columns.items()}
    except Exception:
        raise ModelError(
            f"model {uri} has no signature of named number and text columns; log it with a signature"
        ) from None


def registered_as(folder: Path, run_id: str, model_id: str) -> tuple[str, str]:
    """Name and version in the registry, "" where there is none: from the download's own note, else by the run."""
    import mlflow

    note = folder / "registered_model_meta"
    if note.is_file():
        meta = yaml.safe_load(note.read_text()) or {}
        if meta.get("model_name") and meta.get("model_version"):
            return str(meta["model_name"]), str(meta["model_version"])
    if not re.fullmatch(r"[0-9a-f]{32}", run_id):
        return "", ""
    try:
        versions = mlflow.MlflowClient().search_model_versions(f"run_id = '{run_id}'")
    except mlflow.MlflowException:
        return "", ""
    same = [found for found in versions if model_id and model_id in (found.source or "")] or versions
    newest = max(same, key=lambda found: int(found.version), default=None)
    return (newest.name, str(newest.version)) if newest else ("", "")
