"""What makes the orchestration slow, counted and not timed: imports, processes, queries."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline.conftest import Toy

HEAVY = {"mlflow", "pandas", "numpy", "scipy", "sklearn", "sqlalchemy", "alembic", "matplotlib", "skops", "pyarrow"}
# Lists the heavy modules that a command has imported by the time it ends.
LISTED = """
import atexit, json, runpy, sys
atexit.register(lambda: print("imported", json.dumps(sorted({name.split(".")[0] for name in sys.modules}))))
"""
# Put into every Python process as sitecustomize.py: writes down what is started, and what SQLite is asked.
RECORDER = """
import functools, os, sqlite3, sys

def record(kind, text=""):
    line = f"{kind}\\t{os.getpid()}\\t{' '.join(str(text).split())[:300]}\\n".encode()
    file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)

def audit(event, arguments):
    if event == "subprocess.Popen":
        record("command", arguments[1])

class Connection(sqlite3.Connection):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.set_trace_callback(query)

def query(statement):
    if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE") and statement != "SELECT 1":
        record("query", statement)

record("interpreter", getattr(sys, "orig_argv", ""))
os.register_at_fork(after_in_child=lambda: record("fork"))
sys.addaudithook(audit)
sqlite3.connect = sqlite3.dbapi2.connect = functools.partial(sqlite3.connect, factory=Connection)
"""


def imported_by(program: str, code: int = 0) -> set[str]:
    """The top-level modules that a program has imported by the time it ends, with this exit code."""
    command = [sys.executable, "-c", LISTED + program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stderr
    return set(json.loads(done.stdout.rpartition("imported ")[2]))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--cfg", "job"], ["steps=[trainning]"], ["training.modell=x"], ["no_such_key=1"]],
    ids=" ".join,
)
def test_what_is_answered_without_the_store_imports_nothing_heavy(arguments):
    program = f"sys.argv = {['main.py', *arguments]}\nrunpy.run_path('main.py', run_name='__main__')"
    imported = imported_by(program, code=0 if arguments[0].startswith("--") else 2)
    assert "pipeline" in imported
    assert not imported & HEAVY


def test_the_front_door_imports_little():
    assert not imported_by("import pipeline.cli.application, pipeline.config, pipeline.planning.project") & (
        HEAVY | {"hydra"}
    )


class Recorded(Toy):
    """A toy pipeline whose processes write down what they do."""

    def __init__(self, folder: Path, uri: str, steps: int):
        super().__init__(folder, uri)
        self.record = folder / "record.txt"
        self.config["pass_env"] = ["RECORD"]
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(RECORDER)
        for number in range(steps):
            # Names of its own: another toy's results in the same store are not to be found.
            self.step(f"s{steps}_{number}", reads=f"s{steps}_{number - 1}" if number else "")

    def counts(self, *arguments: str) -> Counter:
        """Run the pipeline; how many interpreters, forks, commands and queries that took."""
        self.record.unlink(missing_ok=True)
        done = self.run(*arguments)
        assert done.code == 0
        lines = [line.split("\t") for line in self.record.read_text().splitlines()]
        return Counter(kind for kind, _, _ in lines)

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        variables = {"RECORD": str(self.record), "PYTHONPATH": str(self.folder / "site")}
        return super().start(*arguments, env=os.environ | variables, **options)


@pytest.fixture
def per_step(store, tmp_path):
    """How much more each further step takes, for a run with the arguments given."""
    few, many = 2, 6
    for count in (few, many):
        (tmp_path / str(count)).mkdir()
    toys = {count: Recorded(tmp_path / str(count), store, count) for count in (few, many)}

    def measure(*arguments: str) -> dict[str, float]:
        less, more = (toys[count].counts(*arguments) for count in (few, many))
        return {kind: (more[kind] - less[kind]) / (many - few) for kind in more}

    return measure


@pytest.mark.integration
def test_a_step_takes_one_fork_no_new_interpreter_and_few_queries(per_step):
    first = per_step()
    assert first["fork"] <= 1
    assert first.get("interpreter", 0) == 0
    assert first.get("command", 0) <= 1  # git, about ignored files
    assert 60 <= first["query"] <= 140, "fewer: nobody counts what the steps ask"
    print("a step:", first)
    again = per_step()
    assert again.get("fork", 0) == again.get("interpreter", 0) == 0
    assert again.get("command", 0) <= 1
    print("a step that is reused:", again)
    assert again["query"] <= 16  # MLflow asks about 6 for a search, 7 for a run
