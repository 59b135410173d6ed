"""A store that stumbles is not an empty one: nothing is recorded as good, and nothing is concluded."""

import signal
import time
from pathlib import Path

import mlflow
import pytest

from pipeline.config import Step
from pipeline.errors import RequestError, StoreError
from pipeline.planning.decision import Decision, Result
from pipeline.planning.fingerprint import Fingerprint
from pipeline.planning.reads import Reads
from pipeline.states import Action
from pipeline.tracking import artifacts as artifacts_module
from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.history import History
from pipeline.tracking.past_runs import PastRuns
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import TrackingStore
from tests.pipeline.conftest import HANG
from tests.pipeline.tracking.artifact_server import ArtifactServer, serving

CODES = [500, 503, 403]
ALWAYS = 1000


@pytest.fixture
def server(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An artifact server, which the experiment of the environment uses."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving(tmp_path / "served") as server:
        mlflow.MlflowClient().create_experiment("served", artifact_location=f"{server.uri}/served")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "served")
        yield server


@pytest.fixture
def recorder(server: ArtifactServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(artifacts_module, "PAUSES", (0, 0))
    tracking = TrackingStore()
    recorder = Recorder(tracking, History(tracking, Artifacts(tracking)), tmp_path)
    recorder.begin({}, {"mlflow.runName": "a run"}, "steps: all\n")
    return recorder


def finish(recorder: Recorder, run_id: str, log: Path) -> Result:
    decision = Decision(Action.EXECUTE, "never run", fingerprint=Fingerprint(parameters={"a": "1"}))
    return recorder.finish_step(run_id, Step("a"), decision, log, 1.0, Reads({}), {}, {})


@pytest.fixture
def ended(recorder: Recorder, tmp_path: Path) -> str:
    """The run of a step that has made one file, and has just ended."""
    decision = Decision(Action.EXECUTE, "never run", fingerprint=Fingerprint(parameters={"a": "1"}))
    run_id = recorder.begin_step(Step("a"), decision, 1, tmp_path)
    recorder.client.log_text(run_id, "made\n", "out.txt")
    return run_id


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", ["list", "get"])
def test_what_fails_once_is_tried_again(recorder, ended, server, tmp_path, code, kind):
    server.faults = {kind: [code, 1]}
    assert list(finish(recorder, ended, tmp_path / "a.log").outputs) == ["out.txt"]
    assert server.faults[kind] == [code, 0]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("kind", ["list", "get", "put"])
def test_a_step_whose_outputs_cannot_be_read_is_not_recorded_as_good(recorder, ended, server, tmp_path, code, kind):
    server.faults = {kind: [code, ALWAYS]}
    (tmp_path / "a.log").write_text("at work\n")
    with pytest.raises(StoreError, match=r"cannot be read|could not be written"):
        finish(recorder, ended, tmp_path / "a.log")
    server.faults = {}
    assert recorder.history.latest("a") is None


@pytest.mark.parametrize("kind", ["list", "get"])
def test_nothing_is_concluded_while_reuse_is_looked_for(recorder, ended, server, tmp_path, kind):
    result = finish(recorder, ended, tmp_path / "a.log")
    history = History(recorder.store, Artifacts(recorder.store, verify_content=kind == "get"))
    (found,) = history.matching("a", result.fingerprint)
    server.faults = {kind: [500, ALWAYS]}
    with pytest.raises(StoreError, match="cannot be read"):
        history.integrity_error(found)
    with pytest.raises(StoreError, match="cannot be read"):
        history.artifact_digest(f"runs:/{ended}/out.txt")
    server.faults = {}
    assert history.integrity_error(found) == ""
    (server.folder / "served" / ended / "artifacts" / "out.txt").unlink()
    assert "out.txt of run" in history.integrity_error(found), "an empty folder is an answer"
    with pytest.raises(LookupError, match="there is nothing at"):
        history.artifact_digest(f"runs:/{ended}/out.txt")


@pytest.mark.parametrize("kind", ["list", "get"])
def test_a_past_run_that_cannot_be_read_is_not_said_to_have_left_nothing(recorder, server, kind):
    past_runs = PastRuns(recorder.store)
    with pytest.raises(RequestError, match="left no manifest"):
        past_runs.manifest(recorder.run_id)
    recorder.client.log_text(recorder.run_id, "{}", "manifest.json")
    assert past_runs.manifest(recorder.run_id) == {}
    server.faults = {kind: [500, ALWAYS]}
    with pytest.raises(StoreError, match="cannot be read"):
        past_runs.manifest(recorder.run_id)


@pytest.mark.integration
def test_a_pipeline_goes_on_rightly_once_the_server_does(toy, server):
    toy.step("a")
    toy.step("b", reads="a")
    server.faults = {"list": [403, ALWAYS]}
    done = toy.run()
    assert done.code == 1
    assert toy.states() == {"a": "failed", "b": "skipped"}
    assert "a failed: it ended well, but the artifacts at http://127.0.0.1" in done.out
    server.faults = {}
    assert toy.run().code == 0
    assert toy.states() == {"a": "executed", "b": "executed"}
    server.faults = {"list": [503, ALWAYS]}
    done = toy.run()
    assert done.code == 1
    assert "cannot be read" in done.out + done.err
    assert "Traceback" not in done.out + done.err
    server.faults = {}
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused", "b": "reused"}
    assert "RUNNING" not in toy.statuses()


@pytest.mark.integration
def test_a_second_ctrl_c_ends_what_waits_for_a_store_that_does_not_answer(toy, server):
    toy.step("a")
    process = toy.start()
    server.answers.clear()
    assert server.asked.wait(HANG)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=HANG) == 130
    toy.wait_until_gone()
    server.answers.set()
    assert toy.run().code == 0
    assert "RUNNING" not in toy.statuses()
