"""rollback: the champion's predecessor becomes champion again."""

import argparse
import sys

import champion_registry as registry
import mlflow
from evaluation_model import EvaluationError

STEP = "rollback"


def main() -> int:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--reason", required=True)
    parser.add_argument("--model_name", required=True)
    arguments = parser.parse_args()
    try:
        with mlflow.start_run() as run:
            if not 0 < len(arguments.reason.strip()) <= 1000:
                raise EvaluationError("reason must say in 1 to 1000 characters why, for those who read the history")
            client = mlflow.MlflowClient()
            name = registry.check_name(arguments.model_name)
            champion, rolled_back = registry.roll_back(client, name, arguments.reason, run.info.run_id)
            mlflow.set_tags({"champion": champion.version, "rolled_back": rolled_back.version})
    except EvaluationError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    print(
        f"{STEP}: version {champion.version} of {champion.name} is champion again, after version {rolled_back.version}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
