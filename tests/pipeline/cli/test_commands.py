"""What is asked without running anything: status, diff, graph, report; which steps from one on, up to another."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from pipeline.cli.application import is_command
from pipeline.cli.commands import answer
from pipeline.config import parse
from pipeline.errors import RequestError
from pipeline.planning.graph import between

STEPS = parse({"pipeline": {"a": None, "b": {"after": "a"}, "c": {"after": "b"}, "d": {"after": "a"}}}).steps


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("", "", "abcd"),
        ("b", "", "bc"),
        ("", "b", "ab"),
        ("b", "c", "bc"),
        ("a", "d", "ad"),
    ],
)
def test_steps_from_one_on_and_up_to_another(first, last, expected):
    assert between(STEPS, "abcd", first, last) == tuple(expected)


def test_ends_that_leave_no_step_or_are_none_are_refused():
    with pytest.raises(RequestError, match="no step that was asked for lies between from=c and to=d"):
        between(STEPS, "abcd", "c", "d")
    with pytest.raises(RequestError, match="unknown step 'bb' in from: did you mean b"):
        between(STEPS, "abcd", "bb", "")


@pytest.mark.parametrize(
    ("argument", "command"),
    [("status", True), ("ci-report", True), ("--steps", False), ("-m", False), ("steps=all", False), ("a-b=c", False)],
)
def test_a_command_is_a_word_that_is_nothing_else(argument, command):
    assert is_command(argument) is command


@pytest.mark.parametrize("command", ["status", "diff", "report"])
def test_a_store_that_fails_once_it_is_open_is_said_in_a_sentence(command, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["main.py"])
    (tmp_path / "config.yaml").write_text("steps: all\npipeline: {a: null}\n")
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("ALTER TABLE runs RENAME COLUMN start_time TO lost")
    assert answer(tmp_path, command, []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"error: the tracking store {store} cannot be used ((sqlite3.OperationalError) no such column"
    )


@pytest.mark.integration
def test_where_we_stand_and_how_two_runs_differ(toy, store):
    toy.step("a")
    toy.step("b", reads="a", summary_metrics=["lines"])
    asked = toy.run("status")
    assert (asked.code, asked.out) == (0, "nothing has run in this store yet: python main.py\n")
    assert toy.run("to=a").code == 0
    assert toy.run("b.text=other").code == 0
    first, second = [run for run in toy.runs() if "pipeline.steps" in run.data.tags][::-1]
    assert (first.info.run_name, second.info.run_name) == ("to=a", "b.text=other")

    assert second.data.metrics["b.lines"] == 2, "pipeline runs can be compared in MLflow"
    assert "| b | ✓ executed | lines 2 |" in second.data.tags["mlflow.note.content"]

    status = toy.run("status").out
    assert f"{second.info.run_id[:8]}" in status.splitlines()[1]
    assert "b.text=other" in status.splitlines()[1]
    assert "lines 2" in next(line for line in status.splitlines() if line.startswith("b "))
    assert "no version of a model carries an alias yet" in status

    assert toy.run("b.text=third").code == 0
    differences = toy.run("diff").out
    assert "parameter text other → third" in differences
    assert "output out.txt changed" in differences
    assert "\na " not in differences, "a was reused: nothing of it differs"
    comment = toy.run("ci-report").out
    assert comment.startswith("### Pipeline FINISHED: 1 reused, 1 executed\n\n| step | metric | before | now |")
    assert "| b | lines | 2 | 2 |" in comment
    assert "b: parameter text other → third" in comment
    assert (
        "<summary>out.txt of b</summary>\n\n```diff\n--- before\n+++ now\n@@ -1,2 +1,2 @@\n a\n-other\n+third\n```"
        in comment
    )
    since_the_first = toy.run("diff", first.info.run_id[:10]).out
    assert f"from  pipeline run {first.info.run_id[:8]}" in since_the_first
    assert "b  was not asked for then" in since_the_first
    assert toy.run("b.text=third").code == 0
    assert "no step differs in parameters, code, inputs, outputs or metrics" in toy.run("diff").out
    refused = toy.run("diff", "nothing")
    assert refused.code == 2
    assert "'nothing' is no pipeline run of this experiment" in refused.err

    page = toy.folder / "outputs" / "report.html"
    assert toy.manifest()["run_id"] in page.read_text()
    assert toy.run("report", first.info.run_id[:8]).code == 0
    assert first.info.run_id in page.read_text()
    assert "b  ← a" in toy.run("graph").out
    assert "a --> b" in toy.run("graph", "mermaid").out


@pytest.mark.integration
def test_a_store_that_nobody_named_belongs_to_the_project(toy, tmp_path):
    toy.step("a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, str(toy.folder / "main.py"), "dry_run=true"]
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    assert subprocess.run(command, cwd=elsewhere, env=environ, check=True, capture_output=True)
    assert not list(elsewhere.iterdir())
    named = environ | {"MLFLOW_TRACKING_URI": "sqlite:///mine.db"}
    assert subprocess.run(command, cwd=elsewhere, env=named, check=True, capture_output=True)
    assert (elsewhere / "mine.db").is_file(), "a relative name is as seen from where it was typed"
