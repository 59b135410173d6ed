"""MLflow's scikit-learn flavor, saved so that the same model gives the same bytes. No MLflow here.

What `save_model` writes, the orchestrator logs (step_outputs.py), and `mlflow.sklearn` and `mlflow.pyfunc` load like
any other model. skops itself writes memory addresses and times into its zip.
"""

import ast
import functools
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import skops.io
import yaml
from companions import COMPANIONS, Companions
from saved_model import BACKGROUND, DECLARATION, TRUSTED_TYPES
from skops_private import TRUSTED_BY_SKOPS, model_state
from step_error import StepError
from table import REGRESSION, Table

KNOWN_TYPES = TRUSTED_BY_SKOPS.union(TRUSTED_TYPES)  # a model of these alone passes the audit
DROPPED_ATTRIBUTES = [
    "_stop_words_id",  # CountVectorizer: the memory address of its stop words; without it, it looks again
    "named_estimators_",  # VotingClassifier: estimators_ once more, under their names
]
NPY_1 = b"\x93NUMPY\x01\x00"  # how a numpy array's file begins, in its first version; its header's length follows
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def save_model(
    folder: Path,
    model: object,
    table: Table,
    columns: Sequence[str],
    background: pd.DataFrame,
    companions: Companions | None,
    example: pd.DataFrame,
    pip_requirements: list[str],
    python_version: str,
) -> None:
    """Write the model folder: MLmodel, model.skops, dataset.json (the declaration), background.csv, input_example.json,
    environment. `background` are rows with their key and the `columns` that the model reads; `example`, some to show.

    Raises:
        StepError: the model holds types beyond TRUSTED_TYPES.
    """
    folder.mkdir(parents=True)
    data, types = dump_with_types(model)
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
    write_environment(folder, pip_requirements, python_version)
    mlmodel = {
        "flavors": flavors(python_version),
        "model_size_bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "saved_input_example_info": write_example(folder, example),
        "signature": signature(table, columns),
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel), encoding="utf-8")


def flavors(python_version: str) -> dict[str, Any]:
    """How MLflow is to load the model: of its format, https://mlflow.org/docs/latest/ml/model/#storage-format."""
    return {
        "python_function": {
            "loader_module": "mlflow.sklearn",
            "model_path": "model.skops",
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "predict_fn": "predict",
            "python_version": python_version,
        },
        "sklearn": {
            "pickled_model": "model.skops",  # the key's name is historical; serialization_format says what it is
            "sklearn_version": sklearn.__version__,
            "serialization_format": "skops",
            "code": None,
            "skops_trusted_types": list(TRUSTED_TYPES),
        },
    }


def signature(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """The columns that the model reads, and the target that it gives, in MLflow's types."""
    # Whole numbers too: an empty cell makes a column of them float64, and MLflow would refuse it as `long`.
    inputs = [column_of(name, "double" if table.by_name[name].numeric else "string") for name in columns]
    classes = "long" if all(isinstance(value, int) for value in table.classes) else "string"
    outputs = [column_of(table.target.name, "double" if table.task == REGRESSION else classes)]
    return {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}


def column_of(name: str, kind: str) -> dict[str, Any]:
    return {"type": kind, "name": name, "required": True}


def write_example(folder: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Rows as one asks the model for them, and as one asks its server; what MLmodel says of the two files."""
    values = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()  # type: ignore[call-overload]  # stubs: no None
    example = {"columns": list(rows.columns), "data": values}
    (folder / "input_example.json").write_text(json.dumps(example), encoding="utf-8")
    (folder / "serving_input_example.json").write_text(json.dumps({"dataframe_split": example}), encoding="utf-8")
    return {
        "artifact_path": "input_example.json",
        "pandas_orient": "split",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
    }


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
    if not npy.startswith(NPY_1) or b"('', '|V" not in npy[:1000]:  # the name and type of padding in the file's header
        return npy
    start = len(NPY_1) + 2 + int.from_bytes(npy[len(NPY_1) :][:2], "little")
    said, _, _ = npy[len(NPY_1) + 2 : start].partition(b"'fortran_order'")  # of the shape, which each tree has its own
    used = used_bytes(said)
    records = np.frombuffer(npy, np.uint8, offset=start).reshape(-1, len(used))
    return npy[:start] + bytes(records * used)


@functools.cache
def used_bytes(said: bytes) -> np.ndarray:
    """1 for each byte of a record that belongs to a field, else 0; `said` is what an array's file says of its type."""
    descriptions = ast.literal_eval(said.decode("latin-1").rstrip(", ") + "}")["descr"]
    kind = np.lib.format.descr_to_dtype(descriptions)
    found = np.zeros(kind.itemsize, np.uint8)
    for field, offset, *_ in (kind.fields or {}).values():
        found[offset : offset + field.itemsize] = 1
    return found


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
