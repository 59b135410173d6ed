"""Good, bad, better, rollback, history: what becomes of the alias champion, in a real store."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from make_sample import passengers

from tests.step_programs import run_program

pytestmark = pytest.mark.integration


@dataclass
class Steps:
    """The steps' own functions, in this process."""

    folder: Path

    def train(self, passengers: pd.DataFrame, model: str = "logistic_regression", **parameters: object) -> str:
        """Returns the run's ID."""
        path = self.folder / "clean_data.csv"
        passengers.to_csv(path, index=False)
        assert run_program("training", input=path, model=model, plots="false", cv_repeats=0, **parameters) == 0
        return latest().info.run_id

    def evaluate(self, run_id: str, holdout: str = "", **parameters: object) -> int:
        model = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model")
        people = mlflow.artifacts.download_artifacts(f"runs:/{holdout or run_id}/holdout.csv")
        return run_program("evaluation", model=model, holdout=people, report="false", **parameters)

    def rollback(self, reason: str = "a test") -> int:
        return run_program("evaluation", "rollback", reason=reason)

    def history(self, **parameters: object) -> int:
        return run_program("evaluation", "history", **parameters)


@pytest.fixture
def steps(store: str, tmp_path: Path) -> Steps:
    return Steps(tmp_path)


def with_random_outcome(people: pd.DataFrame) -> pd.DataFrame:
    """Who survived has nothing to do with anything."""
    return people.assign(Survived=np.random.default_rng(0).integers(0, 2, len(people)))


def latest() -> mlflow.entities.Run:
    return mlflow.search_runs(search_all_experiments=True, max_results=1, output_format="list")[0]


def alias(name: str = "champion") -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias("titanic", name).version)


def tags(version: int) -> dict[str, str]:
    return mlflow.MlflowClient().get_model_version("titanic", str(version)).tags


def verdict() -> dict:
    return json.loads(mlflow.artifacts.load_text(f"runs:/{latest().info.run_id}/verdict.json"))


def test_a_bad_model_does_not_get_in_a_better_one_does_and_a_rollback_undoes_it(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    people = passengers(500, seed=1)
    good = steps.train(people)
    assert steps.evaluate(good) == 0
    assert (alias(), alias("challenger")) == ("1", "1")
    assert tags(1)["verdict"] == "promoted"

    bad = steps.train(with_random_outcome(passengers(500, seed=9)))
    assert steps.evaluate(bad, holdout=good) == 0
    assert (alias(), alias("challenger")) == ("1", "2")
    assert tags(2)["verdict"] == "rejected"
    reasons = verdict()["reasons"]
    assert len(reasons) >= 3
    assert all(part in tags(2)["verdict.reasons"] for part in ("min_accuracy", "min_auc", "under the champion's"))
    assert latest().data.metrics["rejected"] == 1

    better = steps.train(people, model="soft_vote")
    assert steps.evaluate(better) == 0
    assert (alias(), tags(3)["predecessor"]) == ("3", "1")
    assert tags(3)["verdict.run_id"] == latest().info.run_id
    assert verdict()["difference"]["rows"] == verdict()["holdout"]["rows"]

    assert steps.rollback("it was a Friday") == 0
    assert alias() == "1"
    audit = json.loads(tags(3)["rolled_back"])
    assert audit["why"] == "it was a Friday"
    assert {"who", "when", "run_id"} <= set(audit)

    capsys.readouterr()
    assert steps.history() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines[:3]] == [
        "promoted version 1", "promoted version 3 (after 1)", "rolled back to version 1 (after 3)",
    ]  # fmt: skip
    assert tags(1)["data.sha256"][:12] in lines[0]
    assert lines[3] == "history: version 1 of titanic is champion"
    assert len(pd.read_csv(mlflow.artifacts.download_artifacts(f"runs:/{latest().info.run_id}/history.csv"))) == 3

    # What was rolled back does not come back by being trained again.
    again = steps.train(people, model="soft_vote")
    assert steps.evaluate(again) == 0
    assert alias() == "1"
    assert "was rolled back (it was a Friday)" in verdict()["reasons"][0]


def test_judging_the_champion_again_changes_nothing(steps: Steps) -> None:
    run_id = steps.train(passengers(400))
    assert steps.evaluate(run_id) == steps.evaluate(run_id) == 0
    assert verdict()["verdict"] == "kept"
    assert "is champion already" in verdict()["summary"]
    registered = mlflow.MlflowClient().get_registered_model("titanic")
    assert [key for key in registered.tags if key.startswith("history.")] == ["history.000001"]
    assert tags(1)["verdict"] == "promoted"


def test_the_same_model_trained_again_does_not_replace_the_champion(steps: Steps) -> None:
    steps.evaluate(steps.train(passengers(400)))
    assert steps.evaluate(steps.train(passengers(400))) == 0
    assert (alias(), verdict()["verdict"]) == ("1", "kept")
    assert tags(2)["verdict"] == "same as version 1"


def test_without_a_champion_a_rejected_model_fails_the_run_and_says_all_reasons(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    assert steps.evaluate(steps.train(with_random_outcome(passengers(400)))) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("evaluation: version 1")
    assert "min_accuracy" in error
    assert "min_auc" in error
    assert latest().info.status == "FAILED"
    assert tags(1)["verdict"] == "rejected"


def test_a_champion_with_another_split_is_compared_on_those_whom_neither_saw(steps: Steps) -> None:
    people = passengers(900)
    steps.evaluate(steps.train(people, split_seed=1))
    run_id = steps.train(people, C=0.5)
    assert steps.evaluate(run_id) == 0
    found = verdict()
    assert found["difference"]["rows"] < found["holdout"]["rows"] / 3
    assert (
        f"{found['difference']['rows']} of {found['holdout']['rows']} passengers are unseen by both"
        in found["notes"][0]
    )
    assert steps.evaluate(steps.train(people, C=0.6), min_compared=5000) == 0
    assert "min_compared 5000" in verdict()["reasons"][0]


def test_rolling_back_past_the_first_champion_is_refused_in_a_sentence(
    steps: Steps, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = steps.train(passengers(400))
    assert steps.rollback() == 1
    assert "has no champion" in capsys.readouterr().err
    steps.evaluate(run_id)
    assert steps.rollback() == 1
    assert "has no predecessor; nothing was changed" in capsys.readouterr().err
    assert alias() == "1"


def test_a_model_with_a_pickle_is_refused_and_nothing_is_moved(
    steps: Steps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = steps.train(passengers(400))
    model = Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/model", dst_path=str(tmp_path / "copy")))
    (model / "python_model.pkl").write_bytes(b"\x80\x04.")
    holdout = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/holdout.csv")
    assert run_program("evaluation", model=model, holdout=holdout) == 1
    assert "refused" in capsys.readouterr().err
    assert not mlflow.MlflowClient().get_registered_model("titanic").aliases


def test_mlflow_run_evaluates_with_its_report_and_tells_the_history(
    mlflow_run: Callable[..., object], steps: Steps
) -> None:
    run_id = steps.train(passengers(400), model="random_forest")
    inputs = {"model": f"runs:/{run_id}/model", "holdout": f"runs:/{run_id}/holdout.csv"}
    done = mlflow_run("evaluation", **inputs)
    assert done.code == 0, done.err
    assert done.run.data.metrics["promoted"] == 1
    assert done.run.data.params["model"] == inputs["model"]
    assert done.run.data.metrics["mlflow_challenger_accuracy_score"] == pytest.approx(done.run.data.metrics["accuracy"])
    assert "data:image/png" in done.artifact("evaluation.html").read_text()
    assert done.artifact("mlflow_challenger_roc_curve_plot.png").stat().st_size > 0
    listed = mlflow_run("evaluation", "-e", "history")
    assert listed.code == 0, listed.err
    assert "promoted version 1" in listed.out
    back = mlflow_run("evaluation", "-e", "rollback")
    assert back.code == 1
    assert "rollback: version 1 of 'titanic' is champion and has no predecessor; nothing was changed" in back.err
    assert back.run.info.status == "FAILED"


@pytest.mark.parametrize("name", ["a'b", "a/b", "", "a@b"])
def test_a_name_that_is_none_is_refused(steps: Steps, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert steps.history(model_name=name) == 1
    assert f"model_name={name!r} is not a name" in capsys.readouterr().err
