"""The whole story: drift raises a flag, labels arrive, a challenger is trained, the gate decides, and it is quiet."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from make_sample import passengers, write
from saved_model import open_model
from serving_settings import Settings

from tests.inference.in_process import Client, running

pytestmark = pytest.mark.integration
QUICK = [
    "training.cv_repeats=1",  # the baseline of the live accuracy
    "training.plots=false",
    "evaluation.report=false",
    "training.model=logistic_regression",
]
QUICK += [setting.replace("training.", "retraining.") for setting in QUICK[:2]]
QUICK += ["reevaluation.report=false", "reevaluation.min_compared=25", "monitoring.report=false"]


def drifted(rows: int, seed: int, first_id: int) -> pd.DataFrame:
    """Passengers who are 15 years older, and of whom the men of the first two classes are saved."""
    people = passengers(rows, seed=seed, first_id=first_id)
    people["Age"] = people["Age"].astype(float) + 15
    people["Survived"] = ((people["Sex"] == "male") & (people["Pclass"] < 3)).astype(int)
    return people


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The first list, those who arrive, their labels when they come (some never do), and those who arrive next."""
    arrived = drifted(2400, 5, 10_001)
    lists = {
        "first": passengers(200, seed=3, first_id=1),
        "arrived": arrived.drop(columns="Survived"),
        "labels": arrived.loc[:2299, ["PassengerId", "Survived"]],
        "next": drifted(500, 6, 20_001).drop(columns="Survived"),
    }
    paths = {name: tmp_path / f"{name}.csv" for name in lists}
    for name, path in paths.items():
        write(lists[name], path)
    return paths


def champion() -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias("titanic", "champion").version)


def artifact(step: dict, name: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(f"runs:/{step['run_id']}/{name}"))


def test_drift_leads_to_a_new_champion_and_then_to_quiet(run, manifest, files):
    def pipeline(**settings: object) -> tuple[int, dict, str]:
        done = run("python", "main.py", *(f"{name}={value}" for name, value in settings.items()), *QUICK)
        return done.code, manifest()["steps"], done.out

    code, trained, _ = pipeline(data_url=files["first"])
    assert code == 0 and champion() == "1"
    assert trained["monitoring"]["metrics"]["drift_detected"] == 0
    assert "retraining" not in trained, "what is on request does not run with the others"

    # Drifted passengers arrive; nobody knows yet who of them was saved.
    code, steps, told = pipeline(steps="retrain", current=files["arrived"])
    assert steps["monitoring"]["metrics"]["drift_detected"] == 1
    assert code == 1 and "none of the 2400 new passengers has an outcome yet; give labels=FILE" in told
    assert {name: steps[name]["state"] for name in ("new_data", "retraining", "reevaluation", "rescoring")} == {
        "new_data": "failed", "retraining": "skipped", "reevaluation": "skipped", "rescoring": "skipped",
    }  # fmt: skip
    assert champion() == "1"

    # The labels arrive, of most of them. They may be wrong: what learned from them is no good at the old people.
    code, steps, told = pipeline(steps="retrain", current=files["arrived"], labels=files["labels"])
    assert code == 0 and "reevaluation: version 2" in told and "is rejected, version 1 stays champion: " in told
    refused = json.loads(artifact(steps["reevaluation"], "verdict.json").read_text())
    assert refused["verdict"] == "rejected" and "accept_change=true" in refused["reasons"][-1]
    assert refused["parts"]["old"]["loss_t"] < -1.75 and refused["parts"]["new"]["loss_t"] > 1.75
    assert champion() == "1"

    # A person has looked: they are right, and it is the world that has changed.
    accepted = {"steps": "retrain", "current": files["arrived"], "labels": files["labels"]}
    code, steps, _ = pipeline(**accepted, **{"reevaluation.accept_change": "true"})
    assert code == 0
    assert steps["monitoring"]["metrics"]["concept_drift"] == 1
    added = steps["new_data"]["metrics"]
    assert (added["rows_old"], added["rows_new"], added["rows_unlabelled"]) == (200, 2300, 100)
    clean = artifact(steps["new_data"], "clean_data.csv").read_bytes()
    assert clean.startswith(artifact(trained["data_cleaning"], "clean_data.csv").read_bytes())

    # The gate compares the two on people whom neither has seen, and the champion moves.
    holdout = set(pd.read_csv(artifact(steps["retraining"], "holdout.csv"))["PassengerId"])
    for of in (trained["training"], steps["retraining"]):
        assert not holdout & set(pd.read_csv(artifact(of, "train.csv"))["PassengerId"])
    verdict = json.loads(artifact(steps["reevaluation"], "verdict.json").read_text())
    assert verdict["verdict"] == "promoted" and verdict["difference"]["rows"] == len(holdout)
    assert verdict["difference"]["accuracy_low"] > 0
    assert champion() == "2"
    assert steps["rescoring"]["state"] == "executed"
    new_model = mlflow.get_run(steps["rescoring"]["run_id"]).data.tags["model.version"]
    assert new_model == "2"

    # Nothing more to do for these, nor for the next ones of their kind.
    for current in ("arrived", "next"):
        code, steps, _ = pipeline(steps="retrain", current=files[current], labels="")
        assert code == 0
        assert steps["monitoring"]["metrics"]["drift_detected"] == 0
        assert {
            step["state"] for name, step in steps.items() if name not in ("scoring_data", "inference", "monitoring")
        } == {"skipped"}


def test_what_a_server_answered_is_watched_and_drift_is_an_exit_code_and_a_line_of_json(
    run, project, files, store, tmp_path
):
    """Serving, watching and an alerting system; `steps=served,retrain` goes on from there as it does above."""
    assert run("python", "main.py", f"data_url={files['first']}", *QUICK).code == 0
    log = tmp_path / "log"
    log.mkdir()
    with running(open_model("models:/titanic@champion"), Settings(log=str(log))) as port:
        status, answer, _ = Client(port).ask(files["next"].read_bytes(), "text/csv")
        assert status == 200
    settings = [f"served_log={log}", "current=${artifact:served,current.csv}", "monitoring.fail_on_drift=true", *QUICK]
    steps = "steps=served,scoring_data,inference,monitoring"
    done = run("mlflow", "run", ".", "--env-manager", "local", "-P", steps, "-P", f"overrides={' '.join(settings)}")
    assert done.code == 1
    assert "monitoring failed: drift in Age" in done.out
    line = next(line for line in done.out.splitlines() if '{"step": "monitoring"' in line)
    said = json.loads(line.strip().removeprefix("| "))
    assert (said["drift_detected"], said["rows_current"]) == (True, len(answer["predictions"]))
