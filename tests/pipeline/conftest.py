"""A toy pipeline in a folder of its own, run by the real main.py in real processes against a real store."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
import pytest
import yaml

from pipeline.config import SETTINGS
from tests.conftest import ROOT, Finished

STEP = """
import argparse, os, signal, subprocess, sys, time
from pathlib import Path
import mlflow

parser = argparse.ArgumentParser()
for name in ("input", "text", "do"):
    parser.add_argument(f"--{name}", default="")
a = parser.parse_args()
verb, _, value = a.do.partition(":")
with mlflow.start_run():
    print("at work in", Path.cwd().name, flush=True)
    if verb == "sleep":
        time.sleep(float(value))
    if verb == "spawn":  # a process in a session of its own, which the step waits for
        subprocess.run(["sleep", value], start_new_session=True)
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "fail":
        sys.exit(f"{Path.cwd().name}: {value}")
    if verb == "flaky" and not Path(value).exists():
        Path(value).touch()
        sys.exit("not yet")
    if verb == "bug":
        raise ZeroDivisionError("a bug")
    read = Path(a.input).read_text() if a.input else ""
    mlflow.log_text(read + a.text + "\\n", "out.txt")
    mlflow.log_metric("lines", len(read.splitlines()) + 1)
"""
# The same without MLflow, and with something that MLflow does not import: the script server runs it.
LIGHT_STEP = STEP
for with_mlflow, without in {
    "import argparse,": "import argparse, contextlib, json,",
    "import mlflow\n": "import threadpoolctl\n",
    "with mlflow.start_run():": 'outputs = Path(os.environ["STEP_OUTPUTS"])\nwith contextlib.nullcontext():',
    'mlflow.log_text(read + a.text + "\\n", "out.txt")': '(outputs / "out.txt").write_text(read + a.text + "\\n")',
    'mlflow.log_metric("lines", len(read.splitlines()) + 1)': (
        '(outputs / "metrics.json").write_text(json.dumps({"lines": len(read.splitlines()) + 1}))\n'
        '    print("with MLflow:", "mlflow" in sys.modules)'
    ),
}.items():
    LIGHT_STEP = LIGHT_STEP.replace(with_mlflow, without)
MLPROJECT = """
name: toy
entry_points:
  main:
    parameters:
      input: {type: path}
      text: {type: string, default: ""}
      do: {type: string, default: ""}
    command: python run.py --input {input} --text {text} --do {do}
"""
FIRST = MLPROJECT.replace("      input: {type: path}\n", "").replace("--input {input} ", "")


AT_ONCE = int(os.environ.get("PIPELINE_AT_ONCE", "2"))  # pipelines, where several are started
HANG = 120  # seconds: reached by what hangs only, however busy the machine is


def wait_until(holds: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Until it holds; what never does is a failure with a complaint."""
    end = time.monotonic() + HANG
    while not holds():
        assert time.monotonic() < end, complaint()
        time.sleep(0.05)


class Toy:
    """A project folder with main.py, pipeline/, and steps that a test writes."""

    def __init__(self, folder: Path, uri: str):
        self.folder, self.uri = folder, uri
        self.started: list[subprocess.Popen] = []
        self.script = STEP
        shutil.copy(ROOT / "main.py", folder)
        shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
        hydra = {key: shipped[key] for key in ("defaults", "hydra")}
        settings = {key: value for key, value in shipped.items() if key in SETTINGS and key != "groups"}
        # Most tests are about deciding; test_journal.py and test_reads.py are about what is answered without.
        self.config = settings | {"pipeline": {}, "outputs": [], "journal": False} | hydra

    def step(self, name: str, reads: str = "", **block) -> None:
        """Add a step that appends a line to what it `reads` (another step's out.txt)."""
        (self.folder / name).mkdir(exist_ok=True)
        (self.folder / name / "MLproject").write_text(MLPROJECT if reads else FIRST)
        (self.folder / name / "run.py").write_text(self.script)
        parameters = {"text": name} | ({"input": f"${{artifact:{reads},out.txt}}"} if reads else {})
        parameters |= block.pop("parameters", {})
        self.config["pipeline"][name] = {"parameters": parameters, **block}
        self.save()

    def save(self) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        command = [sys.executable, "main.py", *arguments]
        return self.popen(command, **options)

    def popen(self, command: list[str], **options) -> subprocess.Popen:
        """A process of this project; the fixture ends it and closes its pipes."""
        (temporary := self.folder.parent / "tmp").mkdir(exist_ok=True)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options["env"] = {**options.get("env", os.environ), "TMPDIR": str(temporary)}
        self.started.append(subprocess.Popen(command, cwd=self.folder, **pipes, **options))
        return self.started[-1]

    def run(self, *arguments: str) -> Finished:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=3 * HANG)
        print(arguments, out, err, sep="\n")
        return Finished(process.returncode, out, err)

    def all_succeed_at_once(self, count: int) -> None:
        """Start the pipeline so many times at the same moment."""
        processes = [self.start() for _ in range(count)]
        ended = [process.communicate(timeout=count * HANG) for process in processes]
        for process, (out, err) in zip(processes, ended, strict=True):
            assert process.returncode == 0, out + err

    def manifest(self) -> dict:
        return json.loads((self.folder / "outputs" / "manifest.json").read_text())

    def states(self) -> dict[str, str]:
        return {name: step["state"] for name, step in self.manifest()["steps"].items()}

    def runs(self) -> list:
        return mlflow.search_runs(search_all_experiments=True, output_format="list")

    def statuses(self) -> list[str]:
        return sorted(run.info.status for run in self.runs())

    def wait_for(self, text: str, process: subprocess.Popen) -> None:
        """Read what the process prints until a line holds `text`."""
        for line in process.stdout:
            print(line, end="")
            if text in line:
                return
        raise AssertionError(f"{text!r} never came: {process.stderr.read()}")

    def processes(self) -> list[psutil.Process]:
        """All processes that work in this project's folder or for it."""
        found = []
        for process in psutil.process_iter():
            try:
                theirs = " ".join([process.cwd(), *process.cmdline(), *process.environ().values()])
                ours = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
                if str(self.folder) in theirs and not ours:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def wait_until_gone(self) -> None:
        """Until no process of this project is left."""
        wait_until(lambda: not self.processes(), lambda: f"still there: {[p.cmdline() for p in self.processes()]}")

    def wait_for_process(self, words: str) -> None:
        """Until a process of this project has these words in its command line."""
        wait_until(lambda: any(words in command for command in self.commands()), lambda: f"no {words}")

    def commands(self) -> list[str]:
        """The command lines of this project's processes."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                found.append(" ".join(process.cmdline()))
        return found

    def wait_until_at_work(self, step: str) -> None:
        """Until the step's own code has written its first line."""

        def at_work() -> bool:
            logs = [Path(folder, f"{step}.log") for folder in self.scratch_folders(step)]
            return any(log.is_file() and "at work" in log.read_text() for log in logs)

        wait_until(at_work, lambda: f"{step} never wrote a line")

    def scratch_folders(self, step: str) -> list[Path]:
        """Where the step's log is while it runs."""
        return [
            folder
            for pipeline in (self.folder.parent / "tmp").glob("pipeline-*")
            for folder in pipeline.glob(f"{step}-*")
        ]


@pytest.fixture
def toy(store: str, tmp_path: Path) -> Toy:
    folder = tmp_path / "toy"
    folder.mkdir()
    yield (toy := Toy(folder, store))
    for process in toy.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    for process in toy.started:
        process.kill()
        process.communicate(timeout=HANG)


@pytest.fixture(params=["in-a-fork-of-mlflows-process", "by-the-script-server"])
def any_toy(toy: Toy, request: pytest.FixtureRequest) -> Toy:
    """A toy whose steps call MLflow, and one whose steps do not."""
    toy.script = LIGHT_STEP if request.param == "by-the-script-server" else STEP
    return toy
