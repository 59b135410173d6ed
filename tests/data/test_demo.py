"""`make demo` tells the whole story, from broken rows to a new champion."""

import csv
import re
import subprocess

import make_sample
import pytest

from tests.pages import set_up

QUICK = "training.cv_repeats=1 training.plots=false evaluation.report=false monitoring.report=false"
QUICK += " " + QUICK.replace("training", "retraining").replace("evaluation", "reevaluation").rpartition(" ")[0]


@pytest.mark.integration
def test_the_demo_leads_from_broken_rows_to_a_new_champion(project, manifest):
    set_up(project)
    done = subprocess.run(["make", "demo", f"ARGS={QUICK}"], cwd=project, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    story = done.stdout.partition("What happened")[2]
    reasons = re.findall(r"line (\d+): (\w+)$", story, re.MULTILINE)
    assert len({reason for _, reason in reasons}) >= len(make_sample.BROKEN), "each row has a reason of its own"
    # A row of the frame is two lines further down in the file, whose first line is the header.
    assert {int(line) for line, _ in reasons} >= {row + 2 for row in make_sample.BROKEN}
    assert re.search(r"version 1 .* passed and is champion now\.\n3\. .*Drift: Age, .*accuracy", story)
    assert re.search(r"4\. .*version 2 .* passed and is champion now, after version 1\.\n5\. ", story)
    steps = manifest()["steps"]
    assert {step["state"] for step in steps.values()} == {"executed"}
    report = (project / "outputs" / "report.html").read_text()
    assert all(steps[name]["note"] in report for name in ("evaluation", "monitoring", "reevaluation"))
    with (project / "outputs" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 400
    assert not (project / "mlflow.db").exists(), "what the user has recorded is left alone"
