"""The notebook docs/tour.ipynb runs from top to bottom, on what the pipeline made."""

import json

import pytest

from tests.conftest import ROOT

CELLS = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
QUICK = [
    "training.model=logistic_regression",
    "training.cv_repeats=0",
    "training.plots=false",
    "evaluation.report=false",
]

# What the reader is promised, asked of the names that the cells have made.
CHECKS = """
assert "ipykernel" not in sys.modules, "plain Python is enough"
assert clean.equals(champion.table.read(Path("outputs/clean_data.csv"))) and len(clean) > 100
assert len(learned_from) + len(judged_on) == len(clean)
rows = champion.table.read(Path(mlflow.artifacts.download_artifacts(source)), target="none")
assert list(champion.predict(rows)[champion.table.target.name]) == list(scored[champion.table.target.name])
assert {"training", "inference"} <= set(runs["tags.mlflow.runName"])
print("all of it holds")
"""


def test_clean_data_and_champion_take_three_lines():
    (three,) = [code for code in CODE if "open_model" in code]
    assert len([line for line in three.splitlines() if line]) == 3


def test_nothing_that_can_age_is_kept_in_it():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


@pytest.mark.integration
def test_every_cell_runs_and_says_what_the_pipeline_said(project, run, manifest):
    assert run("python", "main.py", "to=inference", *QUICK).code == 0
    source = f"runs:/{manifest()['steps']['scoring_data']['run_id']}/clean_data.csv"
    script = "\n".join(["import os", "os.chdir('docs')", *CODE, f"source = {source!r}", CHECKS])
    done = run("python", "-c", script)
    assert done.code == 0 and "all of it holds" in done.out
