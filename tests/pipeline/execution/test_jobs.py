"""Steps as jobs of a real Slurm cluster of three nodes, made for these tests, and steps done by nobody but a server."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import mlflow
import pytest

from pipeline.execution.snapshot import unpack
from tests.conftest import ROOT
from tests.pipeline.conftest import HANG, MLPROJECT, wait_until
from tests.pipeline.slurm_cluster import Cluster
from tests.services import tracking_server

pytestmark = pytest.mark.integration
PLUGIN = ROOT / "deploy" / "mlflow_slurm"
# Stays until its node is lost, and goes on at the second attempt, elsewhere.
LASTING = """
import os, sys, time
from pathlib import Path

marker = Path(sys.argv[sys.argv.index("--text") + 1])
print("at work", flush=True)
if not marker.exists():
    marker.write_text(os.environ["SLURMD_NODENAME"])
    time.sleep(600)
Path(os.environ["STEP_OUTPUTS"], "node.txt").write_text(os.environ["SLURMD_NODENAME"])
"""
LISTED = """
import json, os, sys
from pathlib import Path

text = Path(sys.argv[sys.argv.index("--text") + 1]).read_text()
Path(os.environ["STEP_OUTPUTS"], "out.txt").write_text(text + os.environ["SECRET"][:1])
Path(os.environ["STEP_OUTPUTS"], "metrics.json").write_text(json.dumps({"lines": len(text.splitlines())}))
"""


@pytest.fixture
def on_slurm(toy, slurm: Cluster, monkeypatch: pytest.MonkeyPatch):
    """The toy pipeline on the cluster."""
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    toy.config |= {"backend": "slurm", "backend_config": {"mem": 500, "time": "0:10:00"}}
    return toy


def write(toy, name: str, program: str) -> None:
    (toy.folder / name / "run.py").write_text(program)


def queue(slurm: Cluster) -> str:
    return slurm.ask("squeue", "--noheader", "--format=%j %T")


def test_jobs_do_what_local_steps_do_and_each_end_is_told(on_slurm, slurm):
    on_slurm.step("a")
    on_slurm.step("b", reads="a")
    on_slurm.step("fails", parameters={"do": "fail:no way"})
    on_slurm.step("killed", parameters={"do": "kill"})
    on_slurm.step("large", backend_config={"mem": "9000G"})
    on_slurm.step("long", backend_config={"partition": "short", "time": 5})
    done = on_slurm.run()
    assert done.code == 1
    states = {"a": "executed", "b": "executed"} | dict.fromkeys(("fails", "killed", "large", "long"), "failed")
    assert on_slurm.states() == states
    assert re.search(r"a +queued +job \d+", done.out)
    for sentence in (
        "fails failed: no way",
        "killed failed: killed by the system (signal 9)",
        "large failed: Slurm refused the job (",
        "long failed: Slurm will never start it (PartitionTimeLimit)",
    ):
        assert sentence in done.out
    assert "PENDING" not in queue(slurm), "what never starts is cancelled"
    assert not list((on_slurm.folder / ".pipeline" / "jobs").iterdir())
    there = on_slurm.manifest()["steps"]

    assert on_slurm.run("steps=[a,b]", "backend=local").code == 0
    assert on_slurm.states() == {"a": "reused", "b": "reused"}, "where it ran does not count"
    assert on_slurm.run("steps=[a,b]", "backend=local", "force=true").code == 0
    here = on_slurm.manifest()["steps"]
    assert all(here[name]["outputs"] == there[name]["outputs"] for name in ("a", "b"))

    client, run_id = mlflow.MlflowClient(), there["b"]["run_id"]
    (archive,) = (f.path for f in client.list_artifacts(run_id, "pipeline") if "code-" in f.path)
    unpack(Path(client.download_artifacts(run_id, archive)), on_slurm.folder / "again")
    assert (on_slurm.folder / "again" / "run.py").read_bytes() == (on_slurm.folder / "b" / "run.py").read_bytes()


def test_a_job_ends_with_who_asked_for_it_however_that_ends(on_slurm, slurm):
    on_slurm.step("a", parameters={"do": "sleep:600"})
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = on_slurm.start("verbose=true")
        on_slurm.wait_for("at work", process)  # its log is followed
        process.send_signal(number)
        process.communicate(timeout=HANG)
        wait_until(lambda: not queue(slurm).strip(), lambda: queue(slurm))
        wait_until(lambda: "RUNNING" not in [*self_settled(on_slurm)], lambda: str(on_slurm.statuses()))


def self_settled(toy) -> list[str]:
    """How the runs of steps ended; that of a pipeline that was killed the next one settles."""
    return [run.info.status for run in toy.runs() if "pipeline.step" in run.data.tags]


def test_a_step_whose_node_is_lost_is_done_on_another(on_slurm, slurm):
    on_slurm.step("a", parameters={"text": str(on_slurm.folder / "node")})
    write(on_slurm, "a", LASTING)
    process = on_slurm.start()
    wait_until((on_slurm.folder / "node").exists, lambda: "it never began")
    lost = (on_slurm.folder / "node").read_text()
    slurm.stop_node(lost)
    out, err = process.communicate(timeout=HANG)
    slurm.start(lost, ["slurmd", "-D", "-N", lost])
    assert process.returncode == 0, out + err
    assert f"attempt 1 failed (its node {lost} failed)" in out
    run_id = on_slurm.manifest()["steps"]["a"]["run_id"]
    assert Path(mlflow.artifacts.download_artifacts(f"runs:/{run_id}/node.txt")).read_text() not in ("", lost)


def test_a_machine_with_nothing_but_a_server_does_a_step(on_slurm, tmp_path, monkeypatch):
    far = tmp_path / "far"
    shutil.copytree(ROOT / "pipeline", far / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (on_slurm.folder / "list.txt").write_text("one\ntwo\n")
    on_slurm.step("a", parameters={"text": "list.txt"}, pass_env=["SECRET"])
    write(on_slurm, "a", LISTED)
    on_slurm.step("b", reads="a")
    on_slurm.config["backend_config"] |= {
        "shared": False,
        "command": f"cd {far} && {sys.executable} -m pipeline.remote",
    }
    on_slurm.save()
    monkeypatch.setenv("SECRET", "s3cr3t")
    with tracking_server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = on_slurm.run("b.do=fail:far away")
        assert "b failed: far away" in done.out, "its last words come with the log that its run has"
        done = on_slurm.run()
        assert done.code == 0, done.out + done.err
        assert on_slurm.states() == {"a": "reused", "b": "executed"}
        mlflow.set_tracking_uri(uri)
        steps = on_slurm.manifest()["steps"]
        assert mlflow.artifacts.load_text(f"runs:/{steps['b']['run_id']}/out.txt") == "one\ntwo\nsb\n"
        assert mlflow.get_run(steps["a"]["run_id"]).data.metrics["lines"] == 2
        assert on_slurm.run("backend=local").code == 0
        assert on_slurm.states() == {"a": "reused", "b": "reused"}
    (task,) = (tmp_path / "artifacts").rglob(f"{steps['a']['run_id']}/artifacts/pipeline/task.json")
    assert json.loads(task.read_text())["pass_env"] == ["SECRET"]
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "slurm" not in str(path)]
    assert not any(b"s3cr3t" in content for content in kept), "no secret is written to the store"


def test_mlflow_run_does_a_project_as_a_job(on_slurm, slurm, tmp_path):
    on_slurm.step("a")
    (on_slurm.folder / "a" / "MLproject").write_text(MLPROJECT.replace("type: path", 'type: path, default: ""'))
    (tmp_path / "in.txt").write_text("in\n")
    # As `pip install -e` makes it known: by the folder's own declaration, on the path.
    declared = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    ((group, names),) = declared["entry-points"].items()
    (folder := tmp_path / "plugin" / "known-1.dist-info").mkdir(parents=True)
    lines = [f"{name} = {value}" for name, value in names.items()]
    (folder / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: 1\n")
    environ = os.environ | {"PYTHONPATH": f"{folder.parent}:{PLUGIN}"}
    command = [sys.executable, "-m", "mlflow", "run", str(on_slurm.folder / "a"), "--backend", "slurm"]
    command += ["--env-manager", "local", "-P", f"input={tmp_path / 'in.txt'}", "-P", "text=me"]

    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=3 * HANG)
    assert done.returncode == 0, done.stderr
    assert "at work in a" in done.stdout, "its log is followed"
    (run,) = on_slurm.runs()
    assert run.info.status == "FINISHED" and run.data.tags["mlflow.project.backend"] == "slurm"
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/out.txt") == "in\nme\n"

    failing = [*command, "-P", "do=fail:no way"]
    done = subprocess.run(failing, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=3 * HANG)
    assert done.returncode == 1
    assert "a failed: no way" in done.stderr
    assert on_slurm.statuses() == ["FAILED", "FINISHED"]
