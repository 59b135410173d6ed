"""MLflow's scikit-learn flavor, saved so that the same model gives the same bytes.

`mlflow.models.Model.log(flavor=skops_flavor, …)` instead of `mlflow.sklearn.log_model(…)`; what is saved is loaded by
`mlflow.sklearn` and `mlflow.pyfunc` like any other. skops itself writes memory addresses and times into its zip.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import sklearn
import skops.io
import yaml
from companions import COMPANIONS, Companions
from mlflow.models import Model, ModelSignature
from mlflow.models.utils import _save_example
from saved_model import BACKGROUND, DECLARATION, TRUSTED_TYPES
from skops_private import TRUSTED_BY_SKOPS, model_state
from step_error import StepError
from table import Table

KNOWN_TYPES = TRUSTED_BY_SKOPS.union(TRUSTED_TYPES)  # a model of these alone passes the audit
DROPPED_ATTRIBUTES = [
    "_stop_words_id",  # CountVectorizer: the memory address of its stop words; without it, it looks again
    "named_estimators_",  # VotingClassifier: estimators_ once more, under their names
]
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def save_model(
    sk_model: object,
    table: Table,
    background: pd.DataFrame,
    companions: Companions | None,
    path: str,
    mlflow_model: Model,
    signature: ModelSignature,
    input_example: object,
    pip_requirements: list[str],
    python_version: str,
    **_: object,
) -> None:
    """Write the model folder: MLmodel, model.skops, dataset.json (the declaration), background.csv, input_example.json,
    environment. `background` are rows with their key and the columns that the model reads.

    Raises:
        StepError: the model holds types beyond TRUSTED_TYPES.
    """
    folder = Path(path)
    folder.mkdir(parents=True)
    data, types = dump_with_types(sk_model)
    # The audit takes half as long as the writing: only for what is not known to pass it.
    if types - KNOWN_TYPES and (unknown := set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)):
        raise StepError(
            f"the model holds types that are not trusted: {', '.join(sorted(unknown))}; "
            "take scikit-learn's own parts and numpy's functions of numbers in features.py"
        )
    (folder / "model.skops").write_bytes(data)
    (folder / DECLARATION).write_text(table.json(), encoding="utf-8")
    table.write(background, folder / BACKGROUND)
    if companions:
        (folder / COMPANIONS).write_text(companions.text(), encoding="utf-8")
    _save_example(mlflow_model, input_example, path)
    mlflow_model.signature = signature
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        loader_module="mlflow.sklearn",
        model_path="model.skops",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        predict_fn="predict",
    )
    mlflow_model.add_flavor(
        "sklearn",
        pickled_model="model.skops",  # the key's name is historical; serialization_format says what it is
        sklearn_version=sklearn.__version__,
        serialization_format="skops",
        code=None,
        skops_trusted_types=list(TRUSTED_TYPES),
    )
    mlflow_model.model_size_bytes = sum(file.stat().st_size for file in folder.iterdir())
    mlflow_model.save(str(folder / "MLmodel"))
    write_environment(folder, pip_requirements, python_version)


def write_environment(folder: Path, pip_requirements: list[str], python_version: str) -> None:
    """The three files from which MLflow builds the model's environment."""
    (folder / "requirements.txt").write_text("\n".join(pip_requirements) + "\n")
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python_version}", "pip", {"pip": pip_requirements}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))
    environment = {"python": python_version, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False))


def dumps(model: object) -> bytes:
    """`skops.io.dumps`, but equal models give equal bytes."""
    return dump_with_types(model)[0]


def dump_with_types(model: object) -> tuple[bytes, set[str]]:
    """The file, and the names of all types in it."""
    return canonical_file(*model_state(model))


def canonical_file(schema: dict[str, Any], files: Mapping[str, bytes]) -> tuple[bytes, set[str]]:
    """The zip of a schema (which is changed) and the files it names, and the names of all types in it."""
    names: dict[str, str] = {}
    types: set[str] = set()
    renumber(schema, {}, names, types)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for old, new in names.items():
            archive.writestr(zipfile.ZipInfo(new, EPOCH), without_padding(files[old]))
        archive.writestr(zipfile.ZipInfo("schema.json", EPOCH), json.dumps(schema, separators=(",", ":")))
    return buffer.getvalue(), types


def without_padding(npy: bytes) -> bytes:
    """The array file with zeros between the fields of its records, where numpy leaves whatever was in memory.

    The nodes of scikit-learn's trees have seven such bytes each.
    """
    if b"('', '|V" not in npy[:1000]:  # the name and type of padding in the file's header
        return npy
    array, buffer = np.load(io.BytesIO(npy), allow_pickle=False), io.BytesIO()
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()


def renumber(
    node: dict[str, Any] | list[Any] | tuple[Any, ...], ids: dict[int, int], names: dict[str, str], types: set[str]
) -> None:
    """Replace memory addresses by 1, 2, 3 … in order of appearance: `ids` of objects, `names` of the files of arrays.

    Plain values (text, numbers) lose theirs: whether two equal ones are one object is up to the interpreter.
    `types` gets the name of each object's class.
    """
    if isinstance(node, dict):
        if node.get("__loader__") == "DictNode":
            drop_attributes(node["content"], node["key_types"]["content"])
        if "__class__" in node:
            types.add(f"{node['__module__']}.{node['__class__']}")
        if "__id__" in node:
            if node.get("__loader__") == "JsonNode":
                del node["__id__"]
            else:
                node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
        if node.get("type") in ("numpy", "scipy") and isinstance(node.get("file"), str):
            old = node["file"]
            node["file"] = names.setdefault(old, f"{len(names) + 1}{Path(old).suffix}")
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list | tuple):
            renumber(value, ids, names, types)


def drop_attributes(content: dict[str, Any], key_types: list[Any]) -> None:
    """Remove what is in DROPPED_ATTRIBUTES from the state of a dict; it has its keys' types in a list of their own."""
    for name in DROPPED_ATTRIBUTES:
        if name in content:
            del key_types[list(content).index(name)]
            del content[name]
