"""What is said of the past: how a model's champions came and went."""

import json

import mlflow
import pytest

from pipeline.tracking.past_runs import PastRuns
from pipeline.tracking.store import TrackingStore

HOUR = 3_600_000  # milliseconds
NOON = 1_700_000_000_000


@pytest.fixture
def client(store: str) -> mlflow.MlflowClient:
    client = mlflow.MlflowClient()
    client.create_registered_model("titanic")
    return client


def event(client: mlflow.MlflowClient, number: int, what: str, hours: float, run_id: str) -> None:
    when = f"2023-11-{14 + (22 + hours) // 24:02.0f}T{(22 + hours) % 24:02.0f}:13:20+00:00"
    entry = {"event": what, "version": str(number), "when": when, "model_run_id": run_id}
    client.set_registered_model_tag("titanic", f"history.{number:06d}", json.dumps(entry))


def test_the_time_from_its_data_to_champion_and_the_share_of_rollbacks_are_told(client):
    runs = []
    for number, reads in enumerate(["'data/it is a list.csv'", "runs:/{}/data.csv", "'runs:/{}/clean_data.csv'"]):
        run = client.create_run("0", start_time=NOON + number * HOUR)
        client.log_param(run.info.run_id, "input", reads.format(*runs[-1:]))
        client.log_param(run.info.run_id, "text", "an odd ' in it")
        runs.append(run.info.run_id)
    event(client, 1, "promoted", 3, runs[-1])
    event(client, 2, "promoted", 4, "gone")
    event(client, 3, "rolled back to", 5, runs[-1])
    (found,) = PastRuns(TrackingStore()).releases(["titanic", "titanic", "another"])
    assert (found.model, found.promotions, found.rollbacks) == ("titanic", 2, 1)
    assert found.since.isoformat() == "2023-11-15T03:13:20+00:00"
    assert found.lead_time == 5 * 3600, "since the first of the three runs, whose data it is made of"


def test_a_champion_whose_training_is_gone_has_no_such_time(client):
    event(client, 1, "promoted", 3, "0" * 32)
    (found,) = PastRuns(TrackingStore()).releases(["titanic"])
    assert found.lead_time is None


def test_a_model_that_never_had_a_champion_is_left_out(client):
    assert PastRuns(TrackingStore()).releases(["titanic"]) == []
