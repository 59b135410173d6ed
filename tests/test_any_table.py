"""Three tables that are not the Titanic: declared, trained on, scored, served, watched, retrained, rolled back.

Nothing of the project changes for it but dataset.yaml and two lines of config.yaml.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from declaration import read_declaration
from predictions import METRICS, probability_columns
from saved_model import open_model
from table import REGRESSION, Table

from tests import messy_tables

pytestmark = pytest.mark.integration
QUICK = ["training.cv_repeats=0", "training.plots=false", "evaluation.report=false", "monitoring.report=false"]
QUICK += ["training.n_estimators=40", "retraining.n_estimators=40"]
LENIENT = ["reevaluation.tolerance=1", "reevaluation.min_compared=10", "reevaluation.accept_change=true"]
QUICK += [part.replace("training.", "retraining.") for part in QUICK[:2]] + ["reevaluation.report=false"]


def raw(name: str, path: Path) -> pd.DataFrame:
    """The messy file as text, column by column."""
    separator = {"cancer": ";", "wine": "\t", "diabetes": ","}[name]
    frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return frame[frame[messy_tables.TARGETS[name]] != ""]


def drifted(name: str, frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """New rows of the same kind, in which a column has moved."""
    column = {"cancer": "mean_radius", "wine": "alcohol", "diabetes": "bmi"}[name]
    numbers = frame[column].str.replace(",", ".").astype(float)
    texts = (numbers + numbers.std()).round(3).astype(str)
    frame[column] = texts.str.replace(
        ".", table.by_name[column].decimal_char or "."
    )  # as in the file that was declared
    if table.has_key:
        start = 10_000
        text = table.key.type == "string"
        frame[table.key.name] = [f"N{start + n}" if text else str(start + n) for n in range(len(frame))]
    return frame


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
def test_another_table_goes_the_whole_way_with_two_files_changed(run, project, manifest, name, tmp_path):
    def pipeline(*settings: str) -> tuple[int, dict, str]:
        done = run("python", "main.py", *settings, *QUICK)
        return done.code, manifest()["steps"], done.out

    commit(project)
    csv = messy_tables.write(name, tmp_path / f"{name}.csv")
    target = messy_tables.TARGETS[name]
    done = run("python", "-m", "scaffold.new_dataset", str(csv), target)
    assert done.code == 0, done.err
    changed = git(project, "status", "--porcelain").split("\n")
    assert sorted(line[3:] for line in changed if line) == ["config.yaml", "dataset.yaml"]
    assert git(project, "diff", "--numstat", "config.yaml").split("\t")[:2] == ["2", "2"]

    table = read_declaration(project / "dataset.yaml")
    code, steps, out = pipeline()
    assert code == 0, out
    first = METRICS[table.task][0]
    assert steps["training"]["metrics"][first] > {"cancer": 0.85, "wine": 0.85, "diabetes": 0.2}[name]
    assert steps["evaluation"]["metrics"]["promoted"] == 1
    assert steps["monitoring"]["metrics"]["drift_detected"] == 0

    frame = raw(name, csv)
    predictions = pd.read_csv(project / "outputs" / "predictions.csv", dtype={table.key.name: str})
    expected = [table.key.name, table.target.name, *probability_columns(table)]
    assert list(predictions)[: len(expected)] == expected
    lines = len(csv.read_text(encoding="utf-8-sig").splitlines()) - 1
    assert len(predictions) == lines, "a row that cannot be scored stands in its place"
    if name == "diabetes":
        assert predictions["error"].iloc[-1] == "ragged" and predictions[target].isna().sum() == 1

    served(project, table)
    retrained(pipeline, name, frame, table, tmp_path)
    done = run("mlflow", "run", "evaluation", "--env-manager", "local", "-e", "rollback", "-P", "reason=a test")
    assert done.code == 0, done.err
    assert champion(table) == "1"


def retrained(pipeline, name: str, frame: pd.DataFrame, table: Table, folder: Path) -> None:
    """Drift raises the flag, and with known outcomes a challenger is trained on all that there is, and judged."""
    new = pd.concat([drifted(name, frame.copy(), table) for _ in range(3 if name == "wine" else 1)])
    if table.has_key:
        new = new.drop_duplicates(table.key.name)
    labels = new[[table.key.name, table.target.name]] if table.has_key else None
    arrived, known = folder / "arrived.csv", folder / "known.csv"
    (new if labels is None else new.drop(columns=table.target.name)).to_csv(arrived, index=False)
    settings = ["steps=retrain", f"current={arrived}"]
    if labels is not None:
        labels.to_csv(known, index=False)
        settings.append(f"labels={known}")
    # How much better it must be is for other tests: here any that passes the gate is to become champion.
    code, steps, out = pipeline(*settings, *LENIENT)
    assert code == 0, out
    assert steps["monitoring"]["metrics"]["drift_detected"] == 1
    assert steps["new_data"]["metrics"]["rows_new"] == len(new)
    assert steps["reevaluation"]["state"] == "executed"
    assert champion(table) == "2", out
    assert steps["rescoring"]["state"] == "executed"


def served(project: Path, table: Table) -> None:
    """The champion answers over HTTP, and says what is wrong with a request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "run", "inference", "-e", "serve", "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [*command, "-P", f"port={port}"], cwd=project, start_new_session=True, env=os.environ | {"PATH": path}
    )
    try:
        for _ in range(300):
            time.sleep(0.2)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                break
            except OSError:
                continue
        model = open_model(f"models:/{table.name}@champion")
        rows = table.read(project / "outputs" / "clean_data.csv").head(3)
        record = json.loads(rows[list(model.columns)].to_json(orient="records"))
        request = json.dumps({"dataframe_records": record}).encode()
        answer = ask(port, request)
        said = [row[table.target.name] for row in answer["predictions"]]
        expected = model.predict(rows)[table.target.name].tolist()
        assert said == (pytest.approx(expected) if table.task == REGRESSION else expected)
        broken = [{**record[0], model.columns[0]: "a lot"}]
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(port, json.dumps({"dataframe_records": broken}).encode())
        assert error.value.code == 400
        assert f"{model.columns[0]}_not_a_number" in json.load(error.value)["message"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def ask(port: int, body: bytes) -> dict:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, headers)
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def champion(table: Table) -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias(table.name, "champion").version)


def commit(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "as cloned")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout
