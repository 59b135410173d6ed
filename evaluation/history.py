"""history: which version was champion when, and trained on which data."""

import csv
import sys
from pathlib import Path

import champion_registry as registry
import mlflow
from step import parse_parameters, run_step

STEP = "history"
COLUMNS = ["when", "event", "version", "before", "data_sha256", "model_run_id", "run_id", "who", "why"]


def main() -> int:
    return run_step(STEP, tell_history)


def tell_history(run: mlflow.ActiveRun, folder: Path) -> None:
    given = parse_parameters(STEP, model_name=str)
    client = mlflow.MlflowClient()
    name = registry.model_named(client, given.model_name, with_history=True)
    events = registry.read_history(client, name)
    champion = registry.find_champion(client, f"models:/{name}@{registry.CHAMPION}")
    path = folder / "history.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(events)
    mlflow.log_artifact(str(path))
    print(format_history(name, events, str(champion.version) if champion else None))


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
