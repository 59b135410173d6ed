"""history: which version was champion when, and trained on which data."""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import champion_registry as registry
import mlflow
from evaluation_model import EvaluationError

STEP = "history"
COLUMNS = ["when", "event", "version", "before", "data_sha256", "model_run_id", "run_id", "who", "why"]


def main() -> int:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--model_name", required=True)
    arguments = parser.parse_args()
    try:
        with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
            client = mlflow.MlflowClient()
            events = registry.read_history(client, registry.check_name(arguments.model_name))
            champion = registry.find_champion(client, f"models:/{arguments.model_name}@{registry.CHAMPION}")
            path = Path(folder) / "history.csv"
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(events)
            mlflow.log_artifact(str(path))
            print(format_history(arguments.model_name, events, str(champion.version) if champion else None))
    except EvaluationError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    return 0


def format_history(name: str, events: list[dict[str, str]], champion: str | None) -> str:
    """The history as lines of text, oldest first."""
    lines = [
        f"{event['when']}  {event['event']} version {event['version']}"
        + (f" (after {event['before']})" if event["before"] else "")
        + f"  data {event['data_sha256'][:12] or 'unknown'}  by {event['who']}: {event['why']}"
        for event in events
    ]
    if champion is None:
        lines.append(f"{STEP}: {name} has no champion")
    else:
        lines.append(f"{STEP}: version {champion} of {name} is champion")
        if not events or events[-1]["version"] != champion:
            lines.append(f"{STEP}: its alias was moved by hand, past this history")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
