"""The step training as `mlflow run` runs it: artifacts, metrics, the registered version, the same bytes again."""

import hashlib
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from make_sample import passengers

from tests.step_programs import run_program

pytestmark = pytest.mark.integration
VOLATILE = {"artifact_path", "model_id", "model_uuid", "run_id", "utc_time_created"}  # keys of MLmodel


@pytest.fixture
def clean_csv(tmp_path: Path) -> Path:
    passengers(400).to_csv(tmp_path / "clean_data.csv", index=False)
    return tmp_path / "clean_data.csv"


def files(run: mlflow.entities.Run) -> dict[str, str]:
    """SHA-256 of each file of the run and of its model; of MLmodel without what names the run."""
    found = {}
    for uri in (f"runs:/{run.info.run_id}/", f"runs:/{run.info.run_id}/model"):
        folder = Path(mlflow.artifacts.download_artifacts(uri))
        for file in folder.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            if file.name == "MLmodel":
                content = repr({k: v for k, v in yaml.safe_load(content).items() if k not in VOLATILE}).encode()
            if file.is_file():
                found[f"{uri[39:]}/{file.relative_to(folder)}"] = hashlib.sha256(content).hexdigest()
    return found


def latest(count: int = 1) -> list[mlflow.entities.Run]:
    return mlflow.search_runs(search_all_experiments=True, max_results=count, output_format="list")


def test_mlflow_run_trains_judges_saves_and_registers(mlflow_run: object, clean_csv: Path) -> None:
    done = mlflow_run("training", input=clean_csv, model="random_forest", n_estimators=20, cv_folds=3)
    assert done.code == 0, done.err
    train, holdout = (pd.read_csv(done.artifact(name)) for name in ("train.csv", "holdout.csv"))
    assert len(train) + len(holdout) == 400
    assert set(train["PassengerId"]).isdisjoint(holdout["PassengerId"])
    assert done.run.data.metrics["accuracy"] > 0.7
    assert {"rows_train", "rows_holdout", "roc_auc", "log_loss", "brier", "cv_accuracy_mean"} <= set(
        done.run.data.metrics
    )
    assert done.run.data.params["n_estimators"] == "20"
    assert {path.name for path in done.artifact("plots").iterdir()} == {
        "roc.png", "precision_recall.png", "calibration.png", "confusion_matrix.png", "permutation_importance.png",
    }  # fmt: skip
    assert "## Intended use" in done.artifact("model_card.md").read_text()
    assert {entry.dataset.name for entry in done.run.inputs.dataset_inputs} == {
        "clean_data.csv", "train.csv", "holdout.csv",
    }  # fmt: skip

    version = mlflow.MlflowClient().get_model_version("titanic", "1")
    assert version.run_id == done.run.info.run_id
    assert version.tags["split_seed"] == "0"
    assert version.tags["data.sha256"] == hashlib.sha256(clean_csv.read_bytes()).hexdigest()

    model = mlflow.pyfunc.load_model("models:/titanic/1")
    assert "Survived" not in model.metadata.signature.inputs.input_names()
    loaded = mlflow.sklearn.load_model("models:/titanic/1")
    columns = model.metadata.signature.inputs.input_names()
    numbers = ["Pclass", "Age", "SibSp", "Parch", "Fare"]
    asked = holdout[columns].astype(dict.fromkeys(numbers, "float64"))
    assert list(model.predict(asked)) == list(loaded.predict(holdout[columns]))
    asked.loc[asked.index[0], ["Pclass", "SibSp", "Parch"]] = None
    assert model.predict(asked)[0] in (0, 1), "an empty cell is the model's to fill, whatever the column holds"
    assert model.input_example.shape == (3, len(columns))
    requirements = Path(mlflow.artifacts.download_artifacts("models:/titanic/1")) / "requirements.txt"
    assert all("==" in line for line in requirements.read_text().split())


def test_training_again_gives_the_same_bytes_and_another_seed_moves_nobody(store: str, clean_csv: Path) -> None:
    for seed in (0, 0, 1):
        assert run_program("training", input=clean_csv, n_estimators=10, cv_folds=3, seed=seed) == 0
    other, second, first = map(files, latest(3))
    assert len(first) == 16
    assert first == second
    assert {name for name in first if first[name] == other[name]} >= {"/train.csv", "/holdout.csv"}
    assert first["model/model.skops"] != other["model/model.skops"]


def test_without_plots_and_repeats_neither_is_made(store: str, clean_csv: Path) -> None:
    assert run_program("training", input=clean_csv, plots="false", cv_repeats=0, model="logistic_regression") == 0
    run = latest()[0]
    assert not any(name.startswith("cv_") for name in run.data.metrics)
    paths = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert paths == {"train.csv", "holdout.csv", "model_card.md"}


def test_a_search_leaves_its_trials_and_what_it_chose(store: str, clean_csv: Path) -> None:
    searched = {"model": "logistic_regression", "search_trials": 2, "cv_folds": 2, "plots": "false"}
    assert run_program("training", input=clean_csv, **searched) == 0
    run = latest()[0]
    trials = pd.read_csv(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="search_trials.csv"))
    assert float(run.data.tags["search.C"]) in list(trials["C"])
    assert "nested" in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/model_card.md")


def test_an_error_is_one_sentence_and_leaves_no_version(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passengers(60).drop(columns="Survived").to_csv(tmp_path / "unlabelled.csv", index=False)
    assert run_program("training", input=tmp_path / "unlabelled.csv") == 1
    error = capsys.readouterr().err
    assert error.startswith("training: unlabelled.csv has no column Survived")
    assert error.count("\n") == 1
    assert latest()[0].info.status == "FAILED"
    assert not mlflow.MlflowClient().search_registered_models()


def test_on_the_real_list_the_default_model_is_right_on_the_held_out(store: str, real_list: Path) -> None:
    assert run_program("training", input=real_list, plots="false", cv_repeats=0) == 0
    metrics = latest()[0].data.metrics
    assert metrics["accuracy"] >= 0.78
    assert metrics["rows_train"] + metrics["rows_holdout"] == 891
