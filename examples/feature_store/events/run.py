"""events: two tables as a warehouse has them, made up: what came to be known of drivers, and their trips."""

import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from step import parse_parameters, run_step, whole

STEP = "events"
START = pd.Timestamp("2026-01-01")  # UTC, as all times here
DAY = 24 * 60 * 60  # seconds
WRITTEN = "%Y-%m-%dT%H:%M:%S"


def main() -> int:
    return run_step(STEP, make)


def make(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log driver_stats.csv and trips.csv."""
    given = parse_parameters(STEP, drivers=whole(10, 100_000), days=whole(15, 3650), seed=whole(0, 2**31 - 1))
    stats, trips = tables(given.drivers, given.days, given.seed)
    stats.to_csv(folder / "driver_stats.csv", index=False, date_format=WRITTEN, lineterminator="\n")
    trips.to_csv(folder / "trips.csv", index=False, date_format=WRITTEN, lineterminator="\n")
    mlflow.log_artifacts(str(folder))
    mlflow.log_metrics({"values": len(stats), "trips": len(trips)})
    print(f"{STEP}: {len(stats)} rows of what is known of drivers, {len(trips)} trips")


def tables(drivers: int, days: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What came to be known, a row for each driver and day, and trips, 20 for each driver.

    A driver's rate wanders from day to day, so that a later value says more of a trip than was known at its time. Every
    tenth driver is new: trips, but no figures; of the one after, none come in during the second half.
    """
    chance = np.random.default_rng(seed)
    rates = (
        0.5 + 0.15 * chance.normal(size=(drivers, 1)) + 0.12 * chance.normal(size=(drivers, days)).cumsum(axis=1)
    ).clip(0, 1)
    day, driver = np.tile(np.arange(days), drivers), np.repeat(np.arange(drivers), days)
    stats = pd.DataFrame(
        {
            "driver_id": 1001 + driver,
            # When it was known, which is what counts, some hours after the day that it is of.
            "event_timestamp": moments(day * DAY + chance.integers(0, 6 * 60 * 60, size=day.size)),
            "conv_rate": rates.ravel().round(4),
            "acc_rate": (rates.ravel() + 0.2 * chance.normal(size=day.size)).clip(0, 1).round(4),
            "avg_daily_trips": chance.integers(1, 40, size=day.size),
        }
    )
    known = (driver % 10 != 0) & ~((driver % 10 == 1) & (day >= days // 2))
    asked = np.repeat(np.arange(drivers), 20)
    second = chance.integers(DAY, days * DAY, size=asked.size)
    # What decides is the rate of the day, though nobody knows it yet where the trip is early.
    completed = chance.random(asked.size) < 1 / (1 + np.exp(6 - 12 * rates[asked, second // DAY]))
    trips = pd.DataFrame(
        {"driver_id": 1001 + asked, "event_timestamp": moments(second), "completed": completed.astype(int)}
    )
    trips = trips.sort_values(["event_timestamp", "driver_id"], kind="stable", ignore_index=True)
    trips.insert(0, "trip_id", trips.index + 1)
    return stats[known].sort_values(["event_timestamp", "driver_id"], kind="stable", ignore_index=True), trips


def moments(seconds: np.ndarray) -> pd.Series:
    """The moments so many seconds after the first day's beginning."""
    return pd.Series(START + pd.to_timedelta(seconds, unit="s"))


if __name__ == "__main__":
    sys.exit(main())
