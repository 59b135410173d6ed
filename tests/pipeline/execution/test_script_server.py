"""Scripts that need no MLflow run in a process that never imported it, and are the step all the same."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from pipeline.execution.script_server import Script, ScriptServer
from tests.pipeline.conftest import HANG, LIGHT_STEP, wait_until


@pytest.fixture
def server():
    server = ScriptServer(["threadpoolctl"])
    yield server
    server.close()


def script(folder: Path, text: str, *arguments: str, modules: tuple[str, ...] = ("threadpoolctl",)) -> Script:
    (folder / "run.py").write_text(text)
    environ = {"PATH": os.environ["PATH"], "GREETING": "hello", "STEP_LOG": str(folder / "log")}
    return Script(["run.py", *arguments], str(folder), environ, "/nowhere", modules)


SAYS = """
import os, sys
from pathlib import Path
import threadpoolctl
told = [os.environ["GREETING"], os.getcwd(), *sys.argv[1:], "pipeline" in sys.modules]
Path(os.environ["STEP_LOG"]).write_text(repr(told + [sorted(set(os.environ) - {"LC_CTYPE"})]))
"""


def test_a_script_gets_its_arguments_folder_and_variables_and_nothing_of_ours(server, tmp_path):
    assert server.run(script(tmp_path, SAYS, "--x", "1")) == 0
    variables = ["GREETING", "PATH", "STEP_LOG"]
    expected = ["hello", str(tmp_path), "--x", "1", False, variables]
    assert (tmp_path / "log").read_text() == repr(expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise SystemExit('a sentence')", 1),
        ("1 / 0", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + 9),
    ],
)
def test_the_exit_code_is_the_scripts(server, tmp_path, text, code):
    assert server.run(script(tmp_path, text)) == code
    assert server.run(script(tmp_path, "")) == 0, "the server goes on"


def test_several_run_at_once(server, tmp_path):
    """Each waits for the other."""
    wait = "import sys, time; from pathlib import Path; Path('made' + sys.argv[1]).touch()\n"
    wait += "while not Path('made' + sys.argv[2]).exists(): time.sleep(0.01)\n"
    codes: list[int] = []
    pairs = (("1", "2"), ("2", "1"))
    pids = []
    for pair in pairs:
        if not (pid := os.fork()):
            os._exit(server.run(script(tmp_path, wait, *pair)))
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0, 0]


def test_what_a_script_left_running_ends_with_it(server, tmp_path):
    text = "import subprocess; from pathlib import Path\n"
    text += "Path('pid').write_text(str(subprocess.Popen(['sleep', '600']).pid))\n"
    assert server.run(script(tmp_path, text)) == 0
    wait_until(lambda: not alive(int((tmp_path / "pid").read_text())), lambda: "it sleeps on")


SLEEPS = """
import os, signal, subprocess, sys
from pathlib import Path
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
Path("pids").write_text(f"{os.getpid()} {child.pid}")
child.wait()
"""


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGTERM, "well"), (signal.SIGKILL, "well"), (signal.SIGKILL, "deaf")]
)
def test_who_asked_for_it_takes_it_along(server, tmp_path, number, how):
    told = script(tmp_path, SLEEPS, how)
    if not (asker := os.fork()):
        os._exit(server.run(told))
    pids = written_pids(tmp_path)
    os.kill(asker, number)
    wait_until(lambda: not any(map(alive, pids)), lambda: "they sleep on")
    assert os.waitstatus_to_exitcode(os.waitpid(asker, 0)[1]) == (128 + number if number == signal.SIGTERM else -number)
    assert server.run(script(tmp_path, "")) == 0, "the server goes on"


DAEMON = """
import os, sys, time
from pathlib import Path
if not os.fork():
    os.setsid()
    if not os.fork():
        Path("pids").write_text(f"{os.getpid()} 0")
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def test_a_daemon_of_a_script_that_was_ended_leaves_the_server_idle(server, tmp_path):
    """It has the file that would tell of the script's end."""
    told = script(tmp_path, DAEMON)
    if not (asker := os.fork()):
        os._exit(server.run(told))
    (pid, _) = written_pids(tmp_path)
    os.kill(asker, signal.SIGKILL)
    os.waitpid(asker, 0)
    process = psutil.Process(server.process.pid)
    try:
        wait_until(lambda: not process.children(), lambda: "the script is there")
        before = process.cpu_times().user
        time.sleep(1)
        assert process.cpu_times().user - before < 0.5, "it spins"
        assert server.run(script(tmp_path, "")) == 0
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_script_has_no_files_of_ours(server, tmp_path):
    listing = "import os; open('files', 'w').write(repr([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir("
    assert server.run(script(tmp_path, listing + "'/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')]))")) == 0
    assert "socket:" not in (tmp_path / "files").read_text()


def test_where_the_server_is_killed_so_is_the_script(server, tmp_path):
    threading.Thread(target=lambda: (written_pids(tmp_path), os.kill(server.process.pid, signal.SIGKILL))).start()
    assert server.run(script(tmp_path, SLEEPS, "deaf")) == 128 + 9
    (pid, _) = written_pids(tmp_path)
    wait_until(lambda: not alive(pid), lambda: "it sleeps on")
    assert server.run(script(tmp_path, "")) == 128 + 9, "no server, no script"


def test_a_closed_server_leaves_nothing(tmp_path):
    server = ScriptServer([])
    told = script(tmp_path, SLEEPS, "deaf")
    if not (asker := os.fork()):
        os._exit(server.run(told))
    pids = written_pids(tmp_path)
    server.close()
    os.waitpid(asker, 0)
    wait_until(lambda: not any(map(alive, pids)), lambda: "they sleep on")


def written_pids(folder: Path) -> list[int]:
    wait_until(lambda: len(read(folder / "pids").split()) == 2, lambda: "it never began")
    return [int(pid) for pid in read(folder / "pids").split()]


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.integration
def test_a_pipeline_of_such_steps_is_recorded_and_reused_as_any(toy):
    toy.script = LIGHT_STEP
    toy.step("a")
    toy.step("b", reads="a")
    assert toy.run().code == 0
    run = next(run for run in toy.runs() if run.info.run_name == "b")
    assert run.data.metrics == {"lines": 2}
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/out.txt") == "a\nb\n"
    log = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/pipeline/b.log")
    assert "at work in b" in log
    assert "with MLflow: False" in log
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused", "b": "reused"}


LEAVES_MODEL = """
(outputs / "model").mkdir()
(outputs / "model" / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
(outputs / "model.json").write_text('{"path": "model", "name": "houses"}')
"""
WRITES_INTO_MODEL = """
import sys
from pathlib import Path

model = Path(sys.argv[2])
print(sorted(file.name for file in model.iterdir()))
(model / "MLmodel").write_text("broken")
(model / "more").touch()
"""


@pytest.mark.integration
def test_a_step_is_told_what_is_known_of_its_inputs(any_toy):
    any_toy.step("a")
    any_toy.step("b", reads="a")
    tags = json.dumps({"effect.registry": '{"model": "m"}'})
    left = f"""\nPath(os.environ["STEP_OUTPUTS"], "tags.json").write_text({tags!r})"""
    (any_toy.folder / "a" / "run.py").write_text(any_toy.script + left)
    told = '\nprint("told:", Path(os.environ["STEP_INPUTS"]).read_text())'
    (any_toy.folder / "b" / "run.py").write_text(any_toy.script + told)
    assert any_toy.run().code == 0
    runs = {run.info.run_name: run.info.run_id for run in any_toy.runs()}
    log = mlflow.artifacts.load_text(f"runs:/{runs['b']}/pipeline/b.log")
    found = json.loads(log.split("told: ")[1].splitlines()[0])
    assert found == {"input": {"uri": f"runs:/{runs['a']}/out.txt", "effects": {"registry": {"model": "m"}}}}


@pytest.mark.integration
def test_a_model_that_a_step_leaves_is_in_its_runs_experiment(toy):
    toy.script = LIGHT_STEP
    toy.step("a", env={"MLFLOW_EXPERIMENT_NAME": "elsewhere"})
    (toy.folder / "a" / "run.py").write_text(toy.script + LEAVES_MODEL)
    assert toy.run().code == 0
    run = next(run for run in toy.runs() if run.info.run_name == "a")
    model = mlflow.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (model.experiment_id, model.metrics[0].key) == (run.info.experiment_id, "lines")
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused"}
    mlflow.MlflowClient().delete_model_version("houses", "1")
    assert toy.run().code == 0
    assert toy.states() == {"a": "executed"}, "the version that it made is gone"


@pytest.mark.integration
@pytest.mark.parametrize("model", ["${artifact:a,model}", "${model:houses@none,a,model}", "models:/houses/1"])
def test_a_step_gets_a_copy_of_a_model_and_may_write_into_it(model, toy):
    toy.script = LIGHT_STEP
    toy.step("a")
    (toy.folder / "a" / "run.py").write_text(toy.script + LEAVES_MODEL)
    assert toy.run().code == 0
    toy.step("b", reads="a", parameters={"input": model})
    (toy.folder / "b" / "run.py").write_text(WRITES_INTO_MODEL)
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused", "b": "executed"}
    runs = {run.info.run_name: run for run in toy.runs()}
    log = mlflow.artifacts.load_text(f"runs:/{runs['b'].info.run_id}/pipeline/b.log")
    registered = ", 'registered_model_meta'" * model.startswith("models:/")
    assert f"['MLmodel'{registered}]" in log, "before it wrote"
    assert runs["b"].data.params["input"].startswith(("runs:/", "models:/")), "what it was, not where its copy lay"
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused", "b": "reused"}, "the model is as it was"


@pytest.mark.integration
def test_a_step_with_variables_of_its_own_gets_a_fresh_interpreter(toy):
    toy.script = LIGHT_STEP.replace('"with MLflow:"', 'os.environ["RATE"], sys.flags.hash_randomization')
    toy.step("a", env={"RATE": "2", "PYTHONHASHSEED": "0"})
    assert toy.run().code == 0
    (run,) = [run for run in toy.runs() if run.info.run_name == "a"]
    assert "2 0 False" in mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/pipeline/a.log")


@pytest.mark.integration
def test_a_step_whose_own_process_is_killed_leaves_no_script_behind(toy):
    toy.script = LIGHT_STEP
    toy.step("a", parameters={"do": "spawn:600"})
    process = toy.start()
    toy.wait_for("a  started", process)
    toy.wait_for_process("sleep 600")
    own = next(one for one in psutil.Process(process.pid).children(recursive=True) if is_step(one))
    own.kill()
    assert process.wait(timeout=HANG) == 1
    toy.wait_until_gone()
    assert "killed by the system" in process.stdout.read()


def is_step(process: psutil.Process) -> bool:
    """Whether it is the process that called `mlflow.run`: a fork whose output goes to the step's log, but no script."""
    with process.oneshot():
        logs = [file.path for file in process.open_files() if file.path.endswith("a.log")]
        return bool(logs) and not any("sleep" in one.name() for one in process.children()) and process.name() != "sleep"
