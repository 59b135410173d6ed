"""A reused verdict is true of the registry as it is now."""

import mlflow
import pytest

pytestmark = pytest.mark.integration
QUICK = ["steps=data_download,data_cleaning,training,evaluation", "training.cv_repeats=0", "training.plots=false",
         "training.model=logistic_regression", "evaluation.report=false"]  # fmt: skip


def test_a_verdict_is_reused_only_as_long_as_the_registry_is_as_it_left_it(run, manifest):
    def evaluation() -> dict:
        done = run("python", "main.py", *QUICK)
        assert done.code == 0, done.out
        return manifest()["steps"]["evaluation"]

    client = mlflow.MlflowClient()
    assert evaluation()["metrics"]["promoted"] == 1
    assert evaluation()["state"] == "reused"
    client.delete_registered_model_alias("titanic", "champion")
    again = evaluation()
    assert (again["state"], again["metrics"]["promoted"]) == ("executed", 1)
    assert "its effect no longer holds: champion of titanic is none, not version 1" in again["reason"]
    assert str(client.get_model_version_by_alias("titanic", "champion").version) == "1"

    client.delete_registered_model_alias("titanic", "champion")
    client.delete_model_version("titanic", "1")
    again = evaluation()
    training = manifest()["steps"]["training"]
    assert training["state"] == "executed" and "version 1 of titanic, which it made, is gone" in training["reason"]
    assert again["metrics"]["promoted"] == 1
