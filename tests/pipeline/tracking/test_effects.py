"""Whether what a step did in the model registry still holds, in a real one."""

import json

import mlflow
import pytest

from pipeline.planning.decision import Result
from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.history import History
from pipeline.tracking.store import TrackingStore
from pipeline.tracking.tags import effects_of

pytestmark = pytest.mark.integration


@pytest.fixture
def history(store: str) -> History:
    tracking = TrackingStore()
    client = tracking.client
    client.create_registered_model("boats")
    for run in ("one", "two"):
        client.create_model_version("boats", f"file:///{run}", run_id=client.create_run("0").info.run_id)
    client.set_registered_model_alias("boats", "champion", "1")
    return History(tracking, Artifacts(tracking))


def error(history: History, run_id: str = "a", **effect: object) -> str:
    tags = {"effect.registry": json.dumps({"model": "boats", **effect}), "other": "x"}
    return history.effect_error(Result("step", run_id, effects=effects_of(tags)))


def test_an_alias_must_be_where_the_step_left_it(history: History) -> None:
    client = mlflow.MlflowClient()
    as_left = {"champion": "1", "anchor": ""}
    assert history.effect_error(Result("step", "a")) == ""
    assert error(history, aliases=as_left) == ""
    client.set_registered_model_alias("boats", "champion", "2")
    assert error(history, aliases=as_left) == (
        "its effect no longer holds: champion of boats is version 2, not version 1"
    )
    client.delete_model_version("boats", "2")
    assert error(history, aliases=as_left).endswith("champion of boats is none, not version 1")
    client.delete_registered_model("boats")
    assert error(history, aliases=as_left).endswith("champion of boats is none, not version 1")


def test_a_version_must_be_the_one_that_the_step_made(history: History) -> None:
    made_by = mlflow.MlflowClient().get_model_version("boats", "1").run_id
    assert error(history, made_by, version="1") == ""
    assert "version 1 of boats, which it made, is gone" in error(history, "another", version="1")
    assert "version 7 of boats, which it made, is gone" in error(history, made_by, version="7")


def test_an_effect_that_nobody_can_verify_does_not_hold(history: History) -> None:
    for text in ("no JSON", "[]", "{}"):
        result = Result("step", "a", effects={"registry": text})
        assert history.effect_error(result) == "its effect registry is not one that can be verified"
