"""The answer "nothing changed" from the journal: the same as the long way's, and only where nothing has changed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from pipeline import journal
from tests.pipeline.conftest import HANG, Toy

pytestmark = pytest.mark.integration


@pytest.fixture
def done(toy: Toy) -> Toy:
    """A pipeline of two steps that has run, so that the next answer is from the journal."""
    toy.config["journal"] = True
    (toy.folder / "given.txt").write_text("given")
    toy.step("a")
    toy.step("b", reads="a")
    toy.config["outputs"] = ["${artifact:b,out.txt}"]
    toy.config["pipeline"]["a"]["parameters"]["input"] = str(toy.folder / "given.txt")
    project = toy.folder / "a" / "MLproject"
    project.write_text(project.read_text().replace("      text:", "      input: {type: path}\n      text:", 1))
    project.write_text(project.read_text().replace("--text", "--input {input} --text"))
    toy.save()
    assert toy.run().code == 0
    return toy


def is_quick(toy: Toy, *arguments: str) -> bool:
    """Run it; whether the answer came from the journal: then there is no pipeline run of it."""
    before = len(toy.runs())
    result = toy.run(*arguments)
    assert result.code == 0
    quick = "nothing changed since pipeline run" in result.out
    assert quick == (len(toy.runs()) == before)
    return quick


def test_it_is_the_long_ways_answer_and_nothing_is_written_to_the_store(done):
    database = Path(done.uri.removeprefix("sqlite:///"))
    first, before = done.manifest(), database.read_bytes()
    quick = done.run()
    assert "nothing changed since pipeline run" in quick.out
    assert database.read_bytes() == before
    answered = done.manifest()
    long = done.run("journal=false")

    def lines(out: str) -> list[str]:
        return [
            line[10:] if line[:2].isdigit() else line for line in out.splitlines() if " pipeline run " not in f" {line}"
        ]

    assert lines(quick.out) == lines(long.out)
    for manifest in (answered, done.manifest()):
        for name, step in manifest["steps"].items():
            assert (step["state"], step["run_id"]) == ("reused", first["steps"][name]["run_id"])
            assert step["outputs"] == first["steps"][name]["outputs"]
    ours, theirs = answered["steps"], done.manifest()["steps"]
    assert ours == theirs


def test_a_dry_run_is_answered_too_and_a_rewritten_manifest_is_no_change(done):
    quick = done.run("dry_run=true")
    long = done.run("dry_run=true", "journal=false")
    assert quick.out == long.out
    assert is_quick(done)
    assert is_quick(done)


def alias(toy: Toy) -> None:
    mlflow.MlflowClient().create_registered_model("m")


def artifact(toy: Toy) -> Path:
    run = mlflow.MlflowClient().get_run(toy.manifest()["steps"]["b"]["run_id"])
    return Path(run.info.artifact_uri.removeprefix("file://"), "out.txt")


def altered(path: Path, old: str, new: str) -> None:
    """Other content of the same length, with the same time."""
    times, text = (path.stat().st_atime_ns, path.stat().st_mtime_ns), path.read_text()
    assert old in text
    assert len(old) == len(new)
    path.write_text(text.replace(old, new))
    os.utime(path, ns=times)


CHANGES: dict[str, Callable[[Toy], object]] = {
    "config.yaml": lambda toy: (toy.folder / "config.yaml").write_text((toy.folder / "config.yaml").read_text() + "\n"),
    "a step's code": lambda toy: altered(toy.folder / "a" / "run.py", "at work in", "at rest in"),
    "a new file in a step's folder": lambda toy: (toy.folder / "b" / "new.py").touch(),
    "an input, of the same size and time": lambda toy: altered(toy.folder / "given.txt", "given", "taken"),
    "the orchestrator's code": lambda toy: altered(toy.folder / "pipeline" / "states.py", "The words", "The terms"),
    "the store": alias,
    "an artifact, of the same size and time": lambda toy: altered(artifact(toy), "given", "taken"),
    "an artifact that is gone": lambda toy: artifact(toy).unlink(),
    "a file of outputs/ that is gone": lambda toy: (toy.folder / "outputs" / "out.txt").unlink(),
    "what Git ignores": lambda toy: (toy.folder / ".gitignore").write_text("*.txt"),
    "a file that a parameter's text names now": lambda toy: (toy.folder / "b.txt").touch(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_doubt_and_it_goes_the_long_way(change, done):
    if "parameter" in change:
        done.config["pipeline"]["b"]["parameters"]["text"] = "b.txt"
        done.save()
        assert not is_quick(done)
    assert is_quick(done)
    CHANGES[change](done)
    assert not is_quick(done)


def test_a_variable_that_it_depends_on_is_looked_at(done, monkeypatch):
    monkeypatch.setenv("GREETING", "hello")
    done.config["pipeline"]["b"]["parameters"]["text"] = "${oc.env:GREETING}"
    done.save()
    assert not is_quick(done)
    assert is_quick(done)
    monkeypatch.setenv("GREETING", "goodbye")
    assert not is_quick(done)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert not is_quick(done)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter2")
    assert [is_quick(done), is_quick(done)] == [False, True]
    files = list((done.folder / ".pipeline").rglob("*.json"))
    assert files
    assert not any("hunter2" in file.read_text() for file in files)


@pytest.mark.parametrize("argument", ["force=true", "journal=false", "steps=a"])
def test_another_command_line_is_another_question(argument, done):
    assert not is_quick(done, argument)


def test_what_runs_each_time_has_no_journal(done):
    done.config["pipeline"]["b"]["cache"] = False
    done.save()
    assert [is_quick(done), is_quick(done)] == [False, False]
    assert done.states() == {"a": "reused", "b": "executed"}


def test_under_mlflow_run_there_is_none(done, monkeypatch):
    run = mlflow.MlflowClient().create_run("0")
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    assert journal.answer(done.folder, []) is None
    program = (
        "import sys; from pathlib import Path; from pipeline import journal; print(journal.answer(Path.cwd(), []))"
    )
    quick = subprocess.run([sys.executable, "-c", program], cwd=done.folder, capture_output=True, text=True)
    assert quick.stdout == "None\n"


def test_it_is_answered_without_importing_anything_heavy(done):
    program = (
        "import atexit, json, runpy, sys\n"
        "atexit.register(lambda: print('imported', json.dumps(sorted({n.split('.')[0] for n in sys.modules}))))\n"
        "sys.argv = ['main.py']\nrunpy.run_path('main.py', run_name='__main__')"
    )
    (done.folder / "program.py").write_text(program)
    quick = subprocess.run([sys.executable, "-c", program], cwd=done.folder, capture_output=True, text=True)
    assert "nothing changed since" in quick.stdout
    imported = set(json.loads(quick.stdout.rpartition("imported ")[2]))
    assert not imported & {"mlflow", "hydra", "omegaconf", "yaml", "numpy", "pandas", "rich", "sqlalchemy", "psutil"}


def test_a_read_only_project_goes_without(done):
    (done.folder / ".pipeline" / "journal").chmod(0o500)
    assert is_quick(done)
    for file in (done.folder / ".pipeline" / "journal").iterdir():
        file.write_text("{not json")
    assert not is_quick(done)


def test_what_changes_while_it_runs_is_not_what_was_run(done):
    """config.yaml and a new file in a step's folder, both changed during the run."""
    done.step("b", reads="a", parameters={"do": "sleep:2"})
    process = done.start()
    done.wait_until_at_work("b")
    (done.folder / "a" / "new.py").touch()
    assert process.wait(timeout=HANG) == 0
    assert not is_quick(done)
    done.step("b", reads="a", parameters={"do": "sleep:2.1"})
    process = done.start()
    done.wait_until_at_work("b")
    done.config["pipeline"]["a"]["parameters"]["text"] = "changed"
    done.save()
    assert process.wait(timeout=HANG) == 0
    assert not is_quick(done)
    assert done.states()["a"] == "executed"


@pytest.mark.parametrize("text", ["${now:%S}", "${oc.env: GREETING}", "${oc.env:${oc.env:WHICH}}"])
def test_a_configuration_that_may_vary_by_itself_is_composed_each_time(text, done, monkeypatch):
    monkeypatch.setenv("GREETING", "hello")
    monkeypatch.setenv("WHICH", "GREETING")
    done.config["pipeline"]["b"]["parameters"]["text"] = text
    done.save()
    done.run()
    monkeypatch.setenv("GREETING", "goodbye")
    done.run()
    assert "${" not in str(done.manifest())
    if "now" not in text:
        assert done.states()["b"] == "executed"


def test_a_configuration_of_further_files_is_composed_each_time(done):
    (done.folder / "exp").mkdir()
    for text in ("one", "two"):
        (done.folder / "exp" / "big.yaml").write_text(
            f"# @package _global_\npipeline: {{b: {{parameters: {{text: {text}}}}}}}\n"
        )
        assert not is_quick(done, "+exp=big")
    assert done.states()["b"] == "executed"


def test_a_store_named_with_a_query_is_looked_at(done, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", done.uri + "?timeout=20")
    assert not is_quick(done)
    assert is_quick(done)
    alias(done)
    assert not is_quick(done)
