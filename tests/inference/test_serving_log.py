"""What a server keeps of its answers, and what comes of it: pieces, a list like any other, a comparison of versions."""

import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from batch_scoring import in_canary, score_file
from saved_model import open_model
from serving_batches import Job, Models, Part, score
from serving_live import OtherModel
from serving_log import ServedLog, asked_columns, header
from serving_settings import Settings, prepare_log
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import register_model, rows, save_model, table
from tests.inference.in_process import Client, running
from tests.step_programs import run_program

TASKS = (BINARY, MULTICLASS, REGRESSION)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[tuple[str, int], Path]:
    """Two models of each task."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for task in TASKS:
        for seed in (0, 1):
            of = made[task, seed] = save_model(folder / f"{task}-{seed}", table(task), rows(task, seed=seed), seed)
            note = f"model_name: orders\nmodel_version: {seed + 1}\n"  # as a download from the registry has it
            (of / "registered_model_meta").write_text(note)
    return made


def records(task: str, count: int, seed: int = 5) -> list[dict]:
    """Orders as a client sends them: without the target, with a column of its own."""
    frame = rows(task, count, seed).drop(columns=table(task).target.name).assign(own="not declared")
    frame["returned"] = frame["returned"].astype(bool)
    return json.loads(frame.to_json(orient="records"))


def lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def read(folder: Path) -> list[dict[str, str]]:
    return [row for path in sorted(folder.glob("*.csv")) for row in lines(path)]


def served(log: Path, model: Path, tmp_path: Path, **parameters: object) -> tuple[Path, mlflow.entities.Run]:
    """The outputs of `inference -e served`."""
    assert run_program("inference", "served", log=log, model=model, **parameters) == 0
    run = mlflow.search_runs(output_format="list")[0]
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id)), run


@pytest.mark.parametrize("task", TASKS)
def test_what_is_answered_is_kept_and_becomes_a_list_and_its_predictions(store, folders, tmp_path, task):
    model, log, sent = open_model(folders[task, 0]), tmp_path / "log", records(task, 7)
    prepare_log(str(log))
    with running(model, Settings(log=str(log), log_rows=5)) as port:
        client = Client(port)
        answers = client.ask({"inputs": sent})[1]["predictions"]
        for size in (3, 4):  # asked again, as it is now
            again = client.ask({"inputs": sent[0] | {"size": size}})[1]["predictions"]
        assert client.ask({"inputs": {"size": 1, "colour": "red", "returned": True}})[1]["message"] == (
            "row 1: missing fields: order"
        )
        assert client.ask({"inputs": [sent[1], sent[2] | {"colour": "mauve"}]})[0] == 400
    pieces = sorted(log.iterdir())
    sizes = [len(lines(path)) for path in pieces]
    assert sizes[0] == max(sizes) == 5 and sum(sizes) == 9
    assert pieces[0].read_text().splitlines()[0].split(",") == header(model.table)
    assert "not declared" not in "".join(path.read_text() for path in pieces)
    kept = read(log)
    assert [row["order"] for row in kept] == [row["order"] for row in [*sent, sent[0], sent[0]]]
    assert {row["served_model_version"] for row in kept} == {model.label}
    folder, run = served(log, model.folder, tmp_path)
    current, predictions = (pd.read_csv(folder / name, dtype=str) for name in ("current.csv", "predictions.csv"))
    assert current["order"].tolist() == predictions["order"].tolist() == [one["order"] for one in [*sent[1:], sent[0]]]
    assert float(current["size"].iloc[-1]) == 4
    assert not {model.table.target.name, "comment"} & set(current), "no outcome, no column that nobody sent"
    expected = [
        {"order": one["order"]} | {name: str(value).lower() for name, value in said.items()}
        for one, said in zip([*sent[1:], sent[0]], [*answers[1:], *again], strict=True)
    ]
    assert predictions.drop(columns="model_version").to_dict("records") == expected
    assert (run.data.metrics["rows"], run.data.metrics["pieces"]) == (7, len(pieces))


def test_a_piece_is_closed_when_its_first_row_is_old_and_is_never_there_in_part(tmp_path):
    log = ServedLog(tmp_path, table(BINARY), 1, 1000, 0.2)
    log.start()
    row = [""] * len(header(table(BINARY)))
    log.add([row])
    for _ in range(2000):
        if found := list(tmp_path.glob("[!.]*")):
            break
        log.news.wait(0.01)
    assert [path.read_text().count("\n") for path in found] == [2]
    log.add([row] * 3)
    log.stop()
    assert sorted(path.read_text().count("\n") for path in tmp_path.iterdir()) == [2, 4]


def test_what_cannot_be_written_costs_no_answer_and_is_written_when_it_can_be(folders, tmp_path, caplog):
    model, folder = open_model(folders[BINARY, 0]), tmp_path / "log"
    settings = Settings(log=str(folder), log_rows=2, log_seconds=0.05)
    with running(model, settings) as port:  # there is no such folder
        client = Client(port)
        for one in records(BINARY, 25):
            assert client.ask({"inputs": one})[0] == 200
        for _ in range(2000):
            if told := "could not be logged (No such file or directory)" in caplog.text:
                break
            client.get("/health")
            time.sleep(0.01)
        folder.mkdir()
    assert told
    assert 20 <= len(read(folder)) <= 25, "ten pieces' rows wait for better times"


def test_of_a_sample_the_same_rows_are_kept_whoever_asks_and_however(folders, tmp_path):
    model, sent = open_model(folders[BINARY, 0]), records(BINARY, 200)
    kept = []
    for size in (200, 9):
        log = tmp_path / str(size)
        prepare_log(str(log))
        with running(model, Settings(log=str(log), log_share=0.25)) as port:
            for start in range(0, len(sent), size):
                Client(port).ask({"inputs": sent[start : start + size]})
        kept.append([row["order"] for row in read(log)])
    keys = pd.Series([one["order"] for one in sent])
    assert kept[0] == kept[1] == keys[in_canary(keys, 0.25, "log")].tolist()
    assert 30 < len(kept[0]) < 70


@pytest.mark.parametrize("task", TASKS)
def test_the_canarys_rows_are_those_of_batch_and_both_are_compared_by_the_log(store, folders, tmp_path, task):
    champion, other, of = open_model(folders[task, 0]), folders[task, 1], table(task)
    log, sent = tmp_path / "log", records(task, 60)
    prepare_log(str(log))
    frame = rows(task, 60, 5)
    of.write(frame, tmp_path / "rows.csv")
    score_file(tmp_path / "rows.csv", tmp_path / "batch.csv", champion, challenger=open_model(other), canary=0.4)
    batch = lines(tmp_path / "batch.csv")
    settings = Settings(log=str(log), canary=0.4, challenger=str(other), shadow=str(other))
    with running(champion, settings) as port:
        status, said, headers = Client(port).ask({"inputs": sent})
        assert status == 200
        alone = [Client(port).ask({"inputs": one})[1]["predictions"][0] for one in sent[:5]]
        document = json.loads(Client(port).get("/openapi.json")[1])
    assert alone == said["predictions"][:5], "one row's key always meets the same model"
    answered = [{name: str(value).lower() for name, value in one.items()} for one in said["predictions"]]
    assert answered == [{name: value for name, value in one.items() if name != "order"} for one in batch]
    assert headers["X-Model-Version"] == f"{champion.label},{open_model(other).label}"
    assert "model_version" in document["components"]["schemas"]["Prediction"]["properties"]
    of.write(frame[["order", of.target.name]], tmp_path / "labels.csv")
    folder, run = served(log, champion.folder, tmp_path, labels=tmp_path / "labels.csv")
    compared = json.loads((folder / "comparison.json").read_text())
    by_version = pd.Series([one["model_version"] for one in batch]).value_counts()
    for version, count in by_version.items():
        figures = compared[f"served version {version}"]
        assert (figures["rows"], figures["labelled"]) == (count, count)
    shadow = compared[f"shadow version {open_model(other).label}"]
    score_file(tmp_path / "rows.csv", tmp_path / "other.csv", open_model(other))
    differ = sum(
        one[of.target.name] != two[of.target.name]
        for one, two in zip(batch, lines(tmp_path / "other.csv"), strict=True)
    )
    assert (shadow["rows"], shadow["shadow_differences"]) == (60, differ)
    assert any(name.endswith("_labelled") for name in run.data.metrics)


def test_a_challenger_whose_alias_goes_leaves_its_rows_to_the_champion_and_a_wrong_one_is_said(store):
    for seed in (0, 1):
        register_model(table(BINARY), rows(BINARY), seed=seed)
    champion, client = open_model("models:/orders-binary/1"), mlflow.MlflowClient()
    other = OtherModel(champion, "models:/orders-binary@challenger")
    assert (other.current, other.problem) == (None, "")
    client.set_registered_model_alias("orders-binary", "challenger", "2")
    other.look()
    assert other.current and (other.current.version, other.problem) == ("2", "")
    client.delete_registered_model_alias("orders-binary", "challenger")
    other.look()
    assert (other.current, other.problem) == (None, "")
    register_model(table(REGRESSION), rows(REGRESSION))
    with pytest.raises(StepError, match=r"it predicts price \(regression\), not paid \(binary\)"):
        OtherModel(champion, "models:/orders-regression/1")


class Broken:
    def predict_proba(self, frame: pd.DataFrame) -> None:
        raise ValueError


def test_a_shadow_that_stumbles_costs_nothing(folders, tmp_path, caplog):
    champion, log = open_model(folders[BINARY, 0]), ServedLog(tmp_path, table(BINARY), 1, 1000, 60)
    models = Models(champion, shadow=replace(champion, estimator=Broken()), log=log)
    job = Job(models, {"size": ["1"], "colour": ["red"], "returned": ["no"], "order": ["A"]}, 1)
    score([Part(job, 0, 1)])
    assert job.answer.result().body.startswith(b'{"predictions": [{"paid": ')
    log.start()
    log.stop()
    assert [(row["order"], row["shadow_paid"]) for row in read(tmp_path)] == [("A", "")]
    assert "the shadow, version" in caplog.text


def test_what_is_no_log_is_said_in_one_sentence(store, folders, tmp_path, capsys):
    def said(**parameters: object) -> str:
        assert run_program("inference", "served", model=folders[BINARY, 0], **parameters) == 1
        return capsys.readouterr().err.strip()

    assert "is no folder; give the one that a server was given as log" in said(log=tmp_path / "nowhere")
    assert "has no closed piece yet" in said(log=tmp_path)
    (tmp_path / "served-1.csv").write_text("a,b\n1,2\n")
    assert "served-1.csv was logged by a server of another table than orders-binary is now" in said(log=tmp_path)
    with pytest.raises(StepError, match="is no full path"):
        prepare_log("log")
    assert asked_columns(table(BINARY))[0] == "order"
