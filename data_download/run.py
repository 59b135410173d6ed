"""data_download: a URL or a path in, data.csv out.

The bytes of a CSV file are kept as they came; what they mean is for data_cleaning to judge.
"""

import sys
from pathlib import Path

from download import download
from recording import Record, record_step
from step import number, parse_parameters, whole

STEP = "data_download"
DATA = "data.csv"


def main() -> int:
    return record_step(STEP, fetch_table)


def fetch_table(record: Record, folder: Path) -> None:
    """Download, check and record."""
    given = parse_parameters(
        STEP,
        data_url=str,
        sha256=str,
        columns=str,
        query=str,
        sheet=str,
        max_bytes=whole(1, 1 << 62),
        timeout=number(0, 1e9),
        retries=whole(0, 1000),
    )
    result = download(target=folder / DATA, **vars(given))
    record.take(folder)
    record.metrics = {"bytes": result.bytes, "lines": result.lines}
    record.tags = {
        "data.source": result.source,
        "data.sha256": result.sha256,
        "source.sha256": result.published_sha256,
        "data.length_announced": "true" if result.announced else "false",
    }
    record.datasets = [{"source": result.source, "name": DATA, "sha256": result.sha256, "context": "output"}]
    print(f"{STEP}: {result.bytes} bytes in {result.lines} lines from {result.source}, SHA-256 {result.sha256}")
    if not result.announced:
        sign = "its digest" if given.sha256 else "its last line alone"
        print(f"{STEP}: the server did not announce the file's length: that it is whole shows in {sign}")


if __name__ == "__main__":
    sys.exit(main())
