"""skew: does the online store say what the join says for the same moment, and the model the same of both?"""

import sys
from pathlib import Path

import mlflow
import pandas as pd
from definitions import source
from feature_repository import FEATURES, KEY, MOMENT, answer, at_their_moments, online, open_store, read_csv, write_csv
from saved_model import open_model
from step import log_dataset, parse_parameters, requested_uri, run_step, whole
from step_error import StepError

STEP = "skew"


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log online.csv and point_in_time.csv, what each way knows of a driver and what the model says of it.

    Raises:
        StepError: more than max_skewed values differ.
    """
    given = parse_parameters(STEP, repository=Path, trips=Path, model=str, max_skewed=whole(0, 2**31))
    model = open_model(given.model)
    store = open_store(given.repository)
    drivers = pd.DataFrame({KEY: sorted(set(read_csv(given.trips, [KEY])[KEY]))})
    newest = pd.read_parquet(given.repository / source.path, columns=[MOMENT])[MOMENT].max()
    ways = {
        "online": online(store, drivers[KEY].tolist()),
        "point_in_time": at_their_moments(store, drivers.assign(**{MOMENT: newest})).drop(columns=MOMENT),
    }
    for name, rows in ways.items():
        ways[name] = answer(model, rows)
        write_csv(ways[name], folder / f"{name}.csv")
    one, other = ways.values()
    differs = one.ne(other) & (one.notna() | other.notna())
    said = differs.columns.difference([KEY, *FEATURES])
    values, skewed = differs[FEATURES].size, int(differs[FEATURES].to_numpy().sum())
    mlflow.log_artifacts(str(folder))
    mlflow.log_metrics(
        {
            "values": values,
            "skewed_values": skewed,
            "predictions": len(drivers),
            "skewed_predictions": int(differs[said].any(axis=1).sum()),
        }
    )
    mlflow.set_tags(model.tags())
    log_dataset(given.trips, requested_uri(run, "trips", given.trips), "trips")
    print(f"{STEP}: {skewed} of {values} values of {len(drivers)} drivers are others online, at {newest}")
    if skewed > given.max_skewed:
        raise StepError(
            f"{skewed} of {values} values online are not those of training at {newest}, more than "
            f"max_skewed={given.max_skewed}; compare online.csv and point_in_time.csv, and bring the store up to it"
        )


if __name__ == "__main__":
    sys.exit(main())
