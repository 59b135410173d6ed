"""Ask the scoring server (mlflow run inference -e serve) about one passenger.

Usage: python client.py [URL]
"""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

PASSENGER = {
    "PassengerId": 1,
    "Pclass": 1,
    "Name": "Doe, Miss. Jane",
    "Sex": "female",
    "Age": 29.5,
    "SibSp": 0,
    "Parch": 0,
    "Ticket": "PC 17599",
    "Fare": 71.28,
    "Cabin": None,
    "Embarked": "C",
}


def ask(passengers: list[dict[str, Any]], url: str = "http://127.0.0.1:5001") -> list[dict[str, Any]]:
    """For each passenger {"Survived": 0 or 1, "probability": of survival}; a bad one raises urllib's HTTPError."""
    body = json.dumps({"dataframe_records": passengers}).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
        return predictions


if __name__ == "__main__":
    try:
        print(json.dumps({"predictions": ask([PASSENGER], *sys.argv[1:2])}))
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())
