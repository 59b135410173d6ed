"""The step training as `mlflow run` runs it: artifacts, metrics, the registered version, the same bytes again."""

import hashlib
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from declaration import parse_declaration
from declared_features import numbers
from estimators import DEFAULTS
from features import BY_HAND
from make_sample import passengers
from predictions import METRICS
from saved_model import open_model
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer
from table import BINARY, MULTICLASS, REGRESSION, TASKS, Table

from tests.example_tables import FIELDS, ROOT, TARGETS, TITANIC, rows, table
from tests.step_programs import run_program

pytestmark = pytest.mark.integration
VOLATILE = {"artifact_path", "model_id", "model_uuid", "run_id", "utc_time_created"}  # keys of MLmodel
PICTURES = {
    BINARY: {"roc", "precision_recall", "calibration", "confusion_matrix", "permutation_importance"},
    MULTICLASS: {"roc", "confusion_matrix", "permutation_importance"},
    REGRESSION: {"predicted_against_true", "residuals", "permutation_importance"},
}
QUICK = {"n_estimators": 5, "cv_repeats": 0, "plots": "false"}


def written(of: Table, frame: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The two files that data_cleaning leaves, as parameters."""
    of.write(frame, folder / "clean_data.csv")
    (folder / "dataset.json").write_text(of.json(), encoding="utf-8")
    return {"input": folder / "clean_data.csv", "dataset": folder / "dataset.json"}


@pytest.fixture
def titanic(tmp_path: Path) -> dict[str, Path]:
    return written(TITANIC, passengers(400), tmp_path)


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


def artifact(run: mlflow.entities.Run, name: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name))


def test_mlflow_run_trains_judges_saves_and_registers(mlflow_run: object, titanic: dict[str, Path]) -> None:
    done = mlflow_run("training", **titanic, model="random_forest", n_estimators=20, cv_folds=3)
    assert done.code == 0, done.err
    train, holdout = (TITANIC.read(done.artifact(name)) for name in ("train.csv", "holdout.csv"))
    assert len(train) + len(holdout) == 400
    assert set(train["PassengerId"]).isdisjoint(holdout["PassengerId"])
    assert done.run.data.metrics["accuracy"] > 0.7
    assert {"rows_train", "rows_holdout", "roc_auc", "log_loss", "brier", "cv_accuracy_mean"} <= set(
        done.run.data.metrics
    )
    assert done.run.data.params["n_estimators"] == "20"
    assert {path.stem for path in done.artifact("plots").iterdir()} == PICTURES[BINARY]
    card = done.artifact("model_card.md").read_text()
    assert "## Intended use\nTeaching" in card
    assert "| Age: child | " in card
    assert {entry.dataset.name for entry in done.run.inputs.dataset_inputs} == {
        "clean_data.csv", "train.csv", "holdout.csv",
    }  # fmt: skip

    version = mlflow.MlflowClient().get_model_version("titanic", "1")
    assert version.run_id == done.run.info.run_id
    assert version.tags["split_seed"] == "0"
    assert version.tags["data.sha256"] == hashlib.sha256(titanic["input"].read_bytes()).hexdigest()

    model = mlflow.pyfunc.load_model("models:/titanic/1")
    columns = model.metadata.signature.inputs.input_names()
    assert columns == ["Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare"]
    loaded = mlflow.sklearn.load_model("models:/titanic/1")
    asked = holdout[columns]
    assert list(model.predict(asked)) == list(loaded.predict(asked))
    asked.loc[asked.index[0], ["Pclass", "SibSp", "Parch"]] = None
    assert model.predict(asked)[0] in (0, 1), "an empty cell is the model's to fill, whatever the column holds"
    assert model.input_example.shape == (3, len(columns))
    requirements = Path(mlflow.artifacts.download_artifacts("models:/titanic/1")) / "requirements.txt"
    assert all("==" in line for line in requirements.read_text().split())


@pytest.mark.parametrize("task", TASKS)
def test_any_table_is_trained_on_judged_and_opened_with_its_declaration(task: str, store: str, tmp_path: Path) -> None:
    of, frame = table(task), rows(task)
    assert run_program("training", **written(of, frame, tmp_path), n_estimators=20, cv_folds=3) == 0
    run = latest()[0]
    assert {path.stem for path in artifact(run, "plots").iterdir()} == PICTURES[task]
    cross_validated = {f"cv_{name}_{what}" for name in METRICS[task] for what in ("mean", "std", "low", "high")}
    baseline = {f"baseline_{name}" for name in METRICS[task]}
    assert set(run.data.metrics) == {"rows_train", "rows_holdout", *METRICS[task], *cross_validated, *baseline}
    assert run.data.tags["model.name"] == of.name
    card = artifact(run, "model_card.md").read_text(encoding="utf-8")
    typical = card.partition("## What it says of five")[2].partition("\n## ")[0].splitlines()
    cells = [line.split(" | ")[-1].rstrip(" |") for line in typical if line.startswith("| ")]
    answers = [float(cell) for cell in cells[2:]]
    assert len(answers) == 5 and answers == sorted(answers), "from the lowest to the highest"
    train = of.read(artifact(run, "train.csv"))[list(open_model(f"models:/{of.name}/1").columns)]
    for name, share in train.isna().mean().items():
        assert (f"{name} ({share:.1%})" in card) == (share > 0)
    assert f"| colour: red | {(of.read(artifact(run, 'holdout.csv'))['colour'] == 'red').sum()} | " in card

    model = open_model(f"models:/{of.name}/1")
    assert (model.table.json(), model.version) == (of.json(), "1")
    said = model.predict(of.read(artifact(run, "holdout.csv")))
    assert len(said) == run.data.metrics["rows_holdout"]
    answers = mlflow.pyfunc.load_model(f"models:/{of.name}/1").predict(frame[list(model.columns)])
    assert answers.dtype.kind == {BINARY: "i", MULTICLASS: "O", REGRESSION: "f"}[task]


def test_a_table_without_a_key_is_trained_on_by_its_rows_numbers(store: str, tmp_path: Path) -> None:
    fields = [{**one, "role": "ignored"} if one["name"] == "order" else one for one in FIELDS]
    of = parse_declaration({"name": "orders", "fields": [*fields, TARGETS[BINARY]]}, "orders.yaml")
    frame = rows(BINARY).assign(row=range(1, 301))[["row", *(one.name for one in of.fields)]]
    assert run_program("training", **written(of, frame, tmp_path), **QUICK) == 0
    assert "hash of row and" in artifact(latest()[0], "model_card.md").read_text()
    assert "row" not in open_model("models:/orders/1").columns


@pytest.mark.parametrize("task", TASKS)
def test_training_again_gives_the_same_bytes_and_another_seed_moves_nobody(
    task: str, store: str, tmp_path: Path
) -> None:
    parameters = written(table(task), rows(task), tmp_path)
    for seed in (0, 0, 1):
        assert run_program("training", **parameters, n_estimators=5, cv_folds=2, seed=seed) == 0
    other, second, first = map(files, latest(3))
    assert len(first) == 4 + len(PICTURES[task]) + 10
    assert first == second
    assert {name for name in first if first[name] == other[name]} >= {"/train.csv", "/holdout.csv"}
    assert first["model/model.skops"] != other["model/model.skops"]


def test_without_plots_and_repeats_neither_is_made(store: str, titanic: dict[str, Path]) -> None:
    assert run_program("training", **titanic, plots="false", cv_repeats=0, model="logistic_regression") == 0
    run = latest()[0]
    assert not any(name.startswith("cv_") for name in run.data.metrics)
    paths = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert paths == {"train.csv", "holdout.csv", "model_card.md", "importance.csv"}


def test_a_search_leaves_its_trials_and_what_it_chose(store: str, titanic: dict[str, Path]) -> None:
    searched = {"model": "logistic_regression", "search_trials": 2, "cv_folds": 2, "plots": "false"}
    assert run_program("training", **titanic, **searched) == 0
    run = latest()[0]
    trials = pd.read_csv(artifact(run, "search_trials.csv"))
    assert float(run.data.tags["search.C"]) in list(trials["C"])
    assert "nested" in artifact(run, "model_card.md").read_text()


def test_names_from_a_declaration_are_harmless_in_the_card_and_in_the_pictures(store: str, tmp_path: Path) -> None:
    target = {**TARGETS[MULTICLASS], "labels": {"low": "<b>|$x^", "mid": "$_{", "top": "#"}}
    of = parse_declaration(
        {"name": "odd", "primaryKey": "order", "rows": "a|b", "fields": [*FIELDS, target]}, "odd.yaml"
    )
    parameters = QUICK | {"plots": "true"}
    assert run_program("training", **written(of, rows(MULTICLASS), tmp_path), **parameters) == 0
    card = artifact(latest()[0], "model_card.md").read_text()
    assert "<b>" not in card
    assert "a|b" not in card


def failed(capsys: pytest.CaptureFixture[str]) -> str:
    """What a failed step said, in its one line."""
    error = capsys.readouterr().err
    assert error.startswith("training: ")
    assert error.count("\n") == 1
    assert latest()[0].info.status == "FAILED"
    assert not mlflow.MlflowClient().search_registered_models()
    return error


def test_an_error_is_one_sentence_and_leaves_no_version(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passengers(60).drop(columns="Survived").to_csv(tmp_path / "unlabelled.csv", index=False)
    assert run_program("training", input=tmp_path / "unlabelled.csv", dataset=ROOT / "dataset.yaml") == 1
    assert failed(capsys).startswith("training: unlabelled.csv has no column Survived")


def test_all_wrong_parameters_are_named_at_once(
    store: str, titanic: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        "model": "forest", "n_estimators": "0", "max_depth": "deep", "learning_rate": "nan", "alpha": "-1",
        "test_size": "1.5", "cv_folds": "1", "seed": "x", "plots": "yes",
    }  # fmt: skip
    assert run_program("training", **titanic, **wrong) == 1
    error = failed(capsys)
    assert all(f"{name}={value!r} is n" in error for name, value in wrong.items())
    assert "soft_vote" in error
    assert "from 1 to 100, or none" in error


def test_a_model_that_the_task_does_not_have_is_refused(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = written(table(REGRESSION), rows(REGRESSION, 60), tmp_path)
    assert run_program("training", **parameters, model="logistic_regression") == 1
    assert "not for the task regression, which has linear_regression, random_forest" in failed(capsys)


def test_code_in_features_py_that_no_step_would_load_is_refused(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_hand(of: Table, scaled: bool) -> ColumnTransformer:
        own = FunctionTransformer(own_code)
        return ColumnTransformer([("size", numbers(scaled), ["size"]), ("own", own, ["returned"])])

    monkeypatch.setitem(BY_HAND, "orders-binary", by_hand)
    assert run_program("training", **written(table(BINARY), rows(BINARY), tmp_path), **QUICK) == 1
    assert "types that are not trusted: tests.training.test_training_run.own_code" in failed(capsys)


def own_code(values: object) -> object:
    return values


def test_a_hyperparameter_of_another_model_is_refused_by_name(
    store: str, titanic: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program("training", **titanic, **QUICK, model="random_forest", C="2") == 1
    assert "C: not a parameter of model=random_forest, which has n_estimators, max_depth" in failed(capsys)


def test_a_hyperparameter_may_be_given_as_none(store: str, titanic: dict[str, Path]) -> None:
    assert run_program("training", **titanic, **QUICK, model="random_forest", max_depth="none") == 0
    assert "no max_depth" in artifact(latest()[0], "model_card.md").read_text()


def test_the_headline_is_the_cross_validation_plain_and_by_group_beside_what_must_be_beaten(
    store: str, titanic: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"model": "logistic_regression", "cv_folds": 3, "plots": "false"}
    assert run_program("training", **titanic, **asked) == 0
    run, said = latest()[0], capsys.readouterr().out
    figures, card = run.data.metrics, artifact(run, "model_card.md").read_text()
    low, mean, high = (figures[f"group_cv_accuracy_{what}"] for what in ("low", "mean", "high"))
    assert (
        f"each party kept whole {mean:.3f} ({low:.3f} to {high:.3f}), Sex alone {figures['baseline_accuracy']:.3f};"
        in said
    )
    assert said.index("cross-validated accuracy") < said.index("held out accuracy")
    assert card.index("3-fold stratified cross-validation") < card.index("On the holdout")
    assert "| Sex alone |" in card
    assert f"| accuracy | {figures['cv_accuracy_mean']:.4f} | {figures['cv_accuracy_low']:.4f} to " in card
    assert "It is better than Sex alone: accuracy +0.0" in card
    assert "hash of Ticket (of PassengerId where that is empty)" in card
    train, holdout = (TITANIC.read(artifact(run, name)) for name in ("train.csv", "holdout.csv"))
    assert set(train["Ticket"]).isdisjoint(holdout["Ticket"])


@pytest.mark.parametrize("task", TASKS)
def test_what_each_column_is_worth_is_kept_as_numbers(task: str, store: str, tmp_path: Path) -> None:
    assert run_program("training", **written(table(task), rows(task), tmp_path), **QUICK) == 0
    found = pd.read_csv(artifact(latest()[0], "importance.csv"))
    assert set(found["column"][:2]) == {"size", "colour"}, "what makes the target"
    assert found["mean"].is_monotonic_decreasing
    assert found["mean"][0] > 0.1
    assert (found["metric"] == ("r2" if task == REGRESSION else "roc_auc")).all()


def test_on_the_real_list_the_default_model_is_right_on_the_held_out(store: str, real_list: Path) -> None:
    parameters = {"input": real_list, "dataset": ROOT / "dataset.yaml"}
    assert run_program("training", **parameters, plots="false", cv_repeats=0) == 0
    metrics = latest()[0].data.metrics
    # One split of parties, and an unlucky one: cross-validated, the same model reaches 0.84.
    assert metrics["accuracy"] == pytest.approx(0.7900552486)
    assert metrics["roc_auc"] == pytest.approx(0.8048, abs=1e-4)
    assert metrics["rows_train"] + metrics["rows_holdout"] == 891


def test_a_model_corrected_by_companions_brings_them_and_its_card_says_what_they_are(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = passengers(400)
    frame["Survived"] = frame.groupby("Ticket")["Survived"].transform("first").fillna(frame["Survived"]).astype(int)
    titanic = written(TITANIC, frame, tmp_path)
    asked = {"model": "logistic_regression", "cv_folds": 3, "plots": "false", "group_correction": "true"}
    assert run_program("training", **titanic, **asked | {"cv_repeats": 0}) == 1
    assert "so cv_repeats must be at least 1" in failed(capsys)
    assert run_program("training", **titanic, **asked) == 0
    run = latest()[0]
    weight = run.data.metrics["group_correction_weight"]
    train = TITANIC.read(artifact(run, "train.csv"))
    model = open_model("models:/titanic/1")
    assert (model.companions.group, model.companions.weight) == ("Ticket", weight)
    assert sum(map(len, model.companions.residuals.values())) == train["Ticket"].notna().sum()
    card = artifact(run, "model_card.md").read_text()
    assert f"**Corrected by companions**: the log-odds move by {weight:g} times" in card
    assert f"accuracy {run.data.metrics['uncorrected_accuracy']:.4f} without it" in card


def test_a_model_that_is_chosen_is_registered_under_its_own_name(store: str, tmp_path: Path) -> None:
    asked = {"model": "auto", "cv_repeats": 0, "plots": "false"}
    assert run_program("training", **written(table(REGRESSION), rows(REGRESSION), tmp_path), **asked) == 0
    run = latest()[0]
    assert mlflow.MlflowClient().get_model_version("orders-regression", "1").tags["model"] == "linear_regression"
    assert "# Model card: orders-regression, linear_regression" in artifact(run, "model_card.md").read_text()
    tried = pd.read_csv(artifact(run, "models_tried.csv"))
    assert tried["model"].tolist() == list(DEFAULTS[REGRESSION])
