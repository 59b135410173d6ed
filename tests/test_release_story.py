"""From a version that passed the gate to the server that answers with it, and back where it does not."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import yaml

QUICK = [
    "training.model=logistic_regression",
    "training.cv_repeats=0",
    "training.plots=false",
    "evaluation.report=false",
]


@contextlib.contextmanager
def serving(project) -> Iterator[str]:
    """Our server, which follows the alias champion; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "mlflow", "run", "inference", "-e", "serve", "--env-manager", "local"]
    command += ["-P", f"port={port}", "-P", "reload_seconds=0.5"]
    with (project / "server.log").open("wb") as log:
        environ = os.environ | {"PATH": path}
        process = subprocess.Popen(command, cwd=project, env=environ, stdout=log, stderr=log)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready"):
                break
            time.sleep(0.2)
        assert process.poll() is None, (project / "server.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def champion() -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias("titanic", "champion").version)


@pytest.mark.integration
def test_what_passed_is_proposed_approved_and_live_and_comes_back_where_it_does_not_answer(project, run, monkeypatch):
    def release(*arguments: str):
        return run("python", "deploy/release.py", *arguments)

    assert release("propose").out == "no version waits for a person: deploy/release.yaml is as it was\n"
    refused = release("promote")
    assert refused.code == 1 and "deploy/release.yaml does not name a model and its version" in refused.err

    steps = "steps=[data_download,data_cleaning,training,evaluation]"
    assert run("python", "main.py", "evaluation.promote=false", steps, *QUICK).code == 0
    assert release("propose").out == "version 1 of titanic is proposed: deploy/release.yaml\n"
    assert yaml.safe_load((project / "deploy/release.yaml").read_text()) == {"model": "titanic", "version": 1}
    assert "passed and waits for a person" in (project / "build/release.md").read_text()
    assert release("promote").code == 0 and champion() == "1"
    with serving(project) as url:
        assert release("deploy", url).out == f"{url} answers with version 1 of titanic\n"

        # A second one, that the gate let pass.
        client = mlflow.MlflowClient()
        assert run("python", "main.py", "steps=training", *QUICK, "training.seed=1", "training.C=0.5").code == 0
        for name, value in {"verdict": "passed", "approval": json.dumps({"champion": "1", "anchor": "1"})}.items():
            client.set_model_version_tag("titanic", "2", name, value)
        assert release("propose").out.startswith("version 2 of titanic")
        assert release("promote").code == 0 and champion() == "2"
        assert release("deploy", url).code == 0, "it went live without a restart"
    assert re.search(r"\ntitanic +\d+ s +2 +0% +(\d+ min )?\d+ s\n", run("python", "main.py", "status").out)
    monkeypatch.setenv("DEPLOY_WAIT", "0")
    gone = release("deploy", url)
    assert gone.code == 1 and champion() == "1"
    assert "did not say version 2 within 0 s, but ConnectionError; the champion before it is champion again" in gone.err
