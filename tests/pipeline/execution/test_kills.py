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
from tests.pipeline.conftest import HANG

pytestmark = pytest.mark.integration
KILLS = int(os.environ.get("PIPELINE_KILLS", "3"))  # fifty take seven minutes
SEED = int(os.environ.get("PIPELINE_SEED") or random.randrange(1 << 30))


def start_mlflow_run(toy) -> subprocess.Popen:
    (toy.folder / "MLproject").write_text((ROOT / "MLproject").read_text().replace("conda_env: conda.yml\n", ""))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "mlflow", "run", ".", "--env-manager", "local"]
    return toy.popen(command, env=os.environ | {"PATH": path}, start_new_session=True)


def test_ctrl_c_on_mlflow_run_ends_everything(toy):
    toy.step("a", parameters={"do": "spawn:600"})
    process = start_mlflow_run(toy)
    toy.wait_for("a  started", process)
    toy.wait_for_process("sleep 600")
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    toy.wait_until_gone()
    process.wait(timeout=HANG)
    assert set(toy.statuses()) <= {"KILLED", "FAILED"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_mlflow_run_itself_ends_the_pipeline(number, toy):
    toy.step("a", parameters={"do": "spawn:600"})
    process = start_mlflow_run(toy)
    toy.wait_for("a  started", process)
    toy.wait_for_process("sleep 600")
    process.send_signal(number)
    process.wait(timeout=HANG)
    toy.wait_until_gone()
    assert set(toy.statuses()) <= {"KILLED", "FAILED"}


def test_kill_9_at_any_moment_never_leaves_a_wrong_result(toy):
    """After each kill a run gives the right result, and leaves nothing RUNNING."""
    toy.step("a")
    toy.step("b", reads="a")
    toy.step("c", reads="b", parameters={"do": "sleep:0.3"})
    print(f"again with these moments: PIPELINE_SEED={SEED}")
    moments = random.Random(SEED)
    for kill in range(KILLS):
        toy.config["pipeline"]["a"]["parameters"]["text"] = f"a{kill}"
        toy.save()
        process = toy.start()
        time.sleep(moments.uniform(0.5, 4))
        process.kill()
        process.wait()
        toy.wait_until_gone()
        assert toy.run().code == 0
        made = mlflow.artifacts.load_text(f"runs:/{toy.manifest()['steps']['c']['run_id']}/out.txt")
        assert made == f"a{kill}\nb\nc\n"
        assert "RUNNING" not in toy.statuses()
