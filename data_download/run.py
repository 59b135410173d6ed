"""data_download: a URL or a path in, data.csv out.

The bytes are kept as they came; what they mean is for data_cleaning to judge.
"""

import sys
from pathlib import Path
from typing import Any

import mlflow
from download import Download, download
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from step import number, parse_parameters, run_step, whole

STEP = "data_download"


def main() -> int:
    return run_step(STEP, fetch_table)


def fetch_table(run: mlflow.ActiveRun, folder: Path) -> None:
    """Download, check and log."""
    given = parse_parameters(
        STEP,
        data_url=str,
        sha256=str,
        columns=str,
        max_bytes=whole(1, 1 << 62),
        timeout=number(0, 1e9),
        retries=whole(0, 1000),
    )
    data = folder / "data.csv"
    result = download(target=data, **vars(given))
    mlflow.log_artifact(str(data))
    mlflow.log_metrics({"bytes": result.bytes, "lines": result.lines})
    mlflow.set_tags(
        {
            "data.source": result.source,
            "data.sha256": result.sha256,
            "source.sha256": result.published_sha256,
            "data.length_announced": "true" if result.announced else "false",
        }
    )
    mlflow.log_input(dataset(result), context="output")
    print(f"{STEP}: {result.bytes} bytes in {result.lines} lines from {result.source}, SHA-256 {result.sha256}")
    if not result.announced:
        sign = "its digest" if given.sha256 else "its last line alone"
        print(f"{STEP}: the server did not announce the file's length: that it is whole shows in {sign}")


def dataset(result: Download) -> MetaDataset:
    """The download as an MLflow dataset: where it came from and the digest of its content.

    MLflow keeps at most 36 characters of a digest; the whole one is the tag data.sha256.
    """
    remote = result.source.lower().startswith(("http://", "https://"))
    kind: Any = HTTPDatasetSource if remote else LocalArtifactDatasetSource
    source = kind(result.source)
    # That MLflow's MetaDataset lacks a `profile` is its own omission.
    return MetaDataset(source, name="data.csv", digest=result.sha256[:32])  # type: ignore[abstract]  # see above


if __name__ == "__main__":
    sys.exit(main())
