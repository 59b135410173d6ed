"""promote: a version that passed the gate, and waited for a person, becomes champion."""

import sys
from pathlib import Path

import champion_registry as registry
import mlflow
from step import parse_parameters, run_step

STEP = "promote"


def main() -> int:
    return run_step(STEP, promote)


def promote(run: mlflow.ActiveRun, folder: Path) -> None:
    given = parse_parameters(STEP, version=str.strip, model_name=str)
    client = mlflow.MlflowClient()
    name = registry.model_named(client, given.model_name)
    champion = registry.approve(client, name, given.version, run.info.run_id)
    mlflow.set_tag("champion", champion.version)
    print(f"{STEP}: version {champion.version} of {name} is champion")


if __name__ == "__main__":
    sys.exit(main())
