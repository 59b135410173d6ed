"""`clean`: what is old and nothing refers to goes, with its files; a champion's lineage never does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Param, ViewType

from pipeline.cli.commands import answer
from pipeline.execution import disposal, mlflow_internals
from pipeline.tracking import retention
from pipeline.tracking.liveness import this_process
from pipeline.tracking.store import local_path

DAY = 86_400_000
STEP_TAGS = {"pipeline.process": "gone 1 1", "pipeline.state": "executed"}


@pytest.fixture
def past(store, tmp_path, monkeypatch):
    """A store whose runs a test makes, each so many days old, with a file of 1,000 bytes."""
    monkeypatch.setattr(sys, "argv", ["main.py"])
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "envs"))
    (tmp_path / "config.yaml").write_text("steps: all\npipeline: {a: null}\n")
    return Past(tmp_path)


class Past:
    def __init__(self, folder: Path):
        self.folder, self.client = folder, mlflow.MlflowClient()
        self.experiment = self.client.get_experiment_by_name("test").experiment_id

    def run(self, days: float, tags: dict[str, str], parameters=None, status="FINISHED", experiment=None) -> str:
        then = int(time.time() * 1000 - days * DAY)
        run = self.client.create_run(experiment or self.experiment, start_time=then, tags=tags)
        params = [Param(name, value) for name, value in (parameters or {}).items()]
        self.client.log_batch(run.info.run_id, params=params)
        self.client.log_text(run.info.run_id, "x" * 1000, "out.txt")
        if status != "RUNNING":
            self.client.set_terminated(run.info.run_id, status, end_time=then)
        return run.info.run_id

    def step(self, name: str, days: float, reads: str = "", **more) -> str:
        parameters = {"input": f"runs:/{reads}/out.txt"} if reads else {}
        state = {} if more.get("status") in (None, "FINISHED") else {"pipeline.state": "failed"}
        return self.run(days, STEP_TAGS | state | {"pipeline.step": name} | more.pop("tags", {}), parameters, **more)

    def pipeline(self, days: float, *steps: str, **more) -> str:
        run_id = self.run(days, {"pipeline.process": "gone 1 1", "pipeline.steps": "a"}, **more)
        manifest = {"steps": {str(n): {"run_id": step} for n, step in enumerate(steps)}}
        self.client.log_text(run_id, json.dumps(manifest), "manifest.json")
        return run_id

    def model(self, run_id: str, name: str = "m") -> mlflow.entities.model_registry.ModelVersion:
        """A version of a registered model that the run made, with a file of 1,000 bytes."""
        logged = self.client.create_logged_model(self.experiment, name, source_run_id=run_id)
        place = local_path(logged.artifact_location)
        place.mkdir(parents=True)
        (place / "model.skops").write_text("x" * 1000)
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        return self.client.create_model_version(name, f"models:/{logged.model_id}", run_id=run_id)

    def clean(self, *operands: str) -> int:
        return answer(self.folder, "clean", [*operands] or ["--keep", "90d"])

    def there(self) -> set[str]:
        """The runs that the store still knows, those marked deleted as well."""
        found = self.client.search_runs([self.experiment], run_view_type=ViewType.ALL)
        return {run.info.run_id for run in found}

    def folders(self) -> set[str]:
        return {path.parent.parent.name for path in (self.folder / "artifacts").glob("*/artifacts/out.txt")}


def test_what_is_old_and_nothing_refers_to_goes_with_its_files(past):
    old = past.step("a", 200)
    failed = past.step("a", 150, status="FAILED")
    before = past.pipeline(200, old)
    latest, young = past.step("a", 100), past.step("a", 1, status="KILLED")
    last = past.pipeline(100, latest)
    assert past.clean() == 0
    assert past.there() == past.folders() == {latest, young, last}
    assert not {old, failed, before} & {path.name for path in (past.folder / "artifacts").iterdir()}, "no empty folders"
    assert past.clean() == 0
    assert past.there() == {latest, young, last}


def test_a_champions_lineage_never_goes(past):
    data = past.step("download", 400)
    clean = past.step("clean", 400, reads=data)
    root = past.run(400, {"pipeline.process": "gone 1 1", "pipeline.steps": "a"})
    trained = past.step("train", 400, reads=clean, tags={"mlflow.parentRunId": root})
    below = past.run(400, {"mlflow.parentRunId": trained})  # which the step started
    version, judged = past.model(trained), past.step("judge", 399)
    past.client.set_registered_model_alias("m", "champion", version.version)
    past.client.set_model_version_tag("m", version.version, "verdict.run_id", judged)
    for days in (300, 200):  # later ones, of which the latest stay as well
        other = past.step("judge", days, reads=past.step("train", days, reads=past.step("clean", days)))
        past.step("download", days)
    assert past.clean("--keep", "0d") == 0
    assert {data, clean, root, trained, below, judged, other} <= past.there()
    assert len(past.there()) == 6 + 4
    assert local_path(past.client.get_logged_model(version.source.removeprefix("models:/")).artifact_location).is_dir()


def test_whom_a_champion_can_be_rolled_back_to_stays_and_the_files_of_other_versions_go(past):
    runs = [past.step("train", days) for days in (500, 400, 300, 200)]
    first, second, third, _ = (past.model(run) for run in runs)
    past.client.set_registered_model_alias("m", "champion", third.version)
    past.client.set_model_version_tag("m", third.version, "predecessor", first.version)
    past.client.set_model_version_tag("m", second.version, "judged.0123", "true")
    assert past.clean() == 0
    assert past.there() == {runs[0], runs[2], runs[3]}, "the last is the latest good run"
    gone = past.client.get_model_version("m", second.version)
    assert gone.tags == {"judged.0123": "true", "files_removed": time.strftime("%Y-%m-%d")}, "its history stays"
    assert len(past.client.search_logged_models([past.experiment])) == 3
    assert len(list((past.folder / "artifacts" / "models").iterdir())) == 3


def test_what_a_young_pipeline_run_reused_stays(past):
    other, reused = past.step("a", 300), past.step("a", 200)
    latest, unused = past.step("a", 150), past.step("a", 160)
    young = past.pipeline(2, reused)
    assert past.clean() == 0
    assert past.there() == {reused, latest, young}
    assert not {other, unused} & past.folders()


def test_what_no_pipeline_made_and_what_it_or_another_experiment_refers_to_stays(past):
    theirs, used, elsewhere_used = past.run(400, {}), past.step("a", 400), past.step("a", 390)
    past.run(400, {}, {"model": f"runs:/{used}/out.txt"})
    elsewhere = past.client.create_experiment("elsewhere", artifact_location=(past.folder / "elsewhere").as_uri())
    past.run(400, STEP_TAGS, {"data": f"runs:/{elsewhere_used}/out.txt"}, experiment=elsewhere)
    pinned, latest = past.step("a", 380, tags={"keep": "for the paper"}), past.step("a", 100)
    past.step("a", 370)
    assert past.clean() == 0
    assert {theirs, used, elsewhere_used, pinned, latest} < past.there()
    assert len(past.there()) == 6
    assert len(past.client.search_runs([elsewhere])) == 1


def test_a_dry_run_says_what_would_go_with_sizes_and_why_the_rest_stays(past, capsys):
    old = past.step("a", 200)
    past.model(old)
    past.step("a", 100), past.step("a", 1, status="FAILED"), past.run(300, {})
    assert past.clean("--keep=90d", "dry_run=true") == 0
    said = capsys.readouterr().out
    assert "would be removed: 1 runs of 4" in said
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 200 * 86400))
    assert ["a", "1", day, day, "2.0", "kB"] in [line.split() for line in said.splitlines()]
    assert "the latest good run of its step, or needed for it  1" in said
    assert "made by no pipeline, or used by such a run         1" in said
    assert said.endswith("nothing was removed: dry_run=true\n")
    assert len(past.there()) == 4 and old in past.folders()


def test_nothing_is_removed_while_a_pipeline_runs_and_what_a_dead_one_left_does_not_count(past, capsys):
    old, _ = past.step("a", 200), past.step("a", 100)
    dead = past.run(120, {"pipeline.steps": "a", "pipeline.process": f"{this_process()}0"}, status="RUNNING")
    assert past.clean() == 0
    assert old not in past.there()
    assert past.client.get_run(dead).info.status == "KILLED"
    older = past.step("a", 200)
    running = past.run(1, {"pipeline.steps": "a", "pipeline.process": this_process()}, status="RUNNING")
    assert past.clean() == 2
    assert f"pipeline run {running[:8]} is running" in capsys.readouterr().err
    assert older in past.there()


def test_a_clean_up_that_was_interrupted_is_finished_by_the_next(past, monkeypatch):
    old, _ = past.step("a", 200), past.step("a", 100)
    past.model(old)

    def interrupted(found: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(disposal, "purge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            past.clean()
    assert old in past.there() and old in past.folders()
    assert past.clean() == 0
    assert old not in past.there() | past.folders()
    assert not past.client.search_logged_models([past.experiment])


def test_a_run_that_another_one_marked_deleted_is_looked_at_like_others(past):
    upstream = past.step("a", 400)
    latest = past.step("b", 300, reads=upstream)
    forgotten = past.step("a", 350)
    for run_id in (upstream, forgotten):
        past.client.delete_run(run_id)
    past.client.delete_experiment(past.client.create_experiment("by hand"))
    assert past.clean() == 0
    assert past.there() == {upstream, latest}
    assert past.client.get_experiment_by_name("by hand"), "marked by somebody else: not ours to purge"


@pytest.mark.parametrize(
    "operands", [["--keep", "90"], ["--keep"], ["90d"], ["--keep", "-1d"], ["--keep", "1d", "now"]]
)
def test_an_age_that_is_none_is_refused(past, operands, capsys):
    assert past.clean(*operands) == 2
    assert "is not an age, such as --keep 90d or --keep 12h" in capsys.readouterr().err


def test_environments_that_no_step_has_and_nobody_used_go(past, tmp_path, capsys):
    envs = tmp_path / "envs"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "MLproject").write_text("name: a\nconda_env: conda.yml\nentry_points: {}\n")
    (tmp_path / "a" / "conda.yml").write_text("dependencies: [python=3.11, pip, {pip: [six==1.17.0]}]\n")
    needed = mlflow_internals.environment_of(str(tmp_path / "a"))[1]
    names = ("old", "used", "started", "running", "foreign")
    old, used, started, running, foreign = (envs / f"mlflow-{name}" for name in names)
    for place in (needed, old, used, started, running, foreign):
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "data").write_text("x" * 1000)
        if place != foreign:
            lock = Path(f"{place}.lock")
            lock.touch()
            os.utime(lock, (1, 1) if place != used else None)
    (started / "pyvenv.cfg").write_text("read by each Python that starts")
    (running / "bin" / "sleep").symlink_to("/bin/sleep")
    process = subprocess.Popen([str(running / "bin" / "sleep"), "60"])
    try:
        assert past.clean() == 0
    finally:
        process.kill()
        process.wait()
    said = capsys.readouterr().out
    assert f"removed: 1 environments of 5, 1.0 kB\n  {old}  1.0 kB\n" in said
    assert not old.exists()
    assert all(place.is_dir() for place in (needed, used, started, running, foreign))
    assert not list(envs.glob("*.building"))


def test_what_refers_to_what_is_read_from_any_text():
    run, model = "0123456789abcdef" * 2, "m-" + "fedcba9876543210" * 2
    found = retention.REFERENCE.findall(f"'runs:/{run}/x' models:/{model} models:/a b/12\nsha256 {run}{run}")
    assert found == [run, model, "models:/a b/12"]
