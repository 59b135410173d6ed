"""The step in this process (report=false), and as MLflow starts it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sharing
import yaml
from predictions import METRICS
from saved_model import open_model
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import register_model, rows, table
from tests.step_programs import run_program

TASKS = [BINARY, MULTICLASS, REGRESSION]


@pytest.fixture
def champion(store, request) -> str:
    """The task; its champion was trained on 80 % of 900 orders."""
    task = getattr(request, "param", BINARY)
    register_model(table(task), rows(task, 900, seed=7), "champion")
    return task


every_task = pytest.mark.parametrize("champion", TASKS, indirect=True)


@pytest.fixture
def written(tmp_path):
    """Orders, written as a clean table; with `keep_target` false or a mask, without (those) outcomes."""

    def write(task: str, frame: pd.DataFrame, known=False) -> Path:
        name = table(task).target.name
        if known is False:
            frame = frame.drop(columns=name)
        elif known is not True:
            frame = frame.assign(**{name: frame[name].astype(object).where(known)})
        path = tmp_path / "current.csv"
        table(task).write(frame, path)
        return path

    return write


@pytest.fixture
def predicted(tmp_path):
    """predictions.csv of the champion for orders, with one more row that was rejected."""

    def write(task: str, frame: pd.DataFrame) -> Path:
        of = table(task)
        said = open_model(f"models:/{of.name}@champion").predict(frame)
        path = tmp_path / "predictions.csv"
        of.write(pd.concat([frame[["order"]], said], axis=1), path)
        with path.open("a") as file:
            file.write("rejected" + "," * len(said.columns) + "\n")
        return path

    return write


@pytest.fixture
def run_step(capsys):
    """The step's main(), in this process; its exit code, standard output's lines and the error."""

    def run(report: str = "false", past_runs: int = 0, **parameters: object):
        capsys.readouterr()
        code = run_program("monitoring", report=report, past_runs=past_runs, **parameters)
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.strip()

    return run


def newest_run():
    import mlflow

    return mlflow.search_runs(output_format="list")[0]


def bigger(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(size=50 + frame["size"] / 2)


@every_task
def test_what_is_like_the_training_list_is_quiet(champion, written, predicted, run_step):
    frame = rows(champion, 300, seed=8)
    code, out, err = run_step(current=written(champion, frame, known=True), predictions=predicted(champion, frame))
    assert code == 0, err
    line = json.loads(out[-1])
    assert (line["drift_detected"], line["drifted"], line["rows_current"], line["too_few"]) == (False, [], 300, "")
    run = newest_run()
    assert run.info.status == "FINISHED"
    found = {name.removeprefix("statistic_") for name in run.data.metrics if name.startswith("statistic_")}
    worse = "error" if champion == REGRESSION else "accuracy"
    assert found == {"size", "size_missing", "colour", "returned", "shop", "prediction", "target", worse}
    assert (run.data.metrics["concept_drift"], run.data.metrics["drift_detected"]) == (0, 0)
    assert run.data.metrics["unscored_share"] == pytest.approx(1 / 301)
    assert (run.data.metrics["live_rows"], line["live_rows"]) == (300, 300)
    for name in METRICS[champion]:
        assert line[f"live_{name}"] == pytest.approx(run.data.metrics[f"live_{name}"])
        assert f"training_{name}" in run.data.metrics
    first = METRICS[champion][0]
    assert run.data.metrics[f"live_{first}"] == pytest.approx(run.data.metrics[f"training_{first}"], abs=0.15)
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"current.csv", "train.csv"}
    assert run.data.tags["model.version"] == "1"
    assert len(run.data.tags["model.run_id"]) == 32


@pytest.mark.integration
def test_the_figures_are_the_same_whoever_reads_the_lists(champion, written, predicted, run_step, monkeypatch):
    import mlflow

    monkeypatch.setattr(sharing, "RANGE_BYTES", 10_000)
    frame = rows(champion, 1500, seed=8)
    lists = {"current": written(champion, frame, known=True), "predictions": predicted(champion, frame)}
    found = []
    for workers in (1, 2):
        code, out, err = run_step(**lists, workers=workers)
        assert code == 0, err
        run = newest_run()
        folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
        pages = [(folder / name).read_bytes() for name in ("drift.json", "drift.html")]
        found.append((out, pages, {name: repr(value) for name, value in run.data.metrics.items()}))
    assert found[0] == found[1]


def test_what_has_changed_raises_the_flag_in_metrics_file_and_last_line(champion, written, run_step):
    import mlflow

    path = written(champion, bigger(rows(champion, 300, seed=8)))
    code, out, _ = run_step(current=path)
    assert code == 0
    assert json.loads(out[-1])["drifted"] == ["size"]
    run = newest_run()
    assert (run.data.metrics["drift_detected"], run.data.metrics["drift_size"]) == (1, 1)
    assert run.data.metrics["drifted_share"] == pytest.approx(1 / 4)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    assert json.loads((folder / "drift.json").read_text())["drifted"] == ["size"]
    assert "<h1>Drift: size.</h1>" in (folder / "drift.html").read_text()
    code, _, err = run_step(current=path, fail_on_drift="true")
    assert code == 1
    assert err.splitlines()[-1].startswith("monitoring: drift in size")
    assert newest_run().info.status == "FAILED"
    assert newest_run().data.metrics["drift_detected"] == 1


def test_drift_is_told_to_whom_is_named_and_a_failing_alert_costs_nothing(champion, written, run_step, tmp_path):
    told = tmp_path / "alerts.jsonl"
    parameters = {"alert": f"file:{told},webhook:NOT_SET_ANYWHERE"}
    assert run_step(current=written(champion, rows(champion, 300, seed=8)), **parameters)[0] == 0
    assert not told.exists() and "alert.sent" not in newest_run().data.tags
    code, out, err = run_step(current=written(champion, bigger(rows(champion, 300, seed=8))), **parameters)
    run = newest_run()
    assert (code, run.info.status) == (0, "FINISHED")
    assert json.loads(told.read_text()) == json.loads(out[-1]) | {"run_id": run.info.run_id}
    assert run.data.tags["alert.sent"] == "1"
    assert "webhook NOT_SET_ANYWHERE failed" in run.data.tags["alert.failed"]
    assert "warning: the alert to webhook NOT_SET_ANYWHERE failed" in err


@every_task
def test_accuracy_is_judged_against_that_of_the_cross_validation(champion, written, predicted, run_step):
    import mlflow

    frame = rows(champion, 300, seed=8)
    given = {"current": written(champion, frame, known=True), "predictions": predicted(champion, frame)}
    name, far_better = ("mae", 0.1) if champion == REGRESSION else ("accuracy", 0.999)
    with mlflow.start_run(open_model(f"models:/orders-{champion}@champion").run_id):
        mlflow.log_metric(f"cv_{name}_mean", far_better)
        rows_train = mlflow.active_run().data.metrics["rows_train"]
    _, out, _ = run_step(**given)
    found = newest_run().data.metrics
    assert (found[f"baseline_{name}"], found["baseline_rows"]) == (far_better, rows_train)
    assert json.loads(out[-1])["drifted"] == ["error" if champion == REGRESSION else "accuracy"]


def test_what_no_day_shows_and_lasts_is_found_when_the_days_are_added_up(champion, written, run_step):
    def watch(seed: int, more: float = 15) -> list[str]:
        frame = rows(champion, 60, seed=seed)
        path = written(champion, frame.assign(size=(frame["size"] + more).clip(upper=100)))
        assert run_step(current=path)[0] == 0, "a day alone says nothing"
        assert json.loads(run_step(current=path)[1][-1])["drifted"] == []
        return json.loads(run_step(current=path, past_runs=100)[1][-1])["drifted"]

    assert [watch(seed) for seed in (20, 21, 22, 23)] == [[], [], [], ["size lasting"]]
    assert watch(23) == ["size lasting"], "who watches the same list again counts it once"
    metrics = newest_run().data.metrics
    assert metrics["drift_size_lasting"] == 1 and metrics["drifted_share"] == 0
    assert watch(24, 0) == [], "with five lists nobody looks"
    register_model(table(champion), rows(champion, 900, seed=7), "champion")
    assert watch(25) == [], "another model begins anew"


def test_what_the_model_relies_on_weighs_more(champion, written, run_step, tmp_path):
    import mlflow

    def adjusted() -> float:
        folder = Path(mlflow.artifacts.download_artifacts(run_id=newest_run().info.run_id))
        found = json.loads((folder / "drift.json").read_text())["comparisons"]
        return next(one["adjusted_p_value"] for one in found if one["name"] == "size")

    path = written(champion, bigger(rows(champion, 100, seed=8)))
    out = run_step(current=path)[1]
    assert any("All comparisons count alike: the training run has no importance.csv." in line for line in out)
    alike = adjusted()
    (tmp_path / "importance.csv").write_text("column,metric,mean,std\nsize,roc_auc,0.3,0.1\ncolour,roc_auc,0.1,0.1\n")
    with mlflow.start_run(open_model(f"models:/{table(champion).name}@champion").run_id):
        mlflow.log_artifact(str(tmp_path / "importance.csv"))
    out = run_step(current=path)[1]
    assert not any("count alike" in line for line in out)
    assert 0 < adjusted() < alike / 2


def test_a_handful_of_rows_is_told_as_such(champion, written, run_step):
    _, out, _ = run_step(current=written(champion, bigger(rows(champion, 30, seed=8))))
    line = json.loads(out[-1])
    assert (line["drift_detected"], line["too_few"]) == (False, "30 rows are too few to judge; min_rows=100")
    assert newest_run().data.metrics["too_few_rows"] == 1


@every_task
def test_predictions_are_compared_with_those_for_the_holdout(champion, written, predicted, tmp_path, run_step):
    frame = rows(champion, 300, seed=8)
    current, predictions = written(champion, frame), predicted(champion, bigger(frame).assign(colour="red"))
    _, out, _ = run_step(current=current, predictions=predictions)
    assert json.loads(out[-1])["drifted"] == ["prediction"]
    assert "live_rows" not in newest_run().data.metrics
    before = predictions.rename(tmp_path / "before.csv")
    predictions = predicted(champion, bigger(frame).assign(colour="red"))
    _, out, _ = run_step(current=current, predictions=predictions, reference_predictions=before)
    assert json.loads(out[-1])["drifted"] == []
    assert newest_run().data.metrics["statistic_prediction"] == 0


@every_task
def test_a_model_that_has_become_worse_is_told_by_the_outcomes(champion, written, predicted, run_step):
    frame, target = rows(champion, 300, seed=8), table(champion).target.name
    shuffled = frame.assign(**{target: np.random.default_rng(0).permutation(frame[target])})
    current, predictions = written(champion, shuffled, known=True), predicted(champion, frame)
    _, out, _ = run_step(current=current, predictions=predictions)
    assert json.loads(out[-1])["drifted"] == ["error" if champion == REGRESSION else "accuracy"]
    assert newest_run().data.metrics["concept_drift"] == 1
    if champion != REGRESSION:  # whose errors have more than doubled, and no rise is larger than that
        run_step(current=current, predictions=predictions, max_accuracy_drop=0.99)
        assert newest_run().data.metrics["concept_drift"] == 0


@every_task
def test_few_outcomes_are_measured_but_not_judged(champion, written, predicted, run_step):
    frame = rows(champion, 300, seed=8)
    current = written(champion, frame, known=frame.index < 30)
    _, out, _ = run_step(current=current, predictions=predicted(champion, frame))
    assert any("not judged: 30 orders with a known outcome are too few; min_rows=100." in line for line in out)
    assert newest_run().data.metrics["live_rows"] == 30
    assert "concept_drift" not in newest_run().data.metrics
    assert "drift_target" in newest_run().data.metrics


@every_task
def test_other_outcomes_than_at_training_are_drift_of_the_target(champion, written, run_step):
    frame, of = rows(champion, 300, seed=8), table(champion)
    high = frame[of.target.name] > 60 if champion == REGRESSION else frame[of.target.name].isin([1, "top"])
    _, out, _ = run_step(current=written(champion, frame, known=high))
    assert json.loads(out[-1])["drifted"] == ["target"]
    assert json.loads(out[-1])["drifted_share"] == 0, "it is no column"
    known = high & (high.cumsum() <= 19)
    _, out, _ = run_step(current=written(champion, frame, known=known))
    assert json.loads(out[-1])["drifted"] == []
    assert any("Drift of the target was not judged: 19 against" in line for line in out)


def test_dates_are_compared_where_they_are_named(champion, written, run_step):
    frame = rows(champion, 300, seed=8)
    current = written(champion, frame.assign(sold=frame["sold"].str.replace("2023", "2029")))
    assert json.loads(run_step(current=current)[1][-1])["drifted"] == []
    assert json.loads(run_step(current=current, columns="sold, colour")[1][-1])["drifted"] == ["sold"]
    assert "statistic_size" not in newest_run().data.metrics


@pytest.fixture
def own(tmp_path):
    """A reference and a declaration of one's own."""
    of = table(BINARY)
    of.write(rows(BINARY, 500, seed=9), tmp_path / "before.csv")
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(dict(of.content)))
    return {"reference": tmp_path / "before.csv", "dataset": tmp_path / "dataset.yaml"}


def test_a_reference_and_a_declaration_of_ones_own_need_no_model(store, written, own, tmp_path, run_step):
    frame = rows(BINARY, 200, seed=8)
    said = frame[["order", "paid"]].assign(probability=frame["paid"] * 0.8 + 0.1)
    table(BINARY).write(said, tmp_path / "predictions.csv")
    given = {"current": written(BINARY, frame, known=True), "predictions": tmp_path / "predictions.csv", **own}
    code, out, err = run_step(columns="size, colour", **given)
    assert code == 0, err
    metrics = newest_run().data.metrics
    assert {name for name in metrics if name.startswith("statistic_")} == {
        "statistic_size", "statistic_size_missing", "statistic_colour", "statistic_target",
    }  # fmt: skip
    assert (metrics["live_accuracy"], metrics["live_true_share"]) == (1, pytest.approx(frame["paid"].mean()))
    assert [line for line in out if "not judged" in line] == [
        "monitoring: Drift of the predictions was not judged: no reference_predictions, no model.",
        "monitoring: The live accuracy was not judged: there is no model.",
    ]


NO_MODEL = "no registered model has a champion; train and evaluate one first, or give reference=… and dataset=…"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, NO_MODEL),
        ({"reference": "OWN"}, NO_MODEL),
        ({"model": "nowhere"}, "model 'nowhere' is neither a folder nor a URI"),
        ({"model": "nowhere", "reference": "OWN", "dataset": "OWN"}, "model 'nowhere' is neither a folder nor a URI"),
        ({"reference": "OWN", "dataset": "OWN", "predictions": "."}, "cannot be read (Is a directory)"),
        ({"reference": "missing.csv", "dataset": "OWN"}, "reference 'missing.csv' could not be downloaded"),
        ({"alpha": 2}, "alpha='2' is not a number from 0 to 1"),
        ({"min_effect": -1, "max_rows": 5}, "min_effect='-1' is not a number from 0 to 1; max_rows='5'"),
        ({"alert": "webhook:https://hooks.example/secret"}, "alert is not a list of log, file:/PATH, webhook:NAME and"),
        ({"fail_on_drift": "maybe"}, "fail_on_drift='maybe' is neither true nor false"),
        ({"reference": "OWN", "dataset": "OWN", "columns": "size,szie,paid"}, "columns names szie, paid, which"),
        ({"reference": "OWN", "dataset": "OWN", "max_error_rise": 0.2}, "max_error_rise is not for orders-binary"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(store, written, own, run_step, parameters, said):
    parameters = {name: own[name] if value == "OWN" else value for name, value in parameters.items()}
    code, _, err = run_step(current=written(BINARY, rows(BINARY, 200)), **parameters)
    assert code == 1
    assert err.splitlines()[-1].startswith("monitoring: ")
    assert said in err.splitlines()[-1]
    assert newest_run().info.status == "FAILED"


@every_task
def test_a_limit_of_another_task_is_refused_by_name(champion, written, run_step):
    wrong, right = "max_error_rise", "max_accuracy_drop"
    if champion == REGRESSION:
        wrong, right = right, wrong
    code, _, err = run_step(current=written(champion, rows(champion)), **{wrong: 0.2})
    assert code == 1
    assert f"{wrong} is not for orders-{champion}, whose task is {champion}; give {right} instead" in err


def test_a_declaration_of_another_target_than_the_models_is_refused(champion, written, tmp_path, run_step):
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(dict(table(REGRESSION).content)))
    code, _, err = run_step(current=written(champion, rows(champion)), dataset=tmp_path / "dataset.yaml")
    assert code == 1
    assert "declares the target price (regression), but orders-binary version 1 predicts paid (binary)" in err


def test_a_current_list_without_a_column_of_the_reference_is_refused_by_name(champion, written, run_step):
    code, _, err = run_step(current=written(champion, rows(champion).drop(columns="size")))
    assert (code, "current.csv has no column size" in err) == (1, True)


def test_a_column_that_is_not_for_models_may_be_missing_and_is_not_compared(store, written, run_step):
    frame = rows(BINARY, 900, seed=7).assign(comment=lambda frame: frame["colour"])
    register_model(table(BINARY), frame, "champion")
    assert run_step(current=written(BINARY, frame))[0] == 0
    assert "statistic_comment" in newest_run().data.metrics
    code, out, _ = run_step(current=written(BINARY, frame.drop(columns="comment")))
    assert code == 0
    assert "monitoring: comment was not compared: current.csv does not have it." in out
    assert "statistic_comment" not in newest_run().data.metrics


def test_a_raw_list_is_refused_with_what_to_run_first(champion, written, run_step):
    code, _, err = run_step(current=written(champion, rows(champion).replace({"colour": {"red": "Red"}})))
    assert code == 1
    assert "colour 'Red'" in err and "run data_cleaning on it first" in err


def test_a_model_whose_run_is_gone_needs_a_reference(champion, written, own, tmp_path, run_step):
    import shutil

    folder = shutil.copytree(open_model("models:/orders-binary@champion").folder, tmp_path / "alone")
    (folder / "registered_model_meta").unlink(missing_ok=True)
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump(meta | {"run_id": "0" * 32, "model_id": None}))
    current = written(champion, rows(champion, 200))
    code, _, err = run_step(current=current, model=folder)
    assert code == 1
    assert "has no train.csv; train it again, or give reference=…" in err
    assert run_step(current=current, model=folder, reference=own["reference"])[0] == 0


@pytest.mark.integration
def test_names_and_values_cannot_bring_script_into_the_page(store, tmp_path, run_step):
    import mlflow

    script = "</script><script>alert(1)</script>"
    fields = [
        {"name": script, "type": "number"},
        {"name": "port", "type": "string"},
        {"name": "sold", "type": "boolean", "role": "target"},
    ]
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({"fields": fields}))
    path, frame = tmp_path / "evil.csv", rows(BINARY)
    cells = {"row": range(1, 301), script: frame["size"], "port": frame["colour"].replace("red", script)}
    pd.DataFrame(cells).to_csv(path, index=False)
    assert run_step(current=path, reference=path, dataset=tmp_path / "dataset.yaml", report="true")[0] == 0
    page = Path(mlflow.artifacts.download_artifacts(run_id=newest_run().info.run_id, artifact_path=""))
    text = (page / "drift.html").read_text() + (page / "evidently.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "(script)alert" in text


@pytest.mark.integration
def test_evidentlys_report_agrees_with_the_verdict_and_comes_out_the_same_every_time(mlflow_run, champion, written):
    path = written(champion, bigger(rows(champion, 300, seed=8)))
    pages = []
    for seed in ("1", "2"):
        done = mlflow_run("monitoring", current=path, env={"PYTHONHASHSEED": seed})
        assert done.code == 0
        pages.append([done.artifact(name).read_bytes() for name in ("drift.html", "drift.json", "evidently.html")])
    assert pages[0] == pages[1]
    content = json.loads(pages[0][1])
    assert content["drifted"] == ["size"]
    counted = next(one for one in content["evidently"] if one["metric_name"].startswith("DriftedColumnsCount"))
    assert counted["value"]["count"] == 1
    assert b"<h1>Drift: size.</h1>" in pages[0][0]
    assert b'href="evidently.html"' in pages[0][0]
    assert len(pages[0][0]) < 50_000, "what is read first is not the four megabytes of pictures"
