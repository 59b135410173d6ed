"""A CSV file as an MLflow dataset, described without being held in memory."""

import json

import mlflow
from csv_reading import Source
from declaration import Table
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.types import ColSpec, DataType, Schema

TYPES = {"integer": DataType.long, "number": DataType.double, "boolean": DataType.boolean}  # anything else is text


class FileDataset(MetaDataset):
    """Where a file is (path or URI), the digest of its content, its columns and its size."""

    def __init__(
        self, uri: str, name: str, sha256: str, columns: list[str], table: Table, rows: int | None, size: int
    ) -> None:
        types = {one.name: TYPES.get(one.type, DataType.string) for one in table.clean_fields}
        schema = Schema([ColSpec(types.get(name, DataType.string), name, required=False) for name in columns])
        self.figures: dict[str, int | str] = {"bytes": size, "sha256": sha256}
        if rows is not None:  # of a file that was only looked into
            self.figures |= {"num_rows": rows, "num_elements": rows * len(columns)}
        source = LocalArtifactDatasetSource(uri)  # despite its name it takes any artifact URI
        super().__init__(source, name=name, digest=sha256[:32], schema=schema)  # MLflow keeps at most 36 characters

    @property
    def profile(self) -> dict[str, int | str]:
        """Size in bytes and the whole SHA-256; the numbers of rows and of cells where they are known."""
        return self.figures

    def to_dict(self) -> dict[str, str]:
        return super().to_dict() | {"profile": json.dumps(self.profile)}


def log_source(uri: str, source: Source, table: Table, rows: int | None = None) -> None:
    """Log a file that was read as an input of the run; `uri` is the address it was asked for by."""
    dataset = FileDataset(uri, source.path.name, source.sha256, source.columns, table, rows, source.bytes)
    mlflow.log_input(dataset, context="input")
