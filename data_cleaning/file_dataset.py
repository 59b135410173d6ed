"""A CSV file as an MLflow dataset, described without being held in memory."""

import json

from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.types import ColSpec, DataType, Schema
from schema import SCHEMA, kind

TYPES = {"whole number": DataType.long, "number": DataType.double, "text": DataType.string}


class FileDataset(MetaDataset):
    """Where a file is (path or URI), the digest of its content, its columns and its size."""

    def __init__(self, uri: str, name: str, sha256: str, columns: list[str], rows: int | None, size: int) -> None:
        kinds = [(name, kind(name) if name in SCHEMA.columns else "text") for name in columns]
        schema = Schema([ColSpec(TYPES[held], name, required=False) for name, held in kinds])
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
