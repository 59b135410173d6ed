"""The frame of a step that calls no MLflow: files for the pipeline, or logged here where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from recording import Record, record_step
from step_error import StepError

from pipeline.config import Step
from pipeline.execution.prewarming import uses_mlflow
from pipeline.planning.project import load
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("store")


def work(record: Record, folder: Path) -> None:
    (folder / "out.csv").write_text("a\n1\n")
    record.take(folder)
    record.metrics = {"rows": 1}
    record.tags = {"data.source": "a shop"}
    record.datasets = [{"parameter": "input", "name": "in.csv", "sha256": "0" * 64, "columns": {"a": "long"}}]


def work_in_vain(record: Record, folder: Path) -> None:
    work(record, folder)
    (folder / "half.csv").write_text("a\n")
    raise StepError("in.csv has no rows; give another")


def artifacts(run_id: str) -> set[str]:
    return {entry.path for entry in mlflow.MlflowClient().list_artifacts(run_id)}


def latest_run():
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return run


def test_in_a_pipeline_it_leaves_files_and_logs_nothing(tmp_path, monkeypatch):
    (outputs := tmp_path / "outputs").mkdir()
    monkeypatch.setenv("STEP_OUTPUTS", str(outputs))
    assert record_step("example", work) == 0
    assert {path.name for path in outputs.iterdir()} == {"out.csv", "metrics.json", "tags.json", "dataset.json"}
    assert json.loads((outputs / "metrics.json").read_text()) == {"rows": 1}
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")


def test_by_itself_it_is_logged(monkeypatch):
    monkeypatch.delenv("STEP_OUTPUTS", raising=False)
    assert record_step("example", work) == 0
    run = latest_run()
    assert run.info.status == "FINISHED" and artifacts(run.info.run_id) == {"out.csv"}
    assert run.data.metrics == {"rows": 1} and run.data.tags["data.source"] == "a shop"
    (read,) = run.inputs.dataset_inputs
    assert json.loads(read.dataset.schema) == {"mlflow_colspec": [{"type": "long", "name": "a", "required": False}]}


@pytest.mark.parametrize("alone", [True, False])
def test_what_was_recorded_before_it_failed_is_logged_and_what_it_had_not_finished_is_not(
    tmp_path, monkeypatch, capsys, alone
):
    monkeypatch.delenv("STEP_OUTPUTS", raising=False)
    if not alone:
        (outputs := tmp_path / "outputs").mkdir()
        monkeypatch.setenv("STEP_OUTPUTS", str(outputs))
        with mlflow.start_run() as run:
            pass
        monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
        mlflow.log_params({"input": "'runs:/1/in.csv'"}, run_id=run.info.run_id)
    assert record_step("example", work_in_vain) == 1
    assert capsys.readouterr().err == "example: in.csv has no rows; give another\n"
    run = latest_run()
    assert artifacts(run.info.run_id) == {"out.csv"}
    assert run.data.metrics == {"rows": 1}
    (read,) = run.inputs.dataset_inputs
    assert json.loads(read.dataset.source) == {"uri": "in.csv" if alone else "runs:/1/in.csv"}


@pytest.mark.parametrize("step", ["data_download", "data_cleaning"])
def test_steps_that_record_start_without_mlflow(step):
    assert not uses_mlflow(load(Step(step), ROOT / step, check=False))
    script = "import sys; sys.argv = ['run.py']; import run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT / step).returncode == 0


def test_a_step_that_calls_mlflow_has_it_imported_ahead():
    assert uses_mlflow(load(Step("training"), ROOT / "training", check=False))
