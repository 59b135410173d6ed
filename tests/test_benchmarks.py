"""The benchmarks' own doing: the work that is compared, and the file that holds the results."""

import csv
import subprocess
import sys

import mlflow

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"


def in_benchmarks(program: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], cwd=BENCHMARKS, check=True)


def test_the_floor_answers_for_every_passenger(tmp_path):
    sample = ROOT / "data" / "titanic_sample.csv"
    command = [sys.executable, str(BENCHMARKS / "floor.py"), str(sample), str(tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.startswith("accuracy 0.")
    with sample.open() as file, (tmp_path / "predictions.csv").open() as predictions:
        asked, answered = list(csv.DictReader(file)), list(csv.DictReader(predictions))
    assert [row["PassengerId"] for row in answered] == [row["PassengerId"] for row in asked]


def test_results_replace_their_own_section_only(tmp_path):
    file = tmp_path / "RESULTS.md"
    for name, text in (("a", "old"), ("b", "stays"), ("a", r"new \1")):
        in_benchmarks(
            "import results, sys, pathlib; results.write_section(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))",
            name,
            text,
            file,
        )
    written = file.read_text()
    assert "old" not in written
    assert written.index(r"new \1") < written.index("stays")


def test_a_history_is_finished_runs_with_fingerprints_of_their_own(store):
    client = mlflow.MlflowClient()
    run = client.create_run("0", tags={"pipeline.fingerprint": "first", "pipeline.step": "a"})
    client.set_terminated(run.info.run_id)
    program = "import scale, sys, pathlib; scale.add_history(pathlib.Path(sys.argv[1]), 5)"
    in_benchmarks(program, store.removeprefix("sqlite:///"))
    runs = client.search_runs(["0"], "attributes.status = 'FINISHED' and tags.`pipeline.step` = 'a'")
    assert len(runs) == len({run.data.tags["pipeline.fingerprint"] for run in runs}) == 6
    assert runs[0].info.run_id == run.info.run_id  # the newest
