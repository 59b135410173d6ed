"""Versions of the data: listed with what was trained on them, and any of them can be worked with again."""

import csv
import hashlib
import io
from pathlib import Path

import pytest
from data_versions import ProducingRun, TrainedModel, format_table, versions
from make_sample import passengers, write

from tests.conftest import ROOT

RAW, CLEAN, GROWN = (hashlib.sha256(name.encode()).hexdigest() for name in ("raw", "clean", "grown"))

QUICK = ["training.cv_repeats=0", "training.plots=false", "training.model=logistic_regression"]


def producing_runs() -> list[ProducingRun]:
    return [
        ProducingRun(RAW, "data.csv", "runs:/a/data.csv", "2024-01-01T00:00:00Z", 5, "https://example.org/list.csv"),
        ProducingRun(CLEAN, "clean_data.csv", "runs:/b/clean_data.csv", "2024-01-02T00:00:00Z", 4,
               inputs={RAW[:32]: "runs:/a/data.csv"}),
        ProducingRun(GROWN, "clean_data.csv", "runs:/c/clean_data.csv", "2024-01-03T00:00:00Z", 6,
               inputs={CLEAN[:32]: "runs:/b/clean_data.csv", "f" * 32: "/in/labels.csv"}),
    ]  # fmt: skip


def test_a_version_names_its_source_through_all_steps_and_the_models_of_all_that_was_made_of_it():
    models = [TrainedModel("titanic", "10", GROWN, ("champion",)), TrainedModel("titanic", "9", CLEAN)]
    raw, clean, grown = versions(reversed(producing_runs()), models)
    assert (raw["rows"], raw["source"], raw["models"]) == (
        "5", "https://example.org/list.csv", "titanic 9, titanic 10 @champion",
    )  # fmt: skip
    assert (clean["source"], clean["models"]) == (raw["source"], raw["models"])
    assert grown["source"] == "https://example.org/list.csv + /in/labels.csv"
    assert grown["models"] == "titanic 10 @champion"
    assert grown["uri"] == "runs:/c/clean_data.csv"


def test_the_same_content_is_one_version_however_often_it_is_made():
    again = ProducingRun(RAW, "data.csv", "runs:/z/data.csv", "2025-01-01T00:00:00Z", 5, "https://example.net/copy.csv")
    (row,) = versions([again, producing_runs()[0]], [])
    assert (row["when"], row["uri"]) == ("2024-01-01T00:00:00Z", "runs:/z/data.csv")
    assert row["source"] == "https://example.org/list.csv + https://example.net/copy.csv"


def test_a_list_that_was_clean_already_is_its_own_ancestor_and_that_is_no_circle():
    same = ProducingRun(
        RAW, "clean_data.csv", "runs:/b/clean_data.csv", "2024-01-02T00:00:00Z", 5, inputs={RAW[:32]: "x"}
    )
    (row,) = versions([producing_runs()[0], same], [TrainedModel("titanic", "1", RAW)])
    assert (row["file"], row["models"]) == ("data.csv, clean_data.csv", "titanic 1")


def test_the_table_has_a_line_for_each_version():
    lines = format_table(versions(producing_runs(), [])).splitlines()
    assert lines[0].split()[:3] == ["sha256", "when", "rows"]
    assert [line.split()[0] for line in lines[1:]] == [RAW[:12], CLEAN[:12], GROWN[:12]]


@pytest.mark.integration
def test_an_old_version_is_listed_and_can_be_worked_with_again(run, manifest, mlflow_run, tmp_path: Path):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    for seed, path in enumerate((first, second)):
        write(passengers(200, seed=seed), path)
        path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")  # a duplicate: cleaning does work
    steps = {}
    for path in (first, second):
        done = run("python", "main.py", f"data_url={path}", "steps=data_download,data_cleaning,training", *QUICK)
        assert done.code == 0
        steps[path] = manifest()["steps"]

    done = mlflow_run("data_download", "-e", "history")
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO(done.artifact("data_history.csv").read_text())))
    assert [(row["rows"], row["file"], row["models"], row["source"]) for row in rows] == [
        ("201", "data.csv", "titanic 1", str(first)),
        ("200", "clean_data.csv", "titanic 1", str(first)),
        ("201", "data.csv", "titanic 2", str(second)),
        ("200", "clean_data.csv", "titanic 2", str(second)),
    ]
    assert rows[0]["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert rows[0]["uri"] == f"runs:/{steps[first]['data_download']['run_id']}/data.csv"
    assert all(row["sha256"][:12] in done.out for row in rows)

    done = mlflow_run("data_cleaning", input=rows[0]["uri"], dataset=ROOT / "dataset.yaml")
    assert done.code == 0 and done.run.data.tags["data.sha256"] == rows[1]["sha256"]

    old = f"data_cleaning.input={rows[0]['uri']}"
    assert run("python", "main.py", old, "steps=[data_cleaning,training]", *QUICK).code == 0
    training = manifest()["steps"]["training"]
    assert training["state"] == "reused", "the bytes are those of then, so the model is there already"
    assert training["run_id"] == steps[first]["training"]["run_id"]
