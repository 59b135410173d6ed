"""The pipeline under `mlflow run`, and killed at moments that nobody chose."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.integration
KILLS = int(os.environ.get("PIPELINE_KILLS", "3"))  # fifty take seven minutes


def start_mlflow_run(toy) -> subprocess.Popen:
    (toy.folder / "MLproject").write_text((ROOT / "MLproject").read_text().replace("conda_env: conda.yml\n", ""))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"],
        cwd=toy.folder, env=os.environ | {"PATH": path}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ctrl_c_on_mlflow_run_ends_everything(toy):
    toy.step("a", parameters={"do": "spawn:600"})
    process = start_mlflow_run(toy)
    toy.wait_for("a  started", process)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    assert toy.gone_within(4)
    process.wait(timeout=20)
    assert set(toy.statuses()) <= {"KILLED", "FAILED"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_mlflow_run_itself_ends_the_pipeline(number, toy):
    toy.step("a", parameters={"do": "spawn:600"})
    process = start_mlflow_run(toy)
    toy.wait_for("a  started", process)
    time.sleep(1)
    process.send_signal(number)
    process.wait(timeout=20)
    assert toy.gone_within(5)
    assert set(toy.statuses()) <= {"KILLED", "FAILED"}


def test_kill_9_at_any_moment_never_leaves_a_wrong_result(toy):
    """After each kill a run gives the right result, and leaves nothing RUNNING."""
    toy.step("a")
    toy.step("b", reads="a")
    toy.step("c", reads="b", parameters={"do": "sleep:0.3"})
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for kill in range(KILLS):
        toy.config["pipeline"]["a"]["parameters"]["text"] = f"a{kill}"
        toy.save()
        process = toy.start()
        time.sleep(moments.uniform(0.5, 4))
        process.kill()
        process.wait()
        assert toy.gone_within(3)
        assert toy.run().code == 0
        made = mlflow.artifacts.load_text(f"runs:/{toy.manifest()['steps']['c']['run_id']}/out.txt")
        assert made == f"a{kill}\nb\nc\n"
        assert "RUNNING" not in toy.statuses()
