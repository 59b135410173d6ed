"""features: what is known of drivers in; a Feast repository with registry and online store out."""

import sys
from pathlib import Path

import feature_repository
import mlflow
import pandas as pd
from feature_repository import FEATURES, KEY, MOMENT, WRITTEN
from step import log_dataset, parse_parameters, requested_uri, run_step
from step_error import StepError

STEP = "features"


def moment(text: str) -> pd.Timestamp | None:
    try:
        return pd.to_datetime(text, format=WRITTEN, utc=True) if text.strip() else None
    except ValueError:
        raise ValueError("no moment such as 2026-01-30T12:00:00") from None


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log the folder `repository`."""
    given = parse_parameters(STEP, stats=Path, until=moment)
    values = feature_repository.read_csv(given.stats, [KEY, MOMENT, *FEATURES])
    if (again := values.duplicated([KEY, MOMENT])).any():
        first = values[again].iloc[0]
        raise StepError(
            f"{given.stats.name} has two rows of driver {first[KEY]} at {first[MOMENT]:{WRITTEN}}, and Feast may take "
            "either; let a corrected row say since when it was known"
        )
    until = given.until or values[MOMENT].max()
    store = feature_repository.make(folder / "repository", values, until.to_pydatetime())
    found = feature_repository.online(store, sorted(set(values[KEY])))
    known = int(found[FEATURES].notna().any(axis=1).sum())
    mlflow.log_artifacts(str(folder))
    mlflow.log_metrics({"values": len(values), "drivers_online": known})
    log_dataset(given.stats, requested_uri(run, "stats", given.stats), "stats")
    print(f"{STEP}: {len(values)} rows; {known} of {len(found)} drivers online, as known at {until:{WRITTEN}}")


if __name__ == "__main__":
    sys.exit(main())
