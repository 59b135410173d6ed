"""A pipeline that takes its data from a real broker, killed in the middle."""

from collections.abc import Iterator

import mlflow
import pytest

from tests.conftest import ROOT
from tests.data_stream.brokers import Broker, kafka_broker

pytestmark = pytest.mark.integration
ROWS = [{"id": number} for number in range(20)]


@pytest.fixture
def kafka(tmp_path) -> Iterator[Broker]:
    with kafka_broker(tmp_path) as broker:
        yield broker


def test_a_pipeline_killed_while_it_scores_loses_nothing_and_scores_nothing_twice(kafka, toy):
    stream = {"brokers": kafka.address, "topic": "killed", "scored_by": "b"}
    toy.config["pipeline"]["a"] = {"uri": str(ROOT / "data_stream"), "cache": False, "parameters": stream}
    toy.step("b", reads="a", when="${metric:a,rows}", cache=False, parameters={"input": "${artifact:a,data.csv}"})
    kafka.write("killed", ROWS[:10])
    doomed = toy.start("b.do=sleep:600")
    toy.wait_until_at_work("b")
    doomed.kill()
    kafka.write("killed", ROWS[10:15])
    assert toy.run("b.do=fail:not today").code == 1
    assert toy.run().code == 0
    assert toy.states() == {"a": "executed", "b": "executed"}
    quiet = toy.run()
    assert (quiet.code, toy.states()) == (0, {"a": "executed", "b": "skipped"}), "an empty batch ends quietly"
    kafka.write("killed", ROWS[15:20])
    assert toy.run().code == 0
    scored = [run for run in toy.runs() if run.info.run_name == "b" and run.info.status == "FINISHED"]
    lines = [
        line
        for run in reversed(scored)
        for line in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/out.txt").splitlines()
    ]
    assert [line.split(",")[0] for line in lines if line[:1].isdigit()] == [str(number) for number in range(20)]
    toy.wait_until_gone()
