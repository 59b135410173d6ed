"""The shipped pipeline from end to end, as a user starts it: what came out, not just that it ended."""

import re
import subprocess
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from scaffold.locks import locked
from tests.conftest import ROOT, served_folder

pytestmark = pytest.mark.integration
QUICK = "training.cv_repeats=0 training.plots=false evaluation.report=false monitoring.report=false"
CLEAN = {"input": "clean_data.csv", "dataset": "datapackage.json"}
STEPS = "data_download,data_cleaning,training,evaluation,scoring_data,inference,monitoring"


@pytest.fixture
def served(passenger_list: Path):
    """The list's address on loopback."""
    with served_folder(passenger_list.parent) as address:
        yield f"{address}/{passenger_list.name}"


def by_name() -> dict:
    newest_first = mlflow.search_runs(search_all_experiments=True, output_format="list")
    return {run.info.run_name: run for run in reversed(newest_first)}


def test_mlflow_run_does_everything_and_the_second_time_nothing(run, project, manifest):
    command = ("mlflow", "run", ".", "--env-manager", "local", "-P", f"steps={STEPS}", "-P", f"overrides={QUICK}")
    assert run(*command).code == 0
    assert {n: s["state"] for n, s in manifest()["steps"].items()} == dict.fromkeys(STEPS.split(","), "executed")

    runs = by_name()
    (parent,) = [run for run in runs.values() if "pipeline.steps" in run.data.tags]
    assert parent.info.run_name.startswith("training.cv_repeats=0 training.plots=false "), "what was asked for"
    children = [runs[name] for name in STEPS.split(",")]
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}
    assert {r.info.status for r in (parent, *children)} == {"FINISHED"}
    download, cleaning, training, evaluation, scoring, inference, monitoring = children
    assert cleaning.data.params["input"] == f"runs:/{download.info.run_id}/data.csv"
    assert training.data.params["input"] == f"runs:/{cleaning.info.run_id}/clean_data.csv"
    assert cleaning.data.metrics["rows_out"] == 900
    assert 0.7 < training.data.metrics["accuracy"] < 1
    assert evaluation.data.tags["verdict"] == "promoted"
    assert inference.data.params["input"] == f"runs:/{scoring.info.run_id}/clean_data.csv"
    assert inference.data.params["model"] == "models:/titanic/1"
    assert inference.data.metrics["rows"] == 200
    assert monitoring.data.metrics["drift_detected"] == 0

    predictions = pd.read_csv(project / "outputs" / "predictions.csv")
    passengers = pd.read_csv(project / "data" / "passengers_to_score.csv")
    assert list(predictions.columns) == ["PassengerId", "Survived", "probability"]
    assert predictions["PassengerId"].tolist() == passengers["PassengerId"].tolist()
    assert predictions["probability"].between(0, 1).all()
    assert len(pd.read_csv(project / "outputs" / "clean_data.csv")) == 900
    shipped = (project / "data" / "titanic_sample.csv").read_bytes()
    assert (project / "outputs" / "data.csv").read_bytes() == shipped

    first = manifest()["steps"]
    assert run(*command).code == 0
    second = manifest()["steps"]
    assert {s["state"] for s in second.values()} == {"reused"}
    assert [s["run_id"] for s in second.values()] == [s["run_id"] for s in first.values()]
    assert [s["outputs"] for s in second.values()] == [s["outputs"] for s in first.values()]


def test_mlflow_run_of_two_steps_runs_exactly_these(run, manifest, served, passenger_list):
    steps = ("-P", "steps=data_cleaning, data_download")
    done = run("mlflow", "run", ".", "--env-manager", "local", *steps, "-P", f"data_url={served}")
    assert done.code == 0
    assert {n: s["state"] for n, s in manifest()["steps"].items()} == {
        "data_download": "executed",
        "data_cleaning": "executed",
    }
    assert manifest()["steps"]["data_cleaning"]["metrics"]["rows_out"] == len(pd.read_csv(passenger_list))


def test_a_list_over_http_goes_through_all_steps(run, manifest, served, passenger_list):
    quoted = f"data_url='{served}'"
    assert run("python", "main.py", quoted).code == 0
    steps = manifest()["steps"]
    rows = pd.read_csv(passenger_list)
    assert steps["data_cleaning"]["metrics"]["rows_out"] == len(rows)
    assert steps["training"]["metrics"]["accuracy"] >= 0.78

    assert run("python", "main.py", quoted, "steps=data_download,data_cleaning", "data_cleaning.missing=drop").code == 0
    assert manifest()["steps"]["data_cleaning"]["metrics"]["rows_out"] == len(rows.dropna())
    assert manifest()["steps"]["data_download"]["state"] == "executed"  # a remote address is always asked again


def test_a_component_alone_makes_the_same_bytes_as_in_the_pipeline(run, manifest, passenger_list, mlflow_run):
    assert run("python", "main.py", f"data_url={passenger_list}", f"steps={STEPS}", *QUICK.split()).code == 0
    steps = manifest()["steps"]

    def same(name: str, output: str, **parameters: str) -> None:
        done = mlflow_run(name, **parameters)
        assert done.code == 0
        inside = Path(mlflow.artifacts.download_artifacts(f"runs:/{steps[name]['run_id']}/{output}")).read_bytes()
        assert done.artifact(output).read_bytes() == inside

    made = {name: f"runs:/{step['run_id']}" for name, step in steps.items()}
    same("data_download", "data.csv", data_url=str(passenger_list))
    dataset = str(ROOT / "dataset.yaml")
    same("data_cleaning", "clean_data.csv", input=f"{made['data_download']}/data.csv", dataset=dataset)
    clean = {name: f"{made['data_cleaning']}/{file}" for name, file in CLEAN.items()}
    same("training", "model/model.skops", **clean, cv_repeats="0", plots="false")
    passengers = str(ROOT / "data" / "passengers_to_score.csv")
    same("inference", "predictions.csv", model=f"{made['training']}/model", input=passengers)


def test_overrides_reach_the_steps_through_mlflow_run(run):
    overrides = "overrides=data_cleaning.missing=drop training.model=random_forest dry_run=true"
    done = run("mlflow", "run", ".", "--env-manager", "local", "-P", overrides)
    assert done.code == 0
    assert "data_cleaning  execute" in done.out
    assert set(by_name()) == {"pipeline"} or len(by_name()) == 1, "a dry run makes no run but the one of `mlflow run`"


def test_a_typo_is_one_sentence(run):
    done = run("mlflow", "run", ".", "--env-manager", "local", "-P", "steps=data_download,trainning")
    assert done.code != 0
    assert "error: unknown step 'trainning': did you mean training?" in done.err
    assert "Traceback" not in done.err
    done = run("python", "main.py", "training.modell=random_forest")
    assert done.code == 2
    assert "did you mean training.model?" in done.err


def test_the_environment_manager_of_the_root_is_the_steps(run, project):
    """Shown with `uv` and a step whose environment is tiny; conda cannot be run where this was written."""
    (project / "where").mkdir()
    (project / "where" / "MLproject").write_text(
        "name: where\nconda_env: conda.yml\nentry_points:\n  main:\n    command: which python\n"
    )
    (project / "where" / "conda.yml").write_text(
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n      - six==1.17.0\n"
    )
    config = (project / "config.yaml").read_text()
    (project / "config.yaml").write_text(config.replace("pipeline:\n", "pipeline:\n  where: {}\n", 1))
    for manager, told in (("uv", "uv"), ("local", "")):
        done = run("python", "main.py", "steps=where", f"env_manager={manager}", "verbose=true")
        assert done.code == 0
        where = next(line for line in done.out.splitlines() if line.endswith("bin/python"))
        assert ("/envs/mlflow-" in where) == (manager == "uv")
        assert by_name()["where"].data.tags.get("mlflow.project.env", "") == told


def test_a_step_is_installed_from_its_lock_alone_and_from_no_other_bytes(run, project, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    command = (
        "mlflow",
        "run",
        "data_download",
        "--env-manager",
        "uv",
        "-P",
        f"data_url={project}/data/titanic_sample.csv",
    )
    lock = project / "data_download" / "requirements.lock"
    right = lock.read_text()
    lock.write_text(re.sub(r"(numpy==\S+ )(\\\s+--hash=sha256:\w+\s+)+", rf"\g<1>--hash=sha256:{'0' * 64}\n", right))
    assert lock.read_text().count("0" * 64) == 1
    done = run(*command)
    assert done.code != 0
    assert "Hash mismatch for `numpy==" in done.err

    lock.write_text(right)
    assert run(*command).code == 0
    (environment,) = (tmp_path / "environments").glob("mlflow-*/bin/python")
    frozen = subprocess.run(
        ["uv", "pip", "freeze", "--python", environment], capture_output=True, text=True, check=True
    )
    assert set(frozen.stdout.split()) - locked(right) <= {line for line in frozen.stdout.split() if "pip==" in line}
