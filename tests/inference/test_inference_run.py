"""The step as MLflow starts it."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import make_sample
import pytest

from tests.step_programs import run_program


@pytest.mark.integration
def test_predictions_metrics_tags_and_inputs_are_in_the_run(mlflow_run, register, passengers_csv):
    version = register("champion")
    done = mlflow_run("inference", model="models:/titanic@champion", input=passengers_csv, model_version_column="true")
    assert done.code == 0
    with done.artifact("predictions.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["PassengerId", "Survived", "probability", "model_version"]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 201)]
    assert {row[3] for row in rows} == {version}
    run = done.run
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "models:/titanic@champion"
    assert (run.data.metrics["rows"], run.data.metrics["scored"], run.data.metrics["errors"]) == (200, 200, 0)
    assert run.data.metrics["survived_share"] == sum(row[1] == "1" for row in rows) / 200
    assert run.data.tags["model.version"] == version
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"passengers.csv", "predictions.csv"}
    assert "200 of 200 passengers scored by titanic version 1" in done.out + done.err


@pytest.mark.integration
def test_canary_and_shadow_ask_the_challenger(mlflow_run, register, passengers_csv):
    register("champion")
    register("challenger", kind="random_forest")
    done = mlflow_run(
        "inference",
        model="models:/titanic@champion",
        input=passengers_csv,
        canary=0.25,
        shadow="models:/titanic@challenger",
    )
    assert done.code == 0
    rows = list(csv.DictReader(done.artifact("predictions.csv").read_text().splitlines()))
    assert {row["model_version"] for row in rows} == {"1", "2"}
    assert done.run.data.metrics["canary_rows"] == sum(row["model_version"] == "2" for row in rows)
    assert 0 < done.run.data.metrics["shadow_agreement"] < 1
    differences = list(csv.DictReader(done.artifact("shadow_differences.csv").read_text().splitlines()))
    assert done.run.data.metrics["shadow_differences"] == len(differences)
    assert done.run.data.tags["shadow.version"] == done.run.data.tags["challenger.version"] == "2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input": "ragged"}, "ragged.csv has 3 cells in line 3 where the header has 11"),
        ({"canary": 1.5}, "canary=1.5 is not a share from 0 to 1"),
        ({"canary": 0.5}, "models:/titanic@challenger could not be downloaded"),
        ({"model_version_column": "yes"}, "model_version_column='yes' is neither true nor false"),
        ({"chunk_rows": 0}, "chunk_rows=0 is not"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence_and_nothing_is_left(
    store, model_folder, passengers_csv, capsys, change, said
):
    import mlflow

    ragged = passengers_csv.with_name("ragged.csv")
    ragged.write_text("".join(passengers_csv.read_text().splitlines(keepends=True)[:2]) + "1,2,3\n")
    values = {"model": model_folder, "input": passengers_csv} | change
    values["input"] = ragged if values["input"] == "ragged" else values["input"]
    assert run_program("inference", **values) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("inference: ")
    assert said in last
    run = mlflow.search_runs(output_format="list")[0]
    assert run.info.status == "FAILED"
    assert mlflow.MlflowClient().list_artifacts(run.info.run_id) == []


def test_the_same_input_gives_the_same_bytes(store, model_folder, passengers_csv):
    import mlflow

    for _ in range(2):
        assert run_program("inference", model=model_folder, input=passengers_csv, shadow=model_folder) == 0
    runs = mlflow.search_runs(output_format="list")
    for name in ("predictions.csv", "shadow_differences.csv"):
        first, second = (
            Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)) for run in runs
        )
        assert first.read_bytes() == second.read_bytes()


PYFUNC = """
import sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_csv(sys.argv[2])
print(",".join(str(int(value)) for value in model.predict(frame)))
print(",".join(repr(round(float(value), 10)) for value in model._model_impl.sklearn_model.predict_proba(frame)[:, 1]))
"""


@pytest.mark.integration
def test_a_fresh_environment_of_the_models_own_requirements_predicts_the_same(store, model_folder, tmp_path):
    import mlflow

    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if not uv:
        pytest.skip("uv is not on this machine")
    python = tmp_path / "fresh" / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "fresh")],
        [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(model_folder / "requirements.txt")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"uv cannot make the environment: {done.stderr.strip()[-300:]}")
    passengers = tmp_path / "in.csv"
    make_sample.passengers(100, seed=5).to_csv(passengers, index=False)
    fresh = subprocess.run(
        [str(python), "-c", PYFUNC, str(model_folder), str(passengers)], capture_output=True, text=True, timeout=300
    )
    assert fresh.returncode == 0, fresh.stderr
    survived, probability = (line.split(",") for line in fresh.stdout.strip().splitlines()[-2:])
    assert run_program("inference", model=model_folder, input=passengers) == 0
    run = mlflow.search_runs(output_format="list")[0]
    batch = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="predictions.csv"))
    rows = list(csv.DictReader(batch.read_text().splitlines()))
    assert [row["Survived"] for row in rows] == survived
    assert [row["probability"] for row in rows] == probability
