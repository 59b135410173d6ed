"""The step as MLflow starts it."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import make_sample
import pandas as pd
import pytest
from predictions import probability_columns
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import ROOT, register_model, rows, table
from tests.step_programs import run_program


def artifact(name: str, run=0) -> Path:
    """A file of the newest run, or of one before it."""
    import mlflow

    run_id = mlflow.search_runs(output_format="list")[run].info.run_id
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name))


@pytest.mark.integration
def test_predictions_metrics_tags_and_inputs_are_in_the_run(mlflow_run, register, passengers_csv):
    version = register("champion")
    done = mlflow_run("inference", model="models:/titanic@champion", input=passengers_csv, model_version_column="true")
    assert done.code == 0
    with done.artifact("predictions.csv").open() as file:
        header, *lines = csv.reader(file)
    assert header == ["PassengerId", "Survived", "probability", "model_version"]
    assert [line[0] for line in lines] == [str(number) for number in range(1, 201)]
    assert {line[3] for line in lines} == {version}
    run = done.run
    assert run.info.status == "FINISHED"
    assert run.data.params["model"] == "models:/titanic@champion"
    assert (run.data.metrics["rows"], run.data.metrics["scored"], run.data.metrics["errors"]) == (200, 200, 0)
    assert run.data.metrics["predicted_share_survived"] == sum(line[1] == "1" for line in lines) / 200
    assert run.data.tags["model.version"] == version
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"passengers.csv", "predictions.csv"}
    assert "200 of 200 passengers scored by titanic version 1" in done.out + done.err


@pytest.mark.integration
def test_canary_and_shadow_ask_the_challenger(mlflow_run, register, passengers_csv):
    register("champion")
    register("challenger", seed=5)
    done = mlflow_run(
        "inference",
        model="models:/titanic@champion",
        input=passengers_csv,
        canary=0.25,
        shadow="models:/titanic@challenger",
    )
    assert done.code == 0
    lines = list(csv.DictReader(done.artifact("predictions.csv").read_text().splitlines()))
    assert {line["model_version"] for line in lines} == {"1", "2"}
    assert done.run.data.metrics["canary_rows"] == sum(line["model_version"] == "2" for line in lines)
    assert 0 < done.run.data.metrics["shadow_agreement"] < 1
    differences = list(csv.DictReader(done.artifact("shadow_differences.csv").read_text().splitlines()))
    assert done.run.data.metrics["shadow_differences"] == len(differences)
    assert done.run.data.tags["shadow.version"] == done.run.data.tags["challenger.version"] == "2"


@pytest.mark.integration
def test_a_raw_list_is_refused_with_the_command_that_makes_it_clean(mlflow_run, model_folder, tmp_path):
    raw = tmp_path / "raw.csv"
    frame = make_sample.passengers(100).drop(columns="Survived")
    frame.assign(Sex=frame["Sex"].str.title()).to_csv(raw, index=False)
    done = mlflow_run("inference", model=model_folder, input=raw)
    assert done.code == 1
    command = f"mlflow run data_cleaning -P input={raw} -P require_target=false"
    assert "raw.csv is not clean: Sex 'Male' in row 1; run data_cleaning on it first" in done.err
    assert done.err.strip().endswith(command) or f"{command}\n" in done.err
    project, parameters = command.split()[2], (word.split("=") for word in command.split() if "=" in word)
    cleaned = mlflow_run(project, dataset=Path(__file__).parents[2] / "dataset.yaml", **dict(parameters))
    assert cleaned.code == 0
    done = mlflow_run("inference", model=model_folder, input=cleaned.artifact("clean_data.csv"))
    assert done.code == 0
    assert done.run.data.metrics["scored"] == 100


def test_what_data_cleaning_rejects_stands_in_its_place(store, model_folder, tmp_path):
    raw = tmp_path / "raw.csv"
    frame = make_sample.passengers(40).drop(columns="Survived").astype(object)
    frame.loc[3, "Pclass"], frame.loc[11, "Age"], frame.loc[39, "Sex"] = 7, "about 30", "unknown"
    frame = pd.concat([frame.head(20), frame.iloc[[0]], frame.iloc[20:]])
    frame.to_csv(raw, index=False)
    declared = Path(__file__).parents[2] / "dataset.yaml"
    assert run_program("data_cleaning", input=raw, dataset=declared, require_target="false", max_rejected=1) == 0
    given = {"input": artifact("clean_data.csv"), "rejected": artifact("rejected.csv"), "max_errors": 0.1}
    assert run_program("inference", model=model_folder, **given) == 0
    lines = list(csv.DictReader(artifact("predictions.csv").read_text().splitlines()))
    assert [line["PassengerId"] for line in lines] == frame["PassengerId"].astype(str).tolist()
    assert {place: line["error"] for place, line in enumerate(lines) if line["error"]} == {
        3: "Pclass_not_allowed",
        11: "Age_not_a_number",
        20: "duplicate",
        40: "Sex_not_allowed",
    }
    assert all(bool(line["Survived"]) != bool(line["error"]) for line in lines)


@pytest.mark.parametrize(("max_errors", "code"), [(0.05, 1), (0.06, 0)])
def test_too_many_rows_without_a_prediction_fail_the_step_which_keeps_what_it_made(
    store, model_folder, passengers_csv, tmp_path, capsys, max_errors, code
):
    import mlflow

    rejected = tmp_path / "rejected.csv"
    reasons = ["Sex_not_allowed"] * 8 + ["Sex_not_allowed; Age_out_of_range"] * 4 + ["duplicate"] * 100
    lines = [f"{201 + place},{202 + place},{reason},k{place}\n" for place, reason in enumerate(reasons)]
    rejected.write_text("row,line,reason,PassengerId\n" + "".join(lines[:12]))
    given = {"model": model_folder, "input": passengers_csv, "rejected": rejected}
    assert run_program("inference", **given, max_errors=max_errors) == code
    said = (capsys.readouterr().err.strip().splitlines() or [""])[-1]
    run = mlflow.search_runs(output_format="list")[0]
    assert run.info.status == ("FAILED" if code else "FINISHED")
    assert run.data.metrics["errors"] == 12
    assert len(artifact("predictions.csv").read_text().splitlines()) == 213
    if code:
        assert said.startswith(
            "inference: 12 of 212 passengers (5.7%) have no prediction, more than max_errors=0.05 allows "
            "(Sex_not_allowed 12, Age_out_of_range 4); "
        )
    rejected.write_text("row,line,reason,PassengerId\n" + "".join(lines))  # the duplicates are no errors
    assert run_program("inference", **given, max_errors=0.05) == 0


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_every_task_is_scored_with_shadow_and_canary(store, tmp_path, capsys, task):
    import mlflow

    of, frame = table(task), rows(task)
    register_model(of, frame, "champion")
    register_model(of, frame, "challenger", seed=1)
    of.write(frame, tmp_path / "orders.csv")
    uri = f"models:/{of.name}@"
    given = {"model": f"{uri}champion", "shadow": f"{uri}challenger", "canary": 0.2, "input": tmp_path / "orders.csv"}
    assert run_program("inference", **given) == 0
    header, *lines = csv.reader(artifact("predictions.csv").read_text().splitlines())
    assert header == ["order", of.target.name, *probability_columns(of), "model_version"]
    assert (len(lines), {line[-1] for line in lines}) == (300, {"1", "2"})
    metrics = mlflow.search_runs(output_format="list")[0].data.metrics
    assert metrics["shadow_max_absolute_difference"] > 0
    assert f"300 of 300 orders scored by {of.name} version 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"input": "ragged"},
            "ragged.csv is not clean: row 2 has 3 cells, the header 11; run data_cleaning on it first",
        ),
        ({"input": "nothing.csv"}, "'nothing.csv' cannot be read"),
        ({"rejected": "nothing.csv"}, "rejected 'nothing.csv' could not be downloaded"),
        ({"canary": 1.5}, "canary='1.5' is not a number from 0 to 1"),
        ({"canary": 0.5}, "models:/titanic@challenger could not be downloaded"),
        ({"model_version_column": "yes"}, "model_version_column='yes' is neither true nor false"),
        ({"max_errors": -1}, "max_errors='-1' is not a number from 0 to 1"),
        ({"chunk_rows": 0}, "chunk_rows='0' is not"),
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
    for _ in range(2):
        assert run_program("inference", model=model_folder, input=passengers_csv, shadow=model_folder) == 0
    for name in ("predictions.csv", "shadow_differences.csv"):
        assert artifact(name, 0).read_bytes() == artifact(name, 1).read_bytes()


PYFUNC = """
import sys
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = pd.read_csv(sys.argv[2]).astype({name: "float64" for name in ("Pclass", "SibSp", "Parch")})
print(",".join(str(int(value)) for value in model.predict(frame)))
print(",".join(repr(round(float(value), 10)) for value in model._model_impl.sklearn_model.predict_proba(frame)[:, 1]))
"""


@pytest.mark.integration
def test_a_fresh_environment_of_the_models_own_requirements_predicts_the_same(store, model_folder, tmp_path):
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
    lines = list(csv.DictReader(artifact("predictions.csv").read_text().splitlines()))
    assert [line["Survived"] for line in lines] == survived
    assert [line["probability"] for line in lines] == probability


def test_parquet_goes_through_both_steps_as_csv_does(store, model_folder, tmp_path, capsys):
    frame = pd.read_csv(ROOT / "data" / "titanic_sample.csv").head(60)
    for name, write in (("in.csv", frame.to_csv), ("in.parquet", frame.to_parquet)):
        write(tmp_path / name, index=False)
        given = {"input": tmp_path / name, "dataset": ROOT / "dataset.yaml", "parquet": "true", "workers": 2}
        assert run_program("data_cleaning", **given, profile="false") == 0
    said = capsys.readouterr().out
    assert "data_cleaning: in.parquet is a Parquet file: its first row is line 2" in said
    assert artifact("clean_data.csv").read_bytes() == artifact("clean_data.csv", run=1).read_bytes()
    assert artifact("clean_data.parquet").read_bytes() == artifact("clean_data.parquet", run=1).read_bytes()
    cleaned = artifact("clean_data.csv"), artifact("clean_data.parquet")
    for source in cleaned:
        assert run_program("inference", model=model_folder, input=source, parquet="true") == 0
    assert artifact("predictions.csv").read_bytes() == artifact("predictions.csv", run=1).read_bytes()
    predicted = pd.read_parquet(artifact("predictions.parquet"))
    assert predicted.dtypes.astype(str).to_dict() == {
        "PassengerId": "int64",
        "Survived": "int64",
        "probability": "float64",
    }
    assert len(predicted) == len(artifact("predictions.csv").read_text().splitlines()) - 1
