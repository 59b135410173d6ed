"""Batches from real brokers: nothing is lost, nothing comes twice, and any batch can be had again."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from tests.data_stream.brokers import Broker, jetstream_server, kafka_broker
from tests.pipeline.conftest import HANG
from tests.step_programs import run_program

pytestmark = pytest.mark.integration
SCORE = "scoring"  # the step that scores
ROWS = [{"id": number, "name": f"Doe, J. {number}"} for number in range(900)]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="module")
def jetstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with jetstream_server(tmp_path_factory.mktemp("nats")) as broker:
        yield broker


@pytest.fixture(params=["kafka", "jetstream"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return request.getfixturevalue(request.param)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of the test's own."""
    return "".join(letter for letter in request.node.name if letter.isalnum())[:100]


@pytest.fixture
def take(broker: Broker, topic: str, store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., mlflow.entities.Run]:
    """A pipeline run that takes a batch and, if `scored`, scores it; the run of the step that took it."""

    def take(scored: bool = True, code: int = 0, **parameters: object) -> mlflow.entities.Run:
        client, experiment = mlflow.MlflowClient(), mlflow.get_experiment_by_name("test").experiment_id
        pipeline = client.create_run(experiment).info.run_id
        parent = {"mlflow.parentRunId": pipeline}
        run = client.create_run(experiment, tags=parent, run_name="data_stream").info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run)
        asked = {"brokers": broker.address, "topic": topic, "scored_by": SCORE, "timeout": HANG} | parameters
        assert run_program("data_stream", **asked) == code
        monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)  # a run that was begun takes it away
        if scored:
            done = client.create_run(experiment, tags=parent, run_name=SCORE).info.run_id
            client.set_terminated(done, "FINISHED")
        return client.get_run(run)

    return take


def table(run: mlflow.entities.Run, name: str = "data.csv") -> list[dict[str, str]]:
    path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ids(run: mlflow.entities.Run) -> list[int]:
    return [int(row["id"]) for row in table(run)]


def test_a_batch_that_was_not_scored_is_read_again_and_one_that_was_is_not(broker, topic, take):
    broker.write(topic, ROWS[:300])
    first = take(scored=False)
    assert ids(first) == list(range(300))
    broker.write(topic, ROWS[300:400])
    second = take()
    assert ids(second) == list(range(400)), "of a batch that nobody scored nothing is lost"
    broker.write(topic, ROWS[400:410])
    third = take(scored=False)
    assert ids(third) == list(range(400, 410)), "and nothing that was scored comes twice"
    assert ids(take()) == ids(third)
    empty = take(scored=False)
    assert (empty.data.metrics["rows"], empty.data.metrics["messages"]) == (0, 0)
    assert not mlflow.MlflowClient().list_artifacts(empty.info.run_id)
    broker.write(topic, ROWS[410:412])
    assert ids(take()) == [410, 411], "an empty batch forgets nothing"


def test_a_batch_can_be_had_again_byte_for_byte(broker, topic, take):
    broker.write(topic, ROWS[:50])
    first = take(max_messages=20)
    assert ids(first) == list(range(20))
    second = take(max_messages=20)
    assert ids(second) == list(range(20, 40))
    again = take(offsets=first.data.tags["stream.offsets"], max_messages=5)
    assert again.data.tags["data.sha256"] == first.data.tags["data.sha256"]
    assert ids(take()) == list(range(40, 50)), "what was taken again moves nothing back"


def test_a_person_may_go_on_further_ahead(broker, topic, take):
    broker.write(topic, ROWS[:30])
    last = 30 if broker.address.startswith("127") else 31  # JetStream counts from 1
    assert len(ids(take(offsets=f"0:{last - 10}-{last - 5}"))) == 5
    assert ids(take()) == [25, 26, 27, 28, 29]


def test_messages_that_are_no_rows_are_kept_apart_with_the_reason(broker, topic, take):
    broker.write(topic, [b"\xff", b"[1]", {}, {"id": 1, "age": None, "more": [1]}, b'{"id": 1.50, "age": 1e3}', b""])
    run = take(columns="id,fare")
    assert table(run) == [
        {"id": "1", "fare": "", "age": "", "more": "[1]"},
        {"id": "1.50", "fare": "", "age": "1e3", "more": ""},
    ]
    assert [row["reason"][:12] for row in table(run, "rejected.csv")] == [
        "not JSON in ", "not a JSON o", "not a JSON o", "not JSON in ",
    ]  # fmt: skip
    assert run.data.metrics == {"messages": 6, "rows": 2, "rejected": 4}
    broker.write(topic, [b"nonsense"])
    assert take(scored=False).data.metrics["rejected"] == 1
    assert take(scored=False).data.metrics["messages"] == 0, "what has no row does not come for ever"


def test_more_is_waited_for_as_long_as_it_is_said(broker, topic, take):
    broker.write(topic, ROWS[:3])
    assert len(ids(take(seconds=600, max_messages=3))) == 3
    run = take(seconds=0.5)
    assert run.data.metrics["messages"] == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"topic": "nobody"}, "nobody"),
        ({"topic": "a'b"}, "no name of a topic"),
        ({"offsets": "0:5"}, "not of the form PARTITION:START-END"),
        ({"offsets": "0:2-900"}, "900 was asked for; correct offsets"),
        ({"offsets": "7:2-3"}, "partition"),
        ({"brokers": "nats://me:s3cret@127.0.0.1:4222"}, "carries credentials"),
        ({"brokers": "me:s3cret@127.0.0.1:4222"}, "carries credentials"),
        ({"brokers": "nowhere"}, "is no address"),
        ({"brokers": "127.0.0.1:9", "timeout": 1}, "do not answer"),
        ({"brokers": "nats://127.0.0.1:9", "timeout": 1}, "cannot be read"),
        ({"client_config": "/nowhere"}, "cannot be read (No such file"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(parameters, message, broker, topic, take, capsys):
    broker.write(topic, ROWS[:3])
    take(scored=False, code=1, **parameters)
    said = capsys.readouterr().err.strip()
    assert said.startswith("data_stream: ") and message in said and "\n" not in said
    assert "s3cret" not in said


def test_all_partitions_are_read_in_their_order_and_new_ones_too(kafka, store, tmp_path):
    kafka.write("parts", ROWS[:5], 1)
    assert run_program("data_stream", brokers=kafka.address, topic="parts") == 0
    kafka.write("parts", ROWS[5:8], 0)
    assert run_program("data_stream", brokers=kafka.address, topic="parts") == 0
    newest, *_ = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert newest.data.tags["stream.offsets"] == "0:0-3,1:0-5"
    assert ids(newest) == [5, 6, 7, 0, 1, 2, 3, 4]


def test_a_server_that_asks_for_a_password_gets_the_one_in_the_file(tmp_path, store):
    (tmp_path / "client").write_text("# ours\nuser = me\npassword = s3cret\n")
    with jetstream_server(tmp_path, "--user", "me", "--pass", "s3cret") as server:
        server.write("secured", ROWS[:3])
        asked = {"brokers": server.address, "topic": "secured"}
        assert run_program("data_stream", **asked) == 1
        assert run_program("data_stream", **asked, client_config=tmp_path / "client") == 0
