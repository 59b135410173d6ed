"""The step in this process (report=false), and as MLflow starts it."""

import json
from pathlib import Path

import make_sample
import pytest

from tests.inference.small_model import (
    FEATURES,
    REQUIREMENTS,
    TRUSTED,
    make_classifier,
    model_signature,
)
from tests.step_programs import run_program


@pytest.fixture
def champion(store, tmp_path) -> str:
    """A champion whose run has train.csv, holdout.csv and metrics, as training leaves them; the run's ID."""
    import mlflow

    people = make_sample.passengers(900, seed=7)
    train, holdout = people.iloc[:700], people.iloc[700:]
    train.to_csv(tmp_path / "train.csv", index=False)
    holdout.to_csv(tmp_path / "holdout.csv", index=False)
    classifier = make_classifier(train)
    accuracy = (classifier.predict(holdout[FEATURES]) == holdout["Survived"]).mean()
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(tmp_path / "train.csv"))
        mlflow.log_artifact(str(tmp_path / "holdout.csv"))
        mlflow.log_metrics({"accuracy": accuracy, "rows_holdout": 200, "roc_auc": 0.7})
        info = mlflow.sklearn.log_model(
            classifier,
            name="model",
            signature=model_signature(train),
            pip_requirements=REQUIREMENTS,
            registered_model_name="titanic",
            skops_trusted_types=TRUSTED,
        )
    mlflow.MlflowClient().set_registered_model_alias("titanic", "champion", info.registered_model_version)
    champion.classifier = classifier
    return run.info.run_id


@pytest.fixture
def current(tmp_path) -> Path:
    path = tmp_path / "current.csv"
    make_sample.passengers(200, seed=8).drop(columns="Survived").to_csv(path, index=False)
    return path


@pytest.fixture
def run_step(capsys):
    """The step's main(), in this process; its exit code, standard output's lines and the error."""

    def run(report: str = "false", **parameters: object):
        capsys.readouterr()
        code = run_program("monitoring", report=report, **parameters)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.strip()

    return run


def newest_run():
    import mlflow

    return mlflow.search_runs(output_format="list")[0]


def predictions_of(people, tmp_path) -> Path:
    path = tmp_path / "predictions.csv"
    probability = champion.classifier.predict_proba(people[FEATURES])[:, 1].round(10)
    people[["PassengerId"]].assign(Survived=(probability > 0.5).astype(int), probability=probability).to_csv(
        path, index=False
    )
    return path


def test_what_is_like_the_training_list_is_quiet(champion, current, run_step):
    code, out, _ = run_step(current=current)
    assert code == 0
    line = json.loads(out[-1])
    assert (line["drift_detected"], line["drifted"], line["rows_current"], line["too_few"]) == (False, [], 200, "")
    run = newest_run()
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["drift_detected"], run.data.metrics["rows_reference"]) == (0, 700)
    assert 0 < run.data.metrics["statistic_Age"] < 0.2
    assert run.data.tags["model.run_id"] == champion
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"current.csv", "train.csv"}


def test_older_passengers_raise_the_flag_in_metrics_file_and_last_line(champion, tmp_path, run_step):
    import mlflow

    people = make_sample.passengers(200, seed=8)
    people.assign(Age=people["Age"] + 15).to_csv(tmp_path / "old.csv", index=False)
    code, out, _ = run_step(current=tmp_path / "old.csv")
    assert code == 0
    assert json.loads(out[-1])["drifted"] == ["Age"]
    run = newest_run()
    assert (run.data.metrics["drift_detected"], run.data.metrics["drift_Age"]) == (1, 1)
    assert run.data.metrics["drifted_share"] == pytest.approx(1 / 7)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    assert json.loads((folder / "drift.json").read_text())["drifted"] == ["Age"]
    assert "<h1>Drift: Age.</h1>" in (folder / "drift.html").read_text()
    code, _, err = run_step(current=tmp_path / "old.csv", fail_on_drift="true")
    assert code == 1
    assert err.splitlines()[-1].startswith("monitoring: drift in Age")
    assert newest_run().info.status == "FAILED"
    assert newest_run().data.metrics["drift_detected"] == 1


def test_a_handful_of_passengers_is_told_as_such(champion, tmp_path, run_step):
    make_sample.passengers(30, seed=8).assign(Age=99).to_csv(tmp_path / "few.csv", index=False)
    _, out, _ = run_step(current=tmp_path / "few.csv")
    line = json.loads(out[-1])
    assert (line["drift_detected"], line["too_few"]) == (False, "30 rows are too few to judge; min_rows=100")
    assert newest_run().data.metrics["too_few_rows"] == 1


def test_predictions_are_compared_with_those_for_the_holdout(champion, current, tmp_path, run_step):
    people = make_sample.passengers(200, seed=8)
    _, out, _ = run_step(current=current, predictions=predictions_of(people, tmp_path))
    assert json.loads(out[-1])["drift_detected"] is False
    assert "p_value_prediction" in newest_run().data.metrics
    women = people.assign(Sex="female", Name="Doe, Miss. Jo")
    _, out, _ = run_step(current=current, predictions=predictions_of(women, tmp_path))
    assert json.loads(out[-1])["drifted"] == ["prediction"]


def test_with_labels_the_live_metrics_stand_beside_those_at_training(champion, current, tmp_path, run_step):
    people = make_sample.passengers(200, seed=8)
    predictions = predictions_of(people, tmp_path)
    labels = tmp_path / "labels.csv"
    people[["PassengerId", "Survived"]].to_csv(labels, index=False)
    _, out, _ = run_step(current=current, predictions=predictions, labels=labels)
    metrics = newest_run().data.metrics
    assert (json.loads(out[-1])["drift_detected"], metrics["concept_drift"]) == (False, 0)
    assert metrics["live_rows"] == 200
    assert metrics["training_accuracy"] > 0.6
    assert abs(metrics["live_accuracy"] - metrics["training_accuracy"]) < 0.15
    people.assign(Survived=1 - people["Survived"])[["PassengerId", "Survived"]].to_csv(labels, index=False)
    _, out, _ = run_step(current=current, predictions=predictions, labels=labels)
    assert json.loads(out[-1])["drifted"] == ["accuracy"]
    assert newest_run().data.metrics["concept_drift"] == 1
    people.head(20)[["PassengerId", "Survived"]].to_csv(labels, index=False)
    _, out, _ = run_step(current=current, predictions=predictions, labels=labels)
    assert any("20 labelled passengers are too few" in line for line in out)


def test_a_reference_of_ones_own_needs_no_model(store, current, tmp_path, run_step):
    make_sample.passengers(500, seed=9).to_csv(tmp_path / "before.csv", index=False)
    assert run_step(current=current, reference=tmp_path / "before.csv", columns="Age, Sex")[0] == 0
    assert {name for name in newest_run().data.metrics if name.startswith("statistic_")} == {
        "statistic_Age",
        "statistic_Age_missing",
        "statistic_Sex",
    }


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "model models:/titanic@champion cannot be traced to its training"),
        ({"model": "nowhere"}, "model nowhere cannot be traced"),
        ({"reference": "missing.csv"}, "'missing.csv' could not be downloaded"),
        ({"alpha": 2}, "alpha=2 is not a probability"),
        ({"min_effect": -1, "max_rows": 5}, "min_effect=-1 is not a number from 0 to 1; max_rows=5"),
        ({"labels": "x.csv"}, "labels are given without predictions"),
        ({"fail_on_drift": "maybe"}, "fail_on_drift='maybe' is neither true nor false"),
        ({"reference": "SELF", "columns": "Age,Nmae"}, "columns names Nmae"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(store, current, run_step, parameters, said):
    parameters = {name: current if value == "SELF" else value for name, value in parameters.items()}
    code, _, err = run_step(current=current, **parameters)
    assert code == 1
    assert err.splitlines()[-1].startswith("monitoring: ")
    assert said in err.splitlines()[-1]
    assert newest_run().info.status == "FAILED"


def test_a_current_list_without_a_column_of_the_reference_is_refused_by_name(champion, tmp_path, run_step):
    make_sample.passengers(200).drop(columns="Age").to_csv(tmp_path / "less.csv", index=False)
    code, _, err = run_step(current=tmp_path / "less.csv")
    assert (code, "less.csv has no column Age" in err) == (1, True)


@pytest.mark.integration
def test_names_and_values_cannot_bring_script_into_the_page(store, tmp_path, run_step):
    import mlflow

    path, script = tmp_path / "evil.csv", "</script><script>alert(1)</script>"
    people = make_sample.passengers(200).rename(columns={"Age": script})
    people.assign(Embarked=people["Embarked"].replace("S", script)).to_csv(path, index=False)
    assert run_step(current=path, reference=path, report="true")[0] == 0
    page = Path(mlflow.artifacts.download_artifacts(run_id=newest_run().info.run_id, artifact_path="drift.html"))
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "(script)alert" in text


@pytest.mark.integration
def test_evidentlys_report_agrees_with_the_verdict_and_comes_out_the_same_every_time(mlflow_run, champion, tmp_path):
    people = make_sample.passengers(200, seed=8)
    people.assign(Age=people["Age"] + 15).to_csv(tmp_path / "old.csv", index=False)
    pages = []
    for seed in ("1", "2"):
        done = mlflow_run("monitoring", current=tmp_path / "old.csv", env={"PYTHONHASHSEED": seed})
        assert done.code == 0
        pages.append([done.artifact(name).read_bytes() for name in ("drift.html", "drift.json")])
    assert pages[0] == pages[1]
    content = json.loads(pages[0][1])
    assert content["drifted"] == ["Age"]
    counted = next(one for one in content["evidently"] if one["metric_name"].startswith("DriftedColumnsCount"))
    assert counted["value"]["count"] == 1
    assert b"<h1>Drift: Age.</h1>" in pages[0][0]
