"""training_data: trips in; the same with what was known of the driver at the moment of each out."""

import sys
from pathlib import Path

import mlflow
from feature_repository import FEATURES, KEY, MOMENT, at_their_moments, open_store, read_csv, write_csv
from step import log_dataset, parse_parameters, requested_uri, run_step

STEP = "training_data"
LABELS = ["trip_id", "completed"]


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log training_data.csv, its rows in the trips' order."""
    given = parse_parameters(STEP, repository=Path, trips=Path)
    trips = read_csv(given.trips, [KEY, MOMENT, *LABELS])
    rows = at_their_moments(open_store(given.repository), trips)
    write_csv(rows, folder / "training_data.csv")
    unknown = int(rows[FEATURES].isna().all(axis=1).sum())
    mlflow.log_artifacts(str(folder))
    mlflow.log_metrics({"rows": len(rows), "rows_without_values": unknown})
    log_dataset(given.trips, requested_uri(run, "trips", given.trips), "trips")
    print(f"{STEP}: {len(rows)} trips, {unknown} of them of drivers of whom nothing was known then")


if __name__ == "__main__":
    sys.exit(main())
