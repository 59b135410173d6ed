"""Ask the scoring server (mlflow run inference -e serve) about the rows of a CSV file.

Usage: python client.py FILE [URL]
"""

import csv
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def ask(rows: Sequence[Mapping[str, Any]], url: str = "http://127.0.0.1:5001") -> list[dict[str, Any]]:
    """For each row what the model predicts, in their order; a bad one raises urllib's HTTPError."""
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
        return predictions


if __name__ == "__main__":
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        print(json.dumps({"predictions": ask(rows, *sys.argv[2:3])}))
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())
