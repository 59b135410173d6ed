"""data_download: a URL or a path in, data.csv out.

The bytes are kept as they came; what they mean is for data_cleaning to judge.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from download import Download, download
from download_error import DownloadError
from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time

STEP = "data_download"


def main() -> int:
    arguments = parse_arguments()
    try:
        with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data.csv"
            result = download(target=data, **vars(arguments))
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
    except DownloadError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    print(f"{STEP}: {result.bytes} bytes in {result.lines} lines from {result.source}, SHA-256 {result.sha256}")
    if not result.announced:
        sign = "its digest" if arguments.sha256 else "its last line alone"
        print(f"{STEP}: the server did not announce the file's length: that it is whole shows in {sign}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_url", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--columns", required=True)
    parser.add_argument("--max_bytes", type=int, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--retries", type=int, required=True)
    return parser.parse_args()


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
