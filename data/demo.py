"""The whole story in one go: `make demo`, or `python data/demo.py [OVERRIDE …]`.

A list with broken rows comes in, a model is trained and becomes champion, today's passengers are others than those it
knows, and a new model takes its place. In a store of its own, build/demo, which is made anew each time.
"""

import csv
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "demo"
STORE = f"sqlite:///{FOLDER / 'mlflow.db'}"
ARGUMENTS = ["main.py", "steps=all,retrain", "data_url=data/messy.csv", "current=data/today.csv"]
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def main(overrides: list[str]) -> int:
    """Run the pipeline, and say what happened; the pipeline's exit code."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name in ("MLFLOW_EXPERIMENT_ID", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
    os.environ |= {"MLFLOW_TRACKING_URI": STORE, "MLFLOW_EXPERIMENT_NAME": "demo", **QUIET}
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    client = mlflow.MlflowClient(STORE, STORE)
    client.create_experiment("demo", artifact_location=(FOLDER / "artifacts").as_uri())
    print(f"$ python {shlex.join([*ARGUMENTS, *overrides])}", flush=True)
    code = subprocess.run([sys.executable, *ARGUMENTS, *overrides], cwd=ROOT).returncode
    if code == 0:
        print("\nWhat happened\n")
        print("\n".join(account(json.loads((ROOT / "outputs" / "manifest.json").read_text(encoding="utf-8"))["steps"])))
    return code


def account(steps: dict[str, dict]) -> Iterator[str]:
    """The story in plain lines, from what the run left."""
    mlflow.set_tracking_uri(STORE)
    cleaned, added, judged = (steps[name]["metrics"] for name in ("data_cleaning", "new_data", "reevaluation"))
    refused = mlflow.artifacts.load_text(f"runs:/{steps['data_cleaning']['run_id']}/rejected.csv")
    yield f"1. {cleaned['rows_in']:.0f} rows came in, of which these were left out:"
    for row in csv.DictReader(refused.splitlines()):
        yield f"     line {row['line']}: {row['reason']}"
    yield f"2. A model was trained on the other {cleaned['rows_out']:.0f}: {steps['evaluation']['note']}."
    yield f"3. Today's passengers came to be scored: {steps['monitoring']['note']}"
    if judged:
        yield (
            f"4. A second model was trained, on {added['rows_old']:.0f} passengers of then and {added['rows_new']:.0f} "
            f"of today. Of those whom neither had seen it is right about {judged['accuracy']:.0%}, the first about "
            f"{judged['champion_accuracy']:.0%}: {steps['reevaluation']['note']}."
        )
    else:
        yield f"4. No second model was trained ({steps['new_data']['reason']})."
    if steps["rescoring"]["state"] == "executed":
        yield "5. The new champion scored today's passengers again: outputs/predictions.csv"
    yield "\nreport:  outputs/report.html"
    yield f"browse:  .venv/bin/mlflow ui --workers 1 --backend-store-uri sqlite:///{FOLDER.relative_to(ROOT)}/mlflow.db"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
