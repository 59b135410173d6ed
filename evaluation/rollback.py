"""rollback: the champion's predecessor becomes champion again."""

import sys
from pathlib import Path

import champion_registry as registry
import mlflow
from step import parse_parameters, run_step

STEP = "rollback"


def main() -> int:
    return run_step(STEP, roll_back)


def roll_back(run: mlflow.ActiveRun, folder: Path) -> None:
    given = parse_parameters(STEP, reason=reason, model_name=str)
    client = mlflow.MlflowClient()
    name = registry.model_named(client, given.model_name)
    champion, rolled_back = registry.roll_back(client, name, given.reason, run.info.run_id)
    mlflow.set_tags({"champion": champion.version, "rolled_back": rolled_back.version})
    print(f"{STEP}: version {champion.version} of {name} is champion again, after version {rolled_back.version}")


def reason(text: str) -> str:
    if not 0 < len(text.strip()) <= 1000:
        raise ValueError("not 1 to 1000 characters that say why, for those who read the history")
    return text


if __name__ == "__main__":
    sys.exit(main())
