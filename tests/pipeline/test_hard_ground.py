"""A disk that is full, a container beside: one sentence, nothing that is alive is touched, and then it goes on."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.pipeline.conftest import HANG

pytestmark = pytest.mark.integration


def refused(done) -> str:
    """What was said, in a sentence, with exit code 1."""
    assert done.code == 1
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1] if done.err else done.out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    with (folder / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return folder / "fill"


@pytest.mark.parametrize("place", ["database", "artifacts", "outputs"])
def test_a_full_disk_is_said_and_once_there_is_room_it_goes_on(place, toy, small_disk, store, monkeypatch):
    toy.step("a")
    toy.config["outputs"] = ["${artifact:a,out.txt}"]
    toy.save()
    if place == "database":
        shutil.copy(store.removeprefix("sqlite:///"), small_disk / "mlflow.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{small_disk}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{small_disk}/mlflow.db")
    elif place == "artifacts":
        mlflow.MlflowClient().create_experiment("small", artifact_location=(small_disk / "runs").as_uri())
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "small")
    else:
        (toy.folder / "outputs").symlink_to(small_disk)
    filling = fill(small_disk)
    said = refused(toy.run())
    assert ("disk is full" if place == "database" else "No space left on device") in said
    filling.unlink()
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused" if place == "outputs" else "executed"}
    assert "RUNNING" not in toy.statuses()


def test_files_that_may_not_grow_are_said(toy):
    toy.step("a")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # noqa: E731 - no room for more than a page
    process = toy.start(preexec_fn=limit, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "cannot be used" in err + out
    assert toy.run().code == 0
    assert "RUNNING" not in toy.statuses()


def test_a_pipeline_in_another_container_of_the_same_name_is_let_live(toy):
    in_container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*in_container, "true"], capture_output=True).returncode:
        pytest.skip("a PID namespace takes root")
    toy.step("a", parameters={"do": "sleep:600"})
    toy.step("b")
    first = toy.popen([*in_container, sys.executable, "main.py", "steps=a"])
    toy.wait_for("a  started", first)
    toy.wait_until_at_work("a")
    assert toy.run("steps=b").code == 0
    assert toy.statuses() == ["FINISHED", "FINISHED", "RUNNING", "RUNNING"]
    os.kill(first.pid, signal.SIGKILL)
    toy.wait_until_gone()
    assert toy.run("steps=b").code == 0
    assert toy.statuses().count("RUNNING") == 2, "who cannot be seen has its lease"
    client = mlflow.MlflowClient()
    for run in toy.runs():
        if "pipeline.lease" in run.data.tags:
            client.set_tag(run.info.run_id, "pipeline.lease", "1")
    assert toy.run("steps=b").code == 0
    assert "RUNNING" not in toy.statuses()
