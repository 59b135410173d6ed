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


MLMODEL = """
flavors:
  onnx: {data: model.onnx}
mlflow_version: 2.1.0
env_vars: [RATES]
signature:
  inputs: '[{"type": "double", "name": "size", "required": true}]'
"""


def model_work(name: str, mlmodel: str = MLMODEL, path: str = "model", link: str = ""):
    """A step that leaves a model folder, as a program of any language may."""

    def work(record: Record, folder: Path) -> None:
        (record.outputs / "model").mkdir()
        (record.outputs / "model" / "MLmodel").write_text(mlmodel)
        (record.outputs / "model" / "model.onnx").write_bytes(b"weights")
        if link:
            (record.outputs / "model" / "more").symlink_to(link)
        record.metrics = {"r2": 0.5}
        record.model = {"path": path, "name": name, "tags": {"seed": "3"}}

    return work


@pytest.mark.parametrize("name", ["houses", ""])
def test_a_model_folder_is_logged_as_the_runs_model_and_registered_if_it_has_a_name(monkeypatch, name):
    monkeypatch.delenv("STEP_OUTPUTS", raising=False)
    assert record_step("example", model_work(name)) == 0
    run = latest_run()
    assert artifacts(run.info.run_id) == set(), "the model is no artifact besides"
    client = mlflow.MlflowClient()
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (model.name, model.status, model.tags["seed"]) == ("model", "READY", "3")
    assert [(metric.key, metric.value) for metric in model.metrics] == [("r2", 0.5)]
    assert run.data.metrics == {"r2": 0.5}
    loaded = mlflow.models.get_model_info(f"runs:/{run.info.run_id}/model")
    assert loaded.signature.inputs.input_names() == ["size"]
    assert (loaded.run_id, list(loaded.flavors)) == (run.info.run_id, ["onnx"])
    assert (loaded.mlflow_version, loaded.env_vars) == ("2.1.0", ["RATES"]), "what it said of itself stays"
    versions = client.search_model_versions("name = 'houses'")
    assert [(one.version, one.run_id) for one in versions] == ([(1, run.info.run_id)] if name else [])
    effect = json.dumps({"model": "houses", "version": "1"})
    expected = {"model.name": "houses", "model.version": "1", "effect.registry": effect} if name else {}
    assert {key: run.data.tags[key] for key in run.data.tags if key.startswith(("model.", "effect."))} == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"mlmodel": "flavors: {}"},
        {"mlmodel": "neither yaml: ["},
        {"mlmodel": "- a list"},
        {"path": "../elsewhere"},
        {"path": "."},
        {"path": "nowhere"},
        {"path": "model/.."},
        {"mlmodel": f"{MLMODEL}saved_input_example_info: {{artifact_path: ../../secret}}"},
        {"mlmodel": f"{MLMODEL}saved_input_example_info: {{serving_input_path: nowhere.json}}"},
        {"link": "/etc/passwd"},
    ],
)
def test_what_is_no_model_is_not_logged(tmp_path, wrong):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "MLmodel").write_text(MLMODEL)
    (tmp_path / "secret").touch()
    (outputs := tmp_path / "outputs").mkdir()
    model_work("houses", **wrong)(record := Record(outputs), tmp_path)
    with mlflow.start_run() as run, pytest.raises(ValueError, match=r"^its model\.json is not of the form [^\n]*$"):
        record.log(run.info.run_id)
    assert not mlflow.MlflowClient().search_registered_models()


def test_what_the_pipeline_knows_of_the_inputs_is_known_without_asking_the_store(tmp_path, monkeypatch):
    (outputs := tmp_path / "outputs").mkdir()
    inputs = {
        "input": {"uri": "runs:/1/in.csv", "effects": {}},
        "trained": {"uri": "runs:/2/model", "effects": {"registry": {"model": "houses", "version": "3"}}},
        "champion": {"uri": "models:/houses/2"},
        "alias": {"uri": "models:/houses@champion"},
    }
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    monkeypatch.setenv("STEP_OUTPUTS", str(outputs))
    monkeypatch.setenv("STEP_INPUTS", str(tmp_path / "inputs.json"))
    found = {}

    def look(record: Record, folder: Path) -> None:
        found["input"] = record.requested("input", "in.csv"), record.requested("other", "other.csv")
        found["model"] = [record.registered(name) for name in ("trained", "champion", "alias", "input", "other")]

    assert record_step("example", look) == 0
    assert found["input"] == ("runs:/1/in.csv", "other.csv")
    nothing = ("", "")
    assert found["model"] == [("houses", "3"), ("houses", "2"), ("houses", ""), nothing, nothing]


@pytest.mark.parametrize("step", ["data_download", "data_cleaning", "training", "inference"])
def test_steps_that_record_start_without_mlflow(step):
    assert not uses_mlflow(load(Step(step), ROOT / step, check=False))
    script = "import sys; sys.argv = ['run.py']; import run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT / step).returncode == 0


def test_a_step_that_calls_mlflow_has_it_imported_ahead():
    assert uses_mlflow(load(Step("evaluation"), ROOT / "evaluation", check=False))
