"""The orchestrator with real processes: failures, signals, kills, other languages, two at once."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.pipeline.conftest import AT_ONCE, HANG, LIGHT_STEP, wait_until

pytestmark = pytest.mark.integration


def test_children_are_named_tagged_and_fed_by_run_uris(toy):
    toy.step("a")
    toy.step("b", reads="a")
    assert toy.run().code == 0
    runs = {run.info.run_name: run for run in toy.runs()}
    a, b, parent = runs["a"], runs["b"], runs["pipeline"]
    assert b.data.params["input"] == f"runs:/{a.info.run_id}/out.txt"
    for child in (a, b):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id == child.data.tags["pipeline.run"]
        assert child.data.tags["pipeline.step"] == child.info.run_name
        assert len(child.data.tags["pipeline.fingerprint"]) == 64
    files = {f.path for f in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "manifest.json"} <= files
    assert Path(mlflow.artifacts.download_artifacts(f"runs:/{b.info.run_id}/out.txt")).read_text() == "a\nb\n"
    assert toy.statuses() == ["FINISHED"] * 3
    log = mlflow.artifacts.load_text(f"runs:/{a.info.run_id}/pipeline/a.log")
    assert "at work in a" in log


def test_second_run_executes_nothing_and_says_why(toy):
    toy.step("a")
    toy.step("b", reads="a")
    toy.run()
    first = toy.manifest()["steps"]
    done = toy.run()
    assert toy.states() == {"a": "reused", "b": "reused"}
    assert done.out.count("nothing changed") == 2
    assert [s["run_id"] for s in toy.manifest()["steps"].values()] == [s["run_id"] for s in first.values()]


def test_a_comment_in_a_step_runs_that_step_only(toy):
    toy.step("a")
    toy.step("b", reads="a")
    toy.run()
    with (toy.folder / "a" / "run.py").open("a") as file:
        file.write("# a comment\n")
    done = toy.run()
    assert toy.states() == {"a": "executed", "b": "reused"}
    assert "its code changed: changed run.py" in done.out


@pytest.mark.parametrize("damage", ["altered", "deleted"])
def test_a_damaged_artifact_is_noticed_and_made_again(damage, toy):
    toy.step("a")
    toy.step("b", reads="a")
    toy.run()
    run_id = toy.manifest()["steps"]["a"]["run_id"]
    path = Path(mlflow.get_run(run_id).info.artifact_uri.removeprefix("file://"), "out.txt")
    path.write_text("something else") if damage == "altered" else path.unlink()
    done = toy.run()
    assert toy.states() == {"a": "executed", "b": "reused"}
    assert f"out.txt of run {run_id[:8]}" in done.out


def test_a_failure_skips_what_needs_it_and_tells_how_to_continue(any_toy):
    any_toy.step("a")
    any_toy.step("bad", reads="a", parameters={"do": "fail:the input has no header"})
    any_toy.step("after_bad", reads="bad")
    any_toy.step("apart", reads="a")
    done = any_toy.run()
    assert done.code == 1
    assert any_toy.states() == {"a": "executed", "bad": "failed", "apart": "executed", "after_bad": "skipped"}
    end = done.out.split("bad failed: ")[-1]
    assert end.startswith("the input has no header")
    assert "Traceback" not in done.out + done.err
    log = next(line.split("log: ")[1] for line in end.splitlines() if "log: " in line)
    assert "the input has no header" in Path(log).read_text()
    assert done.out.strip().splitlines()[-1] == "continue with: python main.py 'steps=[bad,after_bad]'"
    statuses = {run.info.run_name: run.info.status for run in any_toy.runs()}
    assert statuses == {"pipeline": "FAILED", "a": "FINISHED", "bad": "FAILED", "apart": "FINISHED"}

    any_toy.step("bad", reads="a")
    assert any_toy.run("steps=[bad,after_bad]").code == 0
    assert any_toy.states() == {"bad": "executed", "after_bad": "executed"}


def test_a_bug_in_a_step_keeps_its_trace_in_the_log_without_our_frames(any_toy):
    any_toy.step("a", parameters={"do": "bug"})
    done = any_toy.run()
    assert done.code == 1
    assert "a failed: ZeroDivisionError: a bug" in done.out
    assert "pipeline/execution/worker.py" not in done.out


def test_a_step_killed_by_signal_9_hints_at_memory(any_toy):
    any_toy.step("a", parameters={"do": "kill"})
    (any_toy.folder / "b").mkdir()
    (any_toy.folder / "b" / "MLproject").write_text("name: b\nentry_points:\n  main:\n    command: kill -9 $$\n")
    any_toy.config["pipeline"]["b"] = {}
    any_toy.save()
    done = any_toy.run()
    assert done.code == 1
    for step in ("a", "b"):
        assert f"{step} failed: killed by the system (signal 9), most often because memory ran out" in done.out
    assert set(any_toy.statuses()) == {"FAILED"}


def test_retries_run_again_in_a_run_of_their_own(toy):
    toy.step("a", parameters={"do": f"flaky:{toy.folder}/marker"}, retries=1, retry_pause=0.1)
    assert toy.run().code == 0
    assert sorted(r.info.status for r in toy.runs() if r.info.run_name == "a") == ["FAILED", "FINISHED"]
    assert toy.manifest()["steps"]["a"]["attempts"] == 2


def test_a_timeout_ends_the_whole_process_tree(any_toy):
    any_toy.step("a", parameters={"do": "spawn:600"}, timeout=1)
    done = any_toy.run()
    assert done.code == 1
    assert "a failed: it took longer than its timeout of 1 s" in done.out
    any_toy.wait_until_gone()
    assert "RUNNING" not in any_toy.statuses()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_tree_and_leaves_no_run_running(number, any_toy):
    any_toy.step("a", parameters={"do": "spawn:600"})
    any_toy.step("b", parameters={"do": "sleep:600"})
    process = any_toy.start("max_parallel=2")
    any_toy.wait_for("b  started", process)
    any_toy.wait_for_process("sleep 600")
    any_toy.wait_until_at_work("b")
    process.send_signal(number)
    assert process.wait(timeout=HANG) == 130
    any_toy.wait_until_gone()
    assert any_toy.statuses() == ["KILLED", "KILLED", "KILLED"]


@pytest.mark.parametrize("presses", [1, 2])
def test_steps_that_ignore_every_signal_are_ended_nevertheless(presses, any_toy):
    deaf = "import signal\nfor number in (1, 2, 15):\n    signal.signal(number, signal.SIG_IGN)\n"
    for step in ("a", "b"):
        any_toy.step(step, parameters={"do": "sleep:600"})
        program = any_toy.folder / step / "run.py"
        program.write_text(deaf + program.read_text())
    process = any_toy.start("max_parallel=2")
    any_toy.wait_for("b  started", process)
    for step in ("a", "b"):
        any_toy.wait_until_at_work(step)
    for _ in range(presses):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=HANG) == 130
    print(f"ended {time.monotonic() - began:.1f} s after Ctrl-C no. {presses}")
    any_toy.wait_until_gone()
    assert "FINISHED" not in any_toy.statuses()
    any_toy.config["pipeline"] = {}
    any_toy.step("a")
    assert any_toy.run().code == 0, "and the next run repairs what was left"
    assert "RUNNING" not in any_toy.statuses()


def test_after_kill_9_the_children_die_and_the_next_run_repairs(any_toy):
    any_toy.step("a")
    any_toy.step("b", reads="a", parameters={"do": "spawn:600"})
    process = any_toy.start()
    any_toy.wait_for("b  started", process)
    any_toy.wait_for_process("sleep 600")
    process.kill()
    process.wait()
    any_toy.wait_until_gone()
    assert any_toy.statuses().count("RUNNING") == 2  # the pipeline and b: nobody was left to say otherwise

    any_toy.step("b", reads="a")
    assert any_toy.run().code == 0
    assert any_toy.states() == {"a": "reused", "b": "executed"}
    assert any_toy.statuses().count("RUNNING") == 0


def test_independent_steps_run_at_the_same_time(toy):
    for name in ("a", "b"):
        toy.step(name, parameters={"do": "sleep:1"})
    done = toy.run("max_parallel=2")
    assert states_in_order(done.out) == ["started", "started", "executed", "executed"]
    done = toy.run("max_parallel=1", "force=true")
    assert states_in_order(done.out) == ["started", "executed", "started", "executed"]


def states_in_order(out: str) -> list[str]:
    return [line.split()[2] for line in out.splitlines() if line[:2].isdigit()]


def test_several_pipelines_at_once_on_a_fresh_store_all_succeed(toy, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    toy.step("a")
    toy.step("b", reads="a")
    toy.all_succeed_at_once(AT_ONCE)
    mlflow.set_tracking_uri(uri)
    assert set(toy.statuses()) == {"FINISHED"}


def test_a_new_step_in_another_language_is_a_folder_and_a_block(toy):
    toy.step("a")
    (toy.folder / "shout").mkdir()
    (toy.folder / "shout" / "MLproject").write_text(
        "name: shout\nentry_points:\n  main:\n    parameters: {input: {type: path}}\n"
        f"    command: tr a-z A-Z < {{input}} > $TMPDIR/out.txt && {sys.executable} -m mlflow artifacts log-artifact "
        "--local-file $TMPDIR/out.txt --run-id $MLFLOW_RUN_ID\n"
    )
    toy.config["pipeline"]["shout"] = {"parameters": {"input": "${artifact:a,out.txt}"}}
    toy.config["outputs"] = ["${artifact:shout,out.txt}"]
    toy.save()
    assert toy.run().code == 0
    assert (toy.folder / "outputs" / "out.txt").read_text() == "A\n"
    toy.run()
    assert toy.states() == {"a": "reused", "shout": "reused"}


def test_a_step_from_a_git_address_runs_its_commit(toy):
    toy.step("a")
    elsewhere = toy.folder.parent / "elsewhere"
    (toy.folder / "a").rename(elsewhere)
    git = ["git", "-C", str(elsewhere), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "a step"]):
        subprocess.run([*git, *command], check=True)
    toy.config["pipeline"]["a"]["uri"] = elsewhere.as_uri()
    toy.save()
    assert toy.run().code == 0
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused"}


def test_refusals_come_all_at_once_exit_with_2_and_leave_no_run(toy):
    toy.step("a")
    toy.step("b", reads="a", parameters={"txet": "x"})
    toy.config["pipeline"]["c"] = {}
    toy.save()
    done = toy.run()
    assert done.code == 2
    assert set(filter(None, done.err.splitlines())) == {
        "error: unknown parameter 'b.txet' in b/MLproject: did you mean b.text? Valid: b.input, b.text, b.do",
        f"error: step c: there is no folder 'c' in {toy.folder}; make it, or set pipeline.c.uri",
    }
    done = toy.run("steps=b", "~pipeline.b.parameters.txet")
    assert done.code == 2
    assert "b needs a's out.txt" in done.err
    assert "add it: steps=a,b" in done.err
    assert toy.runs() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pipeline": {"a": {"parameters": {"text": "${nokey}"}}}}, "nokey"),
        ({"pipeline": {"a": {"parameters": {"text": "???"}}}}, "pipeline.a.parameters.text"),
        ({"pipeline": {"a": "x"}}, "pipeline.a is 'x', not a block of keys"),
        ({"pipeline": {"a": {"parameters": 5}}}, "pipeline.a.parameters=5"),
        ({"groups": 3}, "groups=3"),
        ({"outputs": 5}, "outputs=5"),
        ({"pipeline": 7}, "names no steps"),
    ],
)
def test_an_odd_configuration_is_refused_in_one_sentence(change, told, toy):
    toy.step("a")
    toy.config |= change
    toy.save()
    assert "Traceback" not in toy.run("steps=a", "a.do=x").err
    done = toy.run("steps=a")
    assert done.code == 2
    assert told in done.err
    assert len(done.err.splitlines()) <= 2
    assert all(line.startswith("error: ") for line in done.err.splitlines())


def test_dry_run_prints_the_plan_and_leaves_no_run(toy):
    toy.step("a")
    toy.step("b", reads="a")
    toy.run()
    before = len(toy.runs())
    done = toy.run("dry_run=true", "a.text=new")
    assert done.code == 0
    assert "parameter text a → new" in done.out
    assert "out.txt will be made again" in done.out
    assert len(toy.runs()) == before


def test_verbose_shows_what_the_steps_write(toy):
    toy.step("a")
    assert "at work in a" in toy.run("verbose=true").out
    assert "at work in a" not in toy.run("force=true").out


def test_spawn_gives_the_same_result_as_forkserver(toy):
    toy.step("a")
    toy.step("b", reads="a")
    toy.run("start_method=spawn")
    first = toy.manifest()["steps"]
    toy.run("force=true")
    second = toy.manifest()["steps"]
    assert {n: s["outputs"] for n, s in first.items()} == {n: s["outputs"] for n, s in second.items()}


def test_a_step_may_be_a_hydra_application_and_have_a_module_called_pipeline(toy):
    toy.step("a")
    code = """
import hydra, mlflow
from pipeline import GREETING

@hydra.main(config_path=None, version_base=None)
def main(config):
    with mlflow.start_run():
        mlflow.log_text(f"{GREETING} {config.name}", "out.txt")

if __name__ == "__main__":
    main()
"""
    (toy.folder / "a" / "run.py").write_text(code)
    (toy.folder / "a" / "pipeline.py").write_text("GREETING = 'hello'")
    project = toy.folder / "a" / "MLproject"
    project.write_text(project.read_text().replace("--text {text} --do {do}", "+name={text}"))
    assert toy.run().code == 0
    (run,) = [run for run in toy.runs() if run.info.run_name == "a"]
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/out.txt") == "hello a"


def test_ctrl_c_before_anything_started_is_one_line(toy):
    toy.step("a")
    process = toy.start()
    status = Path("/proc", str(process.pid), "status")
    caught = 1 << (signal.SIGTERM - 1)  # which Python leaves alone: main.py is at work from here on
    wait_until(
        lambda: int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) & caught != 0,
        lambda: "main.py never set its handlers",
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert (out, err) == ("", "interrupted before anything was started\n")
    assert toy.runs() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_the_script_server_imports_ends_it_too(number, toy):
    toy.script = LIGHT_STEP
    toy.step("a")
    process = toy.start()
    wait_until(
        lambda: any(os.getsid(child.pid) == child.pid for child in psutil.Process(process.pid).children()),
        lambda: "no script server",
    )
    process.send_signal(number)
    out, err = process.communicate(timeout=HANG)
    assert (process.returncode, out, err) == (130, "", "interrupted before anything was started\n")
    toy.wait_until_gone()
    assert toy.runs() == []


def test_a_relative_tracking_uri_means_one_database(toy, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///relative.db")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    toy.step("a")
    toy.step("b", reads="a")
    assert toy.run().code == 0
    assert [path.parent for path in toy.folder.rglob("*.db")] == [toy.folder]
    mlflow.set_tracking_uri(f"sqlite:///{toy.folder / 'relative.db'}")
    assert toy.statuses() == ["FINISHED"] * 3
