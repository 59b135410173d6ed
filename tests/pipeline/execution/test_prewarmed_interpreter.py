"""Interpreters of a step's own environment that are prewarmed for it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from pipeline.execution import prewarmed_interpreter
from tests.pipeline.conftest import HANG

CONDA = "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - six==1.17.0\n"
SCRIPT = """
import probe
import json, os, sys, time
import six
print(json.dumps({
    "six_was_there": list(sys.modules).index("six") < list(sys.modules).index("probe"),
    "python": sys.executable, "arguments": sys.argv, "folder": os.getcwd(),
    "run": os.environ["MLFLOW_RUN_ID"], "environment": os.environ["VIRTUAL_ENV"], "input": sys.stdin.read(),
    "path": sys.path[0], "which": os.environ["PATH"].split(os.pathsep)[0], "main": __name__,
}), flush=True)
exec(sys.argv[2])
"""


@pytest.fixture
def managed(toy):
    """A step `a` here, and `b`, which follows it in an environment that `uv` builds and that has no MLflow."""
    toy.step("a")
    toy.step("b", after=["a"], env_manager="uv", parameters={"do": "pass"})
    (toy.folder / "b" / "conda.yml").write_text(CONDA)
    (toy.folder / "b" / "run.py").write_text(SCRIPT)
    (toy.folder / "b" / "probe.py").touch()
    project = (toy.folder / "b" / "MLproject").read_text()
    (toy.folder / "b" / "MLproject").write_text(
        f"conda_env: conda.yml\n{project}".replace("--text {text} --do {do}", "{text} {do}")
    )
    return toy


def log(toy) -> dict:
    (run,) = [run for run in toy.runs() if run.info.run_name == "b"]
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/pipeline/b.log")
    assert run.data.tags["mlflow.project.env"] == "uv"
    told = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return told | {"run_id": run.info.run_id, "pipeline_was_run": "was run" in text}


@pytest.mark.integration
def test_a_step_finds_its_imports_done_and_all_else_as_in_a_fresh_interpreter(managed):
    (managed.folder / "b" / "pipeline.py").write_text("print('was run')")
    assert managed.run("steps=[a,b]").code == 0
    seen = log(managed)
    assert seen["six_was_there"]
    assert not seen["pipeline_was_run"]
    assert seen["run"] == seen["run_id"]
    assert seen["python"] == f"{seen['environment']}/bin/python"
    assert seen["which"] == f"{seen['environment']}/bin"
    assert "/envs/mlflow-" in seen["environment"]
    assert [Path(seen["arguments"][0]).name, *seen["arguments"][1:]] == ["run.py", "b", "pass"]
    assert seen["folder"] == seen["path"] == str(managed.folder / "b")
    assert (seen["input"], seen["main"]) == ("", "__main__")


@pytest.mark.integration
def test_without_prewarming_it_is_the_same(managed):
    assert managed.run("start_method=spawn").code == 0
    seen = log(managed)
    assert not seen["six_was_there"]
    assert [Path(seen["arguments"][0]).name, *seen["arguments"][1:]] == ["run.py", "b", "pass"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('b: no luck')", "no luck"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), 9)", "killed by the system (signal 9), most often because memory ran out"),
    ],
)
def test_how_it_failed_is_told_as_ever(managed, code, reason):
    done = managed.run(f"b.do='{code.replace(chr(39), chr(92) + chr(39))}'")
    assert done.code == 1
    assert f"b failed: {reason}" in done.out
    assert "prewarmed_interpreter.py" not in done.out


@pytest.mark.integration
def test_what_is_not_needed_after_all_is_ended_at_once(managed):
    managed.config["pipeline"]["b"]["parameters"]["text"] = "${artifact:a,out.txt}"
    managed.step("c", after=["b"], parameters={"do": "sleep:3"})
    assert managed.run().code == 0
    process = managed.start("force=[a,c]")
    managed.wait_for("b  reused", process)
    managed.wait_for("c  started", process)
    managed.wait_until_at_work("c")
    assert not any("prewarmed_interpreter.py" in command for command in managed.commands())
    assert process.wait(HANG) == 0


@pytest.mark.integration
def test_a_secret_of_the_environment_is_not_written_down(managed, monkeypatch):
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    look = (
        "from pathlib import Path; print('files:', [f.read_text() for f in Path(os.environ['TMPDIR']).rglob('*.json')])"
    )
    managed.config["pipeline"]["b"]["parameters"]["do"] = look
    managed.save()
    assert managed.run("verbose=true").code == 0
    (run,) = [run for run in managed.runs() if run.info.run_name == "b"]
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/pipeline/b.log")
    assert "entry_point" in text.partition("files:")[2]
    assert "hunter2" not in text


@pytest.mark.integration
def test_what_was_prewarmed_in_vain_is_ended(managed):
    done = managed.run("a.do='fail:no'")
    assert done.code == 1
    assert managed.states() == {"a": "failed", "b": "skipped"}
    managed.wait_until_gone()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_prewarmed_ends_with_the_orchestrator(managed, number):
    managed.run()  # the environment is there from now on
    process = managed.start("a.do='sleep:30'", "force=true")
    managed.wait_for("started", process)
    managed.wait_for_process("prewarmed_interpreter.py")
    os.kill(process.pid, number)
    managed.wait_until_gone()


def test_what_a_script_imports_at_its_top_is_found_without_running_it(tmp_path):
    (tmp_path / "helper.py").write_text("import colorsys\nraise SystemExit('was run')")
    (tmp_path / "package").mkdir()
    script = tmp_path / "run.py"
    script.write_text(
        "import json, os.path\nfrom xml.dom import minidom\nimport helper, package.part\nfrom . import x\n"
        "def later():\n    import sqlite3\nraise SystemExit('was run')\n"
    )
    assert set(prewarmed_interpreter.imported_modules(script)) == {"json", "os.path", "xml.dom", "colorsys"}
    script.write_text('"""Doc."""\nimport json\nimport os\nos.environ["X"] = "1"\nimport colorsys\n')
    assert set(prewarmed_interpreter.imported_modules(script)) == {"json", "os"}, (
        "what comes before an import may matter to it"
    )
    script.write_text("import json\nthis is no Python")
    assert prewarmed_interpreter.imported_modules(script) == []


def test_it_leaves_when_nobody_wants_it(tmp_path):
    (tmp_path / "run.py").write_text("raise SystemExit('was run')")
    command = [
        sys.executable,
        prewarmed_interpreter.__file__,
        str(tmp_path / "imported"),
        str(tmp_path / "run.py"),
        "no_such_module",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "imported").exists()
