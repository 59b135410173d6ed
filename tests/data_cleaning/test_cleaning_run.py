"""The step as MLflow runs it."""

import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "titanic_sample.csv"
DATASET = SAMPLE.parent.parent / "dataset.yaml"
pytestmark = pytest.mark.integration


def test_alone_it_leaves_its_artifacts_metrics_and_datasets_in_its_run(mlflow_run) -> None:
    done = mlflow_run("data_cleaning", dataset=DATASET, input=SAMPLE, missing="drop")
    assert done.code == 0, done.err
    kept = len(pd.read_csv(SAMPLE).dropna())
    assert f"data_cleaning: {kept} of 900 rows are clean" in done.out
    metrics = done.run.data.metrics
    assert (metrics["rows_in"], metrics["rows_out"], metrics["incomplete"]) == (900, kept, 900 - kept)
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(done.run.info.run_id)}
    assert files == {"clean_data.csv", "datapackage.json", "rejected.csv", "checks.json", "checks.html", "profile.html"}
    assert len(pd.read_csv(done.artifact("clean_data.csv"))) == kept
    read, made = sorted(
        (item.dataset for item in done.run.inputs.dataset_inputs), key=lambda item: item.name != SAMPLE.name
    )
    assert json.loads(read.source)["uri"] == str(SAMPLE)
    assert json.loads(made.source)["uri"] == f"runs:/{done.run.info.run_id}/clean_data.csv"
    assert json.loads(made.profile)["num_rows"] == kept
    assert done.run.data.tags["data.sha256"].startswith(made.digest)


def test_a_broken_file_fails_in_one_sentence_and_leaves_its_reports(mlflow_run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(SAMPLE.read_text(encoding="utf-8").replace(",male,", ",mail,"), encoding="utf-8")
    done = mlflow_run("data_cleaning", dataset=DATASET, input=bad)
    assert done.code != 0
    said = [line for line in done.err.splitlines() if line.startswith("data_cleaning:")]
    assert len(said) == 1 and "Sex_not_allowed" in said[0] and "Traceback" not in done.err
    assert done.run.info.status == "FAILED"
    files = {item.path for item in mlflow.MlflowClient().list_artifacts(done.run.info.run_id)}
    assert files == {"rejected.csv", "checks.json", "checks.html"}


def test_a_parameter_that_makes_no_sense_fails_in_one_sentence(mlflow_run) -> None:
    done = mlflow_run("data_cleaning", dataset=DATASET, input=SAMPLE, max_rejected="many")
    assert done.code != 0
    assert "data_cleaning: max_rejected='many' is not a number from 0 to 1" in done.err
    assert "Traceback" not in done.err and done.run.info.status == "FAILED"
