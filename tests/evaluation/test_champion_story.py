"""Good, bad, better, rollback, history: what becomes of the alias champion, in a real store."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from declaration import parse_declaration
from make_sample import passengers
from table import BINARY, MULTICLASS, REGRESSION, Table

from tests.example_tables import TITANIC, register_model, rows, table
from tests.step_programs import run_program

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("store")]
TASKS = [BINARY, MULTICLASS, REGRESSION]


def inputs(of: Table, version: int, holdout: int = 0) -> dict[str, str]:
    """The model of a version, and the holdout of it or another one."""
    client = mlflow.MlflowClient()
    run_id, other = (client.get_model_version(of.name, str(one)).run_id for one in (version, holdout or version))
    return {"model": f"runs:/{run_id}/model", "holdout": f"runs:/{other}/holdout.csv"}


def evaluate(of: Table, version: int, holdout: int = 0, **parameters: object) -> int:
    local = {name: mlflow.artifacts.download_artifacts(uri) for name, uri in inputs(of, version, holdout).items()}
    return run_program("evaluation", **({"report": "false"} | local | parameters))


def rollback(reason: str = "a test", **parameters: object) -> int:
    return run_program("evaluation", "rollback", reason=reason, **parameters)


def history(**parameters: object) -> int:
    return run_program("evaluation", "history", **parameters)


def shuffled(of: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The target has nothing to do with anything."""
    return frame.assign(**{of.target.name: np.random.default_rng(0).permutation(frame[of.target.name])})


def latest() -> mlflow.entities.Run:
    return mlflow.search_runs(search_all_experiments=True, max_results=1, output_format="list")[0]


def alias(of: Table, name: str = "champion") -> str:
    return str(mlflow.MlflowClient().get_registered_model(of.name).aliases.get(name, ""))


def tags(of: Table, version: int) -> dict[str, str]:
    return mlflow.MlflowClient().get_model_version(of.name, str(version)).tags


def verdict() -> dict:
    return json.loads(mlflow.artifacts.load_text(f"runs:/{latest().info.run_id}/verdict.json"))


@pytest.mark.parametrize("task", TASKS)
def test_a_bad_model_does_not_get_in_a_better_one_does_and_a_rollback_undoes_it(
    task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = table(task)
    register_model(of, rows(task, 300, seed=1))
    assert evaluate(of, 1) == 0
    assert (alias(of), alias(of, "anchor"), alias(of, "challenger")) == ("1", "1", "")
    assert tags(of, 1)["verdict"] == "promoted"
    assert latest().data.metrics["promoted"] == 1

    register_model(of, shuffled(of, rows(task, 600, seed=2)))
    assert evaluate(of, 2, holdout=1) == 0
    assert (alias(of), alias(of, "anchor"), alias(of, "challenger")) == ("1", "1", "")
    assert tags(of, 2)["verdict"] == "rejected"
    assert "under the champion's" in tags(of, 2)["verdict.reasons"]
    assert "of always saying" in tags(of, 2)["verdict.reasons"]
    assert latest().data.metrics["rejected"] == 1
    assert latest().data.tags["mlflow.note.content"] == verdict()["summary"]

    register_model(of, rows(task, 3000, seed=3))
    assert evaluate(of, 3) == 0
    assert (alias(of), tags(of, 3)["predecessor"]) == ("3", "1")
    assert tags(of, 3)["verdict.run_id"] == latest().info.run_id
    assert verdict()["difference"]["rows"] == verdict()["holdout"]["rows"]
    assert verdict()["slices"]

    assert rollback("it was a Friday") == 0
    assert alias(of) == "1"
    audit = json.loads(tags(of, 3)["rolled_back"])
    assert audit["why"] == "it was a Friday"
    assert {"who", "when", "run_id"} <= set(audit)

    capsys.readouterr()
    assert history() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines[:3]] == [
        "promoted version 1", "promoted version 3 (after 1)", "rolled back to version 1 (after 3)",
    ]  # fmt: skip
    assert tags(of, 1)["data.sha256"][:12] in lines[0]
    assert lines[3] == f"history: version 1 of {of.name} is champion"
    assert len(pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{latest().info.run_id}/history.csv"))) == 3

    # What was rolled back does not come back by being trained again.
    register_model(of, rows(task, 3000, seed=3))
    assert evaluate(of, 4) == 0
    assert alias(of) == "1"
    assert "was rolled back (it was a Friday)" in verdict()["reasons"][0]


def test_labels_that_are_wrong_do_not_get_in_by_their_number_unless_a_person_says_that_they_are_right() -> None:
    of = table(BINARY)
    old, new = rows(BINARY, 300, seed=1), rows(BINARY, 2000, seed=2)
    register_model(of, old)
    assert evaluate(of, 1) == 0
    register_model(of, pd.concat([old, new.assign(paid=1 - new["paid"])]))
    assert evaluate(of, 2) == 0
    found = verdict()
    assert (found["verdict"], alias(of)) == ("rejected", "1")
    assert found["parts"]["old"]["loss_t"] < -1.75 < 1.75 < found["parts"]["new"]["loss_t"]
    assert found["parts"]["old"]["rows"] + found["parts"]["new"]["rows"] == found["difference"]["rows"]
    assert found["reasons"][0].startswith("log loss is ") and "on the old 57 orders" in found["reasons"][0]
    assert latest().data.metrics["old_difference_accuracy"] < -0.3
    assert evaluate(of, 2, min_compared=100) == 0
    assert verdict()["verdict"] == "kept out"
    assert "too few to judge beside" in verdict()["reasons"][0]
    assert evaluate(of, 2, accept_change="true") == 0
    assert (alias(of), alias(of, "anchor")) == ("2", "2")
    assert verdict()["notes"][0].startswith("let pass by accept_change: log loss")


def test_a_useful_model_of_a_rare_class_becomes_champion() -> None:
    of, frame = table(BINARY), rows(BINARY, 1500, seed=1)
    likely = 0.002 + 0.3 * (frame["size"] > 75) * (frame["colour"] == "red")
    register_model(of, frame.assign(paid=(np.random.default_rng(0).random(1500) < likely).astype("int64")))
    assert evaluate(of, 1) == 0
    assert sum(verdict()["holdout"]["classes"].values()) * 0.08 > verdict()["holdout"]["classes"]["true"]
    assert (verdict()["verdict"], alias(of)) == ("promoted", "1")


def test_a_table_in_other_units_does_not_get_in_unless_a_person_says_that_it_is_right() -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY, 300, seed=1))
    assert evaluate(of, 1) == 0
    frame = rows(BINARY, 600, seed=2)
    register_model(of, frame.assign(size=frame["size"] / 20))
    assert evaluate(of, 2) == 0
    assert (verdict()["verdict"], alias(of)) == ("rejected", "1")
    fault, hint = verdict()["reasons"]
    assert fault.startswith("size is of another size: half are from 1.")
    assert "say so with accept_change=true" in hint
    assert evaluate(of, 2, accept_change="true") == 0
    assert (verdict()["verdict"], alias(of)) == ("promoted", "2")
    assert verdict()["notes"][0] == f"let pass by accept_change: {fault}"


def test_a_step_that_is_no_improvement_leaves_the_anchor_and_a_rollback_finds_it_again() -> None:
    of, client = table(BINARY), mlflow.MlflowClient()
    frame = rows(BINARY, 600, seed=2)
    register_model(of, frame)
    evaluate(of, 1)
    register_model(of, frame, seed=1)  # the same recipe: equal
    assert evaluate(of, 2) == 0
    assert (alias(of), alias(of, "anchor"), verdict()["verdict"]) == ("2", "1", "promoted")
    assert verdict()["anchor"] == {"version": 1, "difference": verdict()["difference"], "afterwards": 1}
    register_model(of, shuffled(of, frame))
    assert evaluate(of, 3, holdout=1) == 0
    assert verdict()["anchor"]["version"] == 1
    assert any("under the best champion so far (version 1)'s" in reason for reason in verdict()["reasons"])

    # What was replaced does not come back by being judged again: it is older, and no better.
    assert evaluate(of, 1) == 0
    assert (alias(of), verdict()["verdict"]) == ("2", "kept out")
    assert "which came after it" in verdict()["reasons"][-1]
    effect = json.loads(latest().data.tags["effect.registry"])
    assert effect == {"model": of.name, "aliases": {"champion": "2", "anchor": "1"}}

    client.delete_model_version(of.name, "1")
    register_model(of, frame, seed=2)
    assert evaluate(of, 4) == 0
    assert "the best champion so far, version 1, is gone; the champion takes its place" in verdict()["notes"]
    assert verdict()["anchor"]["version"] == 2


def test_a_better_champion_is_the_anchor_until_it_is_rolled_back() -> None:
    of = table(REGRESSION)
    register_model(of, rows(REGRESSION, 300, seed=1))
    evaluate(of, 1)
    register_model(of, rows(REGRESSION, 3000, seed=3))
    assert evaluate(of, 2) == 0
    assert (alias(of), alias(of, "anchor")) == ("2", "2")
    assert rollback() == 0
    assert (alias(of), alias(of, "anchor")) == ("1", "1")


def test_the_titanics_verdict_is_by_its_declaration(capsys: pytest.CaptureFixture[str]) -> None:
    register_model(TITANIC, passengers(600, seed=1))
    assert evaluate(TITANIC, 1) == 0
    found = verdict()
    assert list(found) == [
        "verdict", "summary", "reasons", "notes", "passed_by_itself", "challenger", "champion", "difference", "parts",
        "anchor", "holdout", "gate", "largest_gaps", "slices",
    ]  # fmt: skip
    assert found["gate"]["minimum"] == {"accuracy": 0.7, "roc_auc": 0.75}
    assert "held-out passengers) passed" in found["summary"]
    assert set(found["holdout"]["classes"]) == {"0", "1"}
    metrics = {"accuracy", "roc_auc", "log_loss", "brier", "calibration_error"}
    others = {"rows_holdout", "holdout_times_judged", "promoted", "rejected", "reasons"}
    assert set(latest().data.metrics) == metrics | others
    capsys.readouterr()
    assert evaluate(TITANIC, 1, minimum_accuracy=1, min_slice_accuracy=0.99) == 0
    assert "is champion already; today's gate would refuse it: accuracy" in capsys.readouterr().out
    assert any("passengers of Sex" in reason for reason in verdict()["reasons"])


def test_judging_the_champion_again_changes_nothing() -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY))
    assert evaluate(of, 1) == evaluate(of, 1) == 0
    assert verdict()["verdict"] == "kept"
    assert "is champion already" in verdict()["summary"]
    registered = mlflow.MlflowClient().get_registered_model(of.name)
    assert [key for key in registered.tags if key.startswith("history.")] == ["history.000001"]
    assert tags(of, 1)["verdict"] == "promoted"


def test_how_many_models_a_holdout_has_judged_is_counted_and_said() -> None:
    of = table(BINARY)
    for seed in range(3):
        register_model(of, rows(BINARY), seed=seed)
    said = []
    for version, holdout in ((1, 1), (2, 1), (1, 1), (3, 1)):
        assert evaluate(of, version, holdout=holdout) == 0
        said.append((latest().data.metrics["holdout_times_judged"], "which have judged" in verdict()["summary"]))
    assert said == [(1, False), (2, True), (2, True), (3, True)], "the same version again is no other model"
    assert "held-out orders, which have judged 3 models so far)" in verdict()["summary"]
    register_model(of, rows(BINARY, seed=9))
    assert evaluate(of, 4) == 0
    assert latest().data.metrics["holdout_times_judged"] == 1, "another holdout has judged nobody yet"


def test_the_same_model_trained_again_does_not_replace_the_champion() -> None:
    of = table(REGRESSION)
    for _ in range(2):
        register_model(of, rows(REGRESSION))
    evaluate(of, 1)
    assert evaluate(of, 2) == 0
    assert (alias(of), verdict()["verdict"]) == ("1", "kept")
    assert tags(of, 2)["verdict"] == "same as version 1"


def test_without_a_champion_a_rejected_model_fails_the_run_and_says_all_reasons(
    capsys: pytest.CaptureFixture[str],
) -> None:
    of = table(BINARY)
    register_model(of, shuffled(of, rows(BINARY)))
    assert evaluate(of, 1, minimum_accuracy=0.9, minimum_roc_auc=0.9) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("evaluation: version 1")
    assert "is under the minimum 0.9; ROC AUC" in error
    assert latest().info.status == "FAILED"
    assert tags(of, 1)["verdict"] == "rejected"


def test_a_champion_with_another_split_is_compared_on_those_whom_neither_saw() -> None:
    of, client = table(BINARY), mlflow.MlflowClient()
    register_model(of, rows(BINARY, 900), "champion")
    client.set_model_version_tag(of.name, "1", "split_seed", "1")
    register_model(of, rows(BINARY, 900), seed=1)
    assert evaluate(of, 2) == 0
    assert (
        "only 35 of the held-out orders are unseen by the champion too, under min_compared 50"
        in (verdict()["reasons"][0])
    )
    assert (alias(of), alias(of, "challenger"), tags(of, 2)["verdict"]) == ("1", "2", "kept out")
    assert evaluate(of, 2, min_compared=30) == 0
    found = verdict()
    assert found["difference"]["rows"] < found["holdout"]["rows"] / 3
    assert f"{found['difference']['rows']} of {found['holdout']['rows']} orders are unseen by both" in found["notes"][0]
    client.set_registered_model_alias(of.name, "champion", "1")
    assert evaluate(of, 2, min_compared=5000) == 0
    assert "min_compared 5000" in verdict()["reasons"][0]


def test_a_champion_of_another_task_is_told_and_nothing_is_moved(capsys: pytest.CaptureFixture[str]) -> None:
    of, other = (
        parse_declaration({**table(task).content, "name": "orders"}, "orders.yaml") for task in (BINARY, REGRESSION)
    )
    register_model(other, rows(REGRESSION), "champion")
    register_model(of, rows(BINARY))
    assert evaluate(of, 2) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the champion, orders version 1, predicts price (regression), and this model paid (binary" in error
    assert "give the declaration another name" in error
    assert alias(of) == "1"


@pytest.mark.parametrize(
    ("task", "parameters", "said"),
    [
        (BINARY, {"minimum_r2": 0.5}, "minimum_r2 is not for the task binary, which has accuracy"),
        (REGRESSION, {"max_calibration_error": 0.1}, "max_calibration_error is for classes"),
        (BINARY, {"tolerance": -1, "report": "yes", "min_slice_size": "x"}, "tolerance='-1' is not a number from 0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    task: str, parameters: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of = table(task)
    register_model(of, rows(task, 100))
    assert evaluate(of, 1, **parameters) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert all(name in error for name in parameters)
    assert not mlflow.MlflowClient().get_registered_model(of.name).aliases


def test_a_holdout_with_the_same_target_throughout_or_with_raw_rows_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY, 100))
    of.write(rows(BINARY, 50).assign(paid=1), tmp_path / "paid.csv")
    model = mlflow.artifacts.download_artifacts(inputs(of, 1)["model"])
    assert run_program("evaluation", model=model, holdout=tmp_path / "paid.csv") == 1
    assert "needs orders with different values of paid" in capsys.readouterr().err
    (tmp_path / "raw.csv").write_text((tmp_path / "paid.csv").read_text().replace("blue", "BLUE"))
    assert run_program("evaluation", model=model, holdout=tmp_path / "raw.csv") == 1
    assert "run data_cleaning on it first" in capsys.readouterr().err


def test_rolling_back_past_the_first_champion_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY))
    assert rollback() == 1
    assert "no registered model has a champion; train and evaluate one first" in capsys.readouterr().err
    assert rollback(model_name=of.name) == 1
    assert "has no champion" in capsys.readouterr().err
    evaluate(of, 1)
    assert rollback() == 1
    assert "has no predecessor; nothing was changed" in capsys.readouterr().err
    assert rollback("  ") == 1
    assert "reason='  ' is not 1 to 1000 characters" in capsys.readouterr().err
    assert alias(of) == "1"


def test_of_several_registered_models_one_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    paid, price = table(BINARY), table(REGRESSION)
    for of, task in ((paid, BINARY), (price, REGRESSION)):
        register_model(of, rows(task, 200))
        register_model(of, rows(task, 900, seed=1))
        assert evaluate(of, 1) == 0
    assert evaluate(price, 2) == 0
    for ask in (rollback, history):
        capsys.readouterr()
        assert ask() == 1
        assert f"{paid.name}, {price.name} all have a champion" in capsys.readouterr().err
    assert rollback(model_name=price.name) == 0
    assert (alias(paid), alias(price)) == ("1", "1")
    mlflow.MlflowClient().delete_registered_model_alias(paid.name, "champion")
    assert rollback() == 1  # the only one left with a champion is meant, and has nowhere to go back to
    assert f"of '{price.name}' is champion and has no predecessor" in capsys.readouterr().err
    assert history() == 1  # that had a champion, too
    assert history(model_name=paid.name) == 0
    assert f"{paid.name} has no champion" in capsys.readouterr().out


def test_a_model_with_a_pickle_is_refused_and_nothing_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY, 100))
    local = {name: mlflow.artifacts.download_artifacts(uri) for name, uri in inputs(of, 1).items()}
    model = Path(shutil.copytree(local["model"], tmp_path / "copy"))
    (model / "python_model.pkl").write_bytes(b"\x80\x04.")
    assert run_program("evaluation", model=model, holdout=local["holdout"]) == 1
    assert "carries a pickle" in capsys.readouterr().err
    assert not mlflow.MlflowClient().get_registered_model(of.name).aliases


def test_mlflow_run_evaluates_with_its_report_and_tells_the_history(mlflow_run: Callable[..., object]) -> None:
    of = table(BINARY)
    register_model(of, rows(BINARY))
    done = mlflow_run("evaluation", **inputs(of, 1))
    assert done.code == 0, done.err
    assert done.run.data.metrics["promoted"] == 1
    assert done.run.data.params["model"] == inputs(of, 1)["model"]
    assert done.run.data.metrics["mlflow_challenger_accuracy_score"] == pytest.approx(done.run.data.metrics["accuracy"])
    assert "data:image/png" in done.artifact("evaluation.html").read_text()
    assert done.artifact("mlflow_challenger_roc_curve_plot.png").stat().st_size > 0
    listed = mlflow_run("evaluation", "-e", "history")
    assert listed.code == 0, listed.err
    assert "promoted version 1" in listed.out
    back = mlflow_run("evaluation", "-e", "rollback")
    assert back.code == 1
    assert f"rollback: version 1 of '{of.name}' is champion and has no predecessor; nothing was changed" in back.err
    assert back.run.info.status == "FAILED"


@pytest.mark.parametrize(("task", "metric"), [(MULTICLASS, "accuracy_score"), (REGRESSION, "r2_score")])
def test_mlflows_own_evaluation_is_there_for_every_task(task: str, metric: str) -> None:
    of = table(task)
    register_model(of, rows(task))
    assert evaluate(of, 1, report="true") == 0
    found = latest().data.metrics
    assert found[f"mlflow_challenger_{metric}"] == pytest.approx(found[metric.removesuffix("_score")])


@pytest.mark.parametrize("name", ["a'b", "a/b", "a@b"])
def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert history(model_name=name) == 1
    assert f"model_name={name!r} is not a name" in capsys.readouterr().err


def test_what_passes_waits_for_a_person_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    of = table(BINARY)

    def promote(version: object) -> tuple[int, str]:
        capsys.readouterr()
        code = run_program("evaluation", "promote", version=version, model_name=of.name)
        return code, capsys.readouterr().err

    register_model(of, rows(BINARY, 300, seed=1))
    assert evaluate(of, 1, promote=False) == 0
    assert (alias(of), alias(of, "challenger")) == ("", "1")
    assert tags(of, 1)["verdict"] == "passed" and latest().data.metrics["promoted"] == 0
    assert "waits for a person: mlflow run evaluation -e promote -P version=1" in verdict()["summary"]
    assert promote(1) == (0, "") and (alias(of), alias(of, "anchor"), alias(of, "challenger")) == ("1", "1", "")
    assert promote(1) == (0, ""), "who is champion stays it"

    register_model(of, rows(BINARY, 600, seed=2))
    register_model(of, rows(BINARY, 900, seed=3))
    assert evaluate(of, 3, promote=False) == 0
    code, said = promote(2)
    assert code == 1 and "is not one that passed and waits (its verdict: none yet)" in said
    code, said = promote(9)
    assert code == 1 and "there is no version 9" in said
    mlflow.MlflowClient().set_registered_model_alias(of.name, "champion", "2")
    code, said = promote(3)
    assert code == 1 and "was judged when version 1 was champion, and now version 2 is; evaluate it again" in said
    assert alias(of) == "2"
