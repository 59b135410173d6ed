"""The shipped pipeline on a cluster: the same files come out, and nothing is done again at home."""

import shutil

import pytest

from tests.services import tracking_server
from tests.test_pipeline import QUICK, STEPS

pytestmark = pytest.mark.integration


def test_all_steps_as_jobs_make_the_same_files(
    run, manifest, slurm, empty_store, tmp_path, monkeypatch, passenger_list
):
    command = ("python", "main.py", f"data_url={passenger_list}", f"steps={STEPS}", *QUICK.split())
    assert run(*command).code == 0
    here = manifest()["steps"]

    shutil.copy(empty_store, tmp_path / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    done = run(*command, "backend=slurm", "backend_config.mem=1G", "backend_config.time=0:20:00")
    assert done.code == 0, done.out + done.err
    there = manifest()["steps"]
    assert {name: step["state"] for name, step in there.items()} == dict.fromkeys(STEPS.split(","), "executed")
    assert {name: step["outputs"] for name, step in there.items()} == {n: step["outputs"] for n, step in here.items()}
    outputs = sum(len(step["outputs"]) for step in there.values())
    print(f"{outputs} of {outputs} outputs are equal")

    assert run(*command).code == 0
    assert {step["state"] for step in manifest()["steps"].values()} == {"reused"}
    assert run(*command, "backend=slurm", "backend_config.mem=2G").code == 0, "more memory is no reason to run again"
    assert {step["state"] for step in manifest()["steps"].values()} == {"reused"}


def test_all_steps_as_pods_make_the_same_files(
    run, manifest, kubernetes, empty_store, tmp_path, monkeypatch, passenger_list
):
    command = ("python", "main.py", f"data_url={passenger_list}", f"steps={STEPS}", *QUICK.split())
    assert run(*command).code == 0
    here = manifest()["steps"]

    shutil.copy(empty_store, tmp_path / "server.db")
    with tracking_server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        done = run(*command, "backend=kubernetes", "backend_config.image=pipeline:1", "backend_config.memory=1Gi")
        assert done.code == 0, done.out + done.err
        there = manifest()["steps"]
        assert {name: step["state"] for name, step in there.items()} == dict.fromkeys(STEPS.split(","), "executed")
        assert len(kubernetes.posted) == len(there)
        assert {n: step["outputs"] for n, step in there.items()} == {n: step["outputs"] for n, step in here.items()}
        outputs = sum(len(step["outputs"]) for step in there.values())
        print(f"{outputs} of {outputs} outputs are equal")

        assert run(*command).code == 0
        assert {step["state"] for step in manifest()["steps"].values()} == {"reused"}
