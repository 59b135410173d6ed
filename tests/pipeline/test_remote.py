"""What a machine that does a step for another one is told, refuses, and asks (execution/test_jobs.py: whole steps)."""

import subprocess
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from pipeline.errors import RequestError, StoreError
from pipeline.execution import jobs
from pipeline.execution.slurm import Cluster
from pipeline.execution.task import RemoteTask
from pipeline.planning.fingerprint import compact, environment_of
from pipeline.remote import check_environment
from pipeline.tracking import liveness
from pipeline.tracking.liveness import new_lease, this_process
from pipeline.tracking.remote_run import RemoteRun, outcome
from pipeline.tracking.tags import LEASE, PIPELINE_RUN, PROCESS, STATE


def told(**changed) -> RemoteTask:
    here = environment_of("local", "slurm", {"mem": "2G"})
    plain = dict(
        step="a", entry_point="main", parameters={}, requested={}, inputs={}, code="", env_manager="local", env={},
        pass_env=(), toolchain=(), environment=compact(here), ignored=(),
    )  # fmt: skip
    return RemoteTask(**plain | changed)


def dead_process() -> str:
    """The name of a process that was here and is gone."""
    with subprocess.Popen(["sleep", "60"]) as process:
        name = f"{liveness.place()} {process.pid} {liveness.start_of(process.pid)}"
        assert not liveness.is_dead(name, "0")
        psutil.Process(process.pid).kill()
    return name


def step_of(process: str, lease: str) -> str:
    """The run of a step whose pipeline has this process and lease."""
    client = mlflow.MlflowClient()
    head = client.create_run("0", tags={PROCESS: process, LEASE: lease})
    return client.create_run("0", tags={PROCESS: process, PIPELINE_RUN: head.info.run_id}).info.run_id


def test_a_step_is_wanted_as_long_as_its_pipeline_lives(store):
    assert RemoteRun(step_of(this_process(), new_lease())).is_wanted()
    assert not RemoteRun(step_of(dead_process(), new_lease())).is_wanted()
    elsewhere = "another-host/boot/1 12 34"
    assert RemoteRun(step_of(elsewhere, new_lease())).is_wanted()
    assert not RemoteRun(step_of(elsewhere, f"{time.time() - 1:.0f}")).is_wanted(), "nobody renews its lease"


def test_a_step_that_is_settled_is_not_wanted(store):
    run_id = step_of(this_process(), new_lease())
    mlflow.MlflowClient().set_tag(run_id, STATE, "failed")
    assert not RemoteRun(run_id).is_wanted(), "it was given up, and is done by another machine by now"


def test_a_run_alone_has_its_own_lease(store):
    client = mlflow.MlflowClient()
    run_id = client.create_run("0", tags={PROCESS: "host/boot/1 1 1", LEASE: new_lease()}).info.run_id
    assert RemoteRun(run_id).is_wanted()
    client.set_tag(run_id, LEASE, "1")
    assert not RemoteRun(run_id).is_wanted()


def test_a_run_that_is_not_there_and_one_without_a_task_are_told(store, tmp_path):
    with pytest.raises(RequestError, match=r"there is no run 'nope' in the tracking store; check what MLFLOW_\*"):
        RemoteRun("nope")
    run = RemoteRun(mlflow.MlflowClient().create_run("0").info.run_id)
    with pytest.raises(StoreError, match=r"pipeline/task\.json cannot be read"):
        run.task(tmp_path)


def test_another_environment_than_the_planned_one_is_refused():
    check_environment(told())
    check_environment(told(environment=dict(told().environment) | {"PYTHONPATH": "/elsewhere"}))
    with pytest.raises(RequestError, match=r"a: its environment changed: python 2.7 → 3.* set env_manager: uv"):
        check_environment(told(environment=dict(told().environment) | {"python": "2.7"}))


def test_how_it_ended_and_what_it_wrote_come_back_with_the_run(store, tmp_path):
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    (far := tmp_path / "far").mkdir()
    (far / "a.log").write_text("last words\n")
    (near := tmp_path / "near").mkdir()
    assert outcome(client, run_id, near / "a.log") is None
    RemoteRun(run_id).leave(far / "a.log", 3, {"rows": 2.0}, {"made.by": "me"})
    assert outcome(client, run_id, near / "a.log") == 3
    assert (near / "a.log").read_text() == "last words\n"
    run = client.get_run(run_id)
    assert run.data.metrics == {"rows": 2.0} and run.data.tags["made.by"] == "me"


def test_files_of_this_machine_are_artifacts_by_parameter_so_that_two_of_a_name_are_two(tmp_path):
    one, other = tmp_path / "one" / "list.csv", tmp_path / "other" / "list.csv"
    for file in (one, other):
        file.parent.mkdir()
        file.touch()
    assert jobs.artifacts_of({"a": one, "b": other, "c": one.parent}) == {
        "a": "pipeline/inputs/a/list.csv",
        "b": "pipeline/inputs/b/list.csv",
        "c": "pipeline/inputs/c",
    }


def test_what_is_written_to_the_store_names_variables_and_holds_none_of_their_values(tmp_path: Path):
    environ = {"SECRET": "s3cr3t", "TMPDIR": "/here", "PATH": "/bin"}
    task = told(pass_env=("SECRET",))
    ask = jobs.submission(Cluster(), task, "r1", "http://host", {}, tmp_path, tmp_path / "a.log", {}, environ)
    assert "s3cr3t" not in jobs.as_text(task) and "s3cr3t" not in repr(ask)
    assert ask.environ["SECRET"] == "s3cr3t", "it goes with the job"  # noqa: S105 - of this test
    assert "TMPDIR" not in ask.environ
    assert ask.environ["MLFLOW_TRACKING_URI"] == "http://host"
