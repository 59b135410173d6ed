"""A CSV file as an entry of dataset.json (step_outputs.py), described without being held in memory."""

from typing import Any

from csv_reading import Source
from table import Table

TYPES = {"integer": "long", "number": "double", "boolean": "boolean"}  # MLflow's; anything else is text


def file_dataset(
    name: str, sha256: str, columns: list[str], table: Table, rows: int | None, size: int, context: str, **where: str
) -> dict[str, Any]:
    """A file's name, the digest of its content, its columns and its size; `rows` None: it was only looked into.

    `where`: the `source` or the `parameter` that it came from, or the `path` of the output that it is.
    """
    types = {one.name: TYPES.get(one.type, "string") for one in table.clean_fields}
    profile: dict[str, int | str] = {"bytes": size, "sha256": sha256}
    if rows is not None:
        profile |= {"num_rows": rows, "num_elements": rows * len(columns)}
    known = {name: types.get(name, "string") for name in columns}
    return {"name": name, "sha256": sha256, "context": context, "columns": known, "profile": profile, **where}


def source_dataset(read: Source, table: Table, rows: int | None = None, **where: str) -> dict[str, Any]:
    """A file that was read."""
    return file_dataset(read.path.name, read.sha256, read.columns, table, rows, read.bytes, "input", **where)
