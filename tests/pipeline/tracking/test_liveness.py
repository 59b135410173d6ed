"""What is RUNNING in the store is alive, or has not been dead for longer than a lease."""

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pipeline.config import Step
from pipeline.planning.decision import Decision
from pipeline.states import Action
from pipeline.tracking import liveness
from pipeline.tracking import recorder as recorder_module
from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.history import History
from pipeline.tracking.liveness import is_dead, new_lease, place, start_of, this_process
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.store import TrackingStore
from pipeline.tracking.tags import LEASE, PIPELINE_RUN, PROCESS

OVER = f"{time.time() - 1:.0f}"
ELSEWHERE = f"{place()}0 4 77"  # the same host and boot, and another PID namespace


def name_of(pid: int) -> str:
    return f"{place()} {pid} {start_of(pid)}"


def test_a_process_that_is_near_is_seen_whatever_its_lease():
    assert not is_dead(this_process(), OVER)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = name_of(process.pid)
        assert not is_dead(name, OVER)
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert is_dead(name, new_lease()), "what is left of it is not alive"
    assert is_dead(name, new_lease())


def test_a_process_id_that_is_used_again_is_another_process():
    where, pid, start = this_process().split(" ")
    assert is_dead(f"{where} {pid} {int(start) + 1}", new_lease())


def test_a_clock_that_steps_changes_nothing_near(monkeypatch):
    name = this_process()
    monkeypatch.setattr(psutil, "boot_time", lambda: time.time() - 5)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert this_process() == name
    assert not is_dead(name, OVER)


def test_elsewhere_the_lease_decides():
    assert not is_dead(ELSEWHERE, new_lease())
    assert is_dead(ELSEWHERE, OVER)
    assert is_dead(f"other-host/boot/1 {os.getpid()} 5", OVER)


@pytest.mark.parametrize("process", ["", "host 12 1700000000.00", "host"])
def test_what_another_release_has_written_is_left_alone(process):
    assert not is_dead(process, "")


def test_a_lease_is_renewed_as_long_as_the_pipeline_lives_whatever_the_store_does(monkeypatch):
    monkeypatch.setattr(liveness, "RENEWAL", 0.01)
    called = threading.Semaphore(0)

    def renew() -> None:
        called.release()
        raise OSError("the store stumbles")

    with liveness.renewing(renew):
        for _ in range(3):
            assert called.acquire(timeout=60)


@pytest.fixture
def recorder(store: str, tmp_path) -> Recorder:
    tracking = TrackingStore()
    return Recorder(tracking, History(tracking, Artifacts(tracking)), tmp_path)


def begun(recorder: Recorder, process: str, lease: str) -> tuple[str, str]:
    """A pipeline run and one of its steps, under way in that process."""
    run_id = recorder.begin({}, {PROCESS: process, LEASE: lease, "mlflow.runName": "a run"}, "")
    step = recorder.begin_step(Step("a"), Decision(Action.EXECUTE, ""), 1, recorder.root)
    recorder.client.set_tag(step, PROCESS, process)
    return run_id, step


def test_only_what_is_dead_is_marked_killed(recorder):
    alive = [*begun(recorder, this_process(), OVER), *begun(recorder, ELSEWHERE, new_lease())]
    dead = [*begun(recorder, ELSEWHERE, OVER), *begun(recorder, f"{place()} {os.getpid()} 1", new_lease())]
    assert sorted(recorder.mark_dead_runs_killed()) == sorted(dead)
    assert {recorder.client.get_run(run).info.status for run in alive} == {"RUNNING"}
    assert {recorder.client.get_run(run).info.status for run in dead} == {"KILLED"}


def test_a_step_whose_pipeline_has_ended_is_judged_by_that_ones_lease(recorder):
    run_id, step = begun(recorder, ELSEWHERE, OVER)
    recorder.client.set_terminated(run_id, "FAILED")
    assert recorder.mark_dead_runs_killed() == [step]


def test_a_token_in_what_mlflow_has_stored_is_overwritten(recorder, monkeypatch):
    tags = {"mlflow.source.name": "https://s3cret@example.com/x.git", "other": "kept"}
    run_id = recorder.client.create_run(recorder.store.experiment_id, tags=tags).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    recorder.begin({}, {"mlflow.runName": "a run"}, "")
    found = recorder.client.get_run(run_id).data.tags
    assert found["mlflow.source.name"] == "https://…@example.com/x.git"
    assert found["other"] == "kept"


def test_all_that_died_are_found_however_many_they_are(recorder, monkeypatch):
    monkeypatch.setattr(recorder_module, "RUNNING_AT_ONCE", 2)
    client, experiment = recorder.client, recorder.store.experiment_id
    ended = client.create_run(experiment, tags={LEASE: OVER}).info.run_id
    client.set_terminated(ended, "FAILED")
    tags = {PROCESS: ELSEWHERE, PIPELINE_RUN: ended}
    dead = {client.create_run(experiment, tags=tags).info.run_id for _ in range(5)}
    asked, get_run = [], client.get_run
    monkeypatch.setattr(client, "get_run", lambda run_id: asked.append(run_id) or get_run(run_id))
    assert set(recorder.mark_dead_runs_killed()) == dead
    assert asked == [ended], "the pipeline run that has the lease of all of them, once"
