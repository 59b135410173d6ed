"""Files: read YAML, digest content, replace a file at once."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

# What MLflow writes anew into every MLmodel file, whatever the model.
VOLATILE_MLMODEL_KEYS = {
    "run_id",
    "model_id",
    "model_uuid",
    "utc_time_created",
    "artifact_path",
    "model_size_bytes",
    "prompts",
}


def read_yaml(text: str | bytes) -> Any:
    """`yaml.safe_load`, by the parser in C where it is there: ten times as fast."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def write_atomically(path: Path, text: str) -> None:
    """Replace a file at once: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def content_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes, or of a folder's file names and their digests.

    An MLmodel file counts without the run, the time and the identifiers that MLflow stamps on it.
    """
    if path.is_dir():
        # MLflow adds registered_model_meta when somebody fetches a registered model.
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "registered_model_meta")
        listing = "".join(f"{p.relative_to(path).as_posix()}\0{content_digest(p)}\n" for p in files)
        return hashlib.sha256(listing.encode()).hexdigest()
    if path.name == "MLmodel":
        return mlmodel_digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mlmodel_digest(path: Path) -> str:
    """SHA-256, in hex, of what an MLmodel file says of its model."""
    try:
        content = read_yaml(path.read_bytes())
        stable = {key: value for key, value in content.items() if key not in VOLATILE_MLMODEL_KEYS}
    except (yaml.YAMLError, AttributeError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode()).hexdigest()
