"""Outcomes that become known, and the rows that have one behind the table so far: old rows untouched, none lost."""

import json
from pathlib import Path

import append as appending
import pandas as pd
import pytest
from append import Appended
from clean_file import clean_file
from csv_reading import inspect
from declaration import parse_declaration
from labelling import read_labels
from step_error import StepError
from table import BINARY, Table

from tests.example_tables import TITANIC, rows, table

COLUMNS = "PassengerId,Pclass,Name,Sex,Age,SibSp,Parch,Ticket,Fare,Cabin,Embarked"
STEP = Path(__file__).resolve().parents[2] / "data_cleaning"


def append_file(current: Path, old: Path, folder: Path, table: Table, *options: object) -> Appended:
    sources = [inspect(path, list(table.clean_by_name)) for path in (current, old)]
    return appending.append_file(*sources, folder, table, *options)


def row(number: object, age: object = 30, sex: str = "male", cabin: str = "") -> str:
    return f'{number},3,"Berg, Mr. Nils",{sex},{age},0,0,A/5 1,7.25,{cabin},S'


def lines(path: Path, *rows: str, header: str = COLUMNS) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A clean list of three."""
    with_target = COLUMNS.replace("PassengerId,", "PassengerId,Survived,")
    source = lines(
        tmp_path / "list.csv", *(row(n, cabin="E1").replace(",3,", ",1,3,", 1) for n in (1, 2, 3)), header=with_target
    )
    (tmp_path / "old").mkdir()
    clean_file(source, tmp_path / "old", TITANIC, profile=False)
    return tmp_path / "old" / "clean_data.csv"


@pytest.fixture
def label(tmp_path: Path):
    """Clean `rows` as those that are to be scored, with what the labels say of them; the result, and a frame."""

    def label(*rows: str, labels: str, header: str = COLUMNS, chunk_rows: int = 50_000):
        current, known = lines(tmp_path / "current.csv", *rows, header=header), tmp_path / "labels.csv"
        known.write_text(labels, encoding="utf-8")
        output = tmp_path / "scoring"
        output.mkdir(exist_ok=True)
        result = clean_file(
            current,
            output,
            TITANIC,
            labels=read_labels(known, TITANIC),
            require_target=False,
            max_rejected=1,
            chunk_rows=chunk_rows,
            profile=False,
        )
        return result, pd.read_csv(output / "clean_data.csv")

    return label


@pytest.fixture
def append(tmp_path: Path, old: Path, label):
    """Put labelled `rows` behind the old list; what was counted, and the list as a frame."""

    def append(*rows: str, labels: str, chunk_rows: int = 50_000, missing: str = "keep"):
        label(*rows, labels=labels)
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        found = append_file(tmp_path / "scoring" / "clean_data.csv", old, output, TITANIC, missing, chunk_rows, None)
        return found, pd.read_csv(output / "clean_data.csv")

    return append


@pytest.mark.parametrize("chunk_rows", [1, 2, 50_000])
def test_labelled_passengers_come_behind_the_old_list_and_the_others_wait(append, old, chunk_rows):
    found, made = append(row(11), row(12), row(13), labels="PassengerId,Survived\n13,0\n11,1\n", chunk_rows=chunk_rows)
    assert made["PassengerId"].tolist() == [1, 2, 3, 11, 13]
    assert made["Survived"].tolist() == [1, 1, 1, 1, 0]
    assert (found.old, found.new, found.unlabelled) == (3, 2, 1)
    assert (old.parent.parent / "output" / "clean_data.csv").read_bytes().startswith(old.read_bytes())


def test_the_old_list_is_the_same_when_everybody_new_was_there_already(append, old):
    _, first = append(row(11), labels="PassengerId,Survived\n11,1\n")
    old.write_bytes((old.parent.parent / "output" / "clean_data.csv").read_bytes())
    found, again = append(row(11), labels="PassengerId,Survived\n11,1\n")
    assert again.equals(first) and (found.duplicates, found.new, found.rejected) == (1, 0, 0)


def test_a_number_that_another_passenger_has_is_named_with_its_line_and_rejected(append, old):
    found, made = append(row(11), row(2, age=40), row(3, age=50), labels="PassengerId,Survived\n2,0\n3,0\n11,1\n")
    assert made["PassengerId"].tolist() == [1, 2, 3, 11]
    assert made["Age"].tolist() == [30] * 4, "the old passenger stays"
    assert found.rejected == 2
    rejected = pd.read_csv(old.parent.parent / "output" / "rejected.csv")
    assert rejected[["line", "reason"]].values.tolist() == [[3, "PassengerId_duplicate"], [4, "PassengerId_duplicate"]]


def test_rows_with_gaps_are_left_out_where_that_is_asked_for(append):
    found, made = append(row(11, cabin="E2"), row(12), labels="PassengerId,Survived\n11,1\n12,0\n", missing="drop")
    assert made["PassengerId"].tolist() == [1, 2, 3, 11]
    assert found.incomplete == 1


def test_a_label_does_not_save_a_row_that_cannot_be(label, tmp_path):
    known = "PassengerId,Survived\n11,1\n12,0\n13,0\n"
    _, made = label(row(10), row(11, sex="mail"), row("x"), row(12, age=300), row(13), labels=known)
    assert made["PassengerId"].tolist() == [10, 13]
    assert made["Survived"].fillna(-1).tolist() == [-1, 0]
    rejected = pd.read_csv(tmp_path / "scoring" / "rejected.csv")
    assert rejected[["row", "line"]].values.tolist() == [[2, 3], [3, 4], [4, 5]]
    assert rejected["reason"].tolist() == ["Sex_not_allowed", "PassengerId_not_a_number", "Age_out_of_range"]


def test_the_labels_count_where_the_new_list_has_a_column_of_its_own(label):
    header = f"{COLUMNS},Survived"
    labels = "PassengerId,Survived\n11,1\n12,1\n"
    _, made = label(row(11) + ",", row(12) + ",0", row(13) + ",0", labels=labels, header=header)
    assert made["Survived"].tolist() == [1, 1, 0]


def test_a_column_that_all_lack_fails_a_list_to_be_scored_unless_that_may_be_chance(label):
    few, _ = label(*(row(n) for n in range(11, 61)), labels="PassengerId,Survived\n11,1\n12,0\n")
    assert not few.checks.failures, "two cabins are easily not known"
    with pytest.raises(FileNotFoundError):
        label(*(row(n, sex="") for n in range(11, 61)), labels="PassengerId,Survived\n11,1\n")


def test_labels_are_read_as_leniently_as_lists(label):
    _, made = label(row(11), row(12), labels="\ufeffpassenger id;SURVIVED;note\r\n11; 1;a\r\n12;NA;b\r\n11;1;a\r\n")
    assert made["Survived"].fillna(-1).tolist() == [1, -1]


def test_labels_are_joined_by_the_keys_type_not_by_its_text(label):
    _, made = label(row(11), row("12.0"), row("0013"), labels="PassengerId,Survived\n11.0,1\n0012,0\n13,1\n")
    assert made[["PassengerId", "Survived"]].to_numpy().tolist() == [[11, 1], [12, 0], [13, 1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("PassengerId,Survived\n11,1\n11,0\n", "PassengerId 11 with more than one Survived"),
        ("PassengerId,Survived\n11,2\n", "line 2: PassengerId '11' and Survived '2' cannot be (Survived_not_allowed)"),
        ("PassengerId,Survived\n,1\n", "line 2: PassengerId '' and Survived '1' cannot be (PassengerId_missing)"),
        ("PassengerId,Survived\n11,\n", "has no Survived in any row"),
        ("PassengerId,Survived\n11,1,5\n", "line 2: more or fewer cells"),
        ("PassengerId,Saved\n11,1\n", "has no column Survived"),
        ("PassengerId,Survived\n99,1\n", "none of the passengers of current.csv has a label"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_sentence(label, labels, message):
    with pytest.raises(StepError) as error:
        label(row(11), labels=labels)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_old_list_that_is_not_clean_is_refused_not_shortened(append, old):
    old.write_text(old.read_text() + old.read_text().splitlines()[1].replace("30", "300") + "\n")
    with pytest.raises(StepError, match=r"not clean \(line 5: Age_out_of_range\); run data_cleaning on it"):
        append(row(11), labels="PassengerId,Survived\n11,1\n")


def test_new_rows_that_are_not_clean_are_refused(old, tmp_path):
    raw = lines(tmp_path / "raw.csv", row(11, sex="ship") + ",1", header=f"{COLUMNS},Survived")
    with pytest.raises(StepError, match=r"raw.csv is not clean \(line 2: Sex_not_allowed\)"):
        append_file(raw, old, tmp_path, TITANIC, "keep", 10, None)


def test_rows_of_a_table_without_a_key_go_on_counting(tmp_path):
    content = dict(table(BINARY).content)
    del content["primaryKey"]
    content["fields"] = [one for one in content["fields"] if one["name"] != "order"]
    keyless = parse_declaration(content, "x.yaml")
    for name, seed in (("old", 1), ("new", 2)):
        (tmp_path / name).mkdir()
        raw = tmp_path / f"{name}.csv"
        table(BINARY).write(rows(BINARY, 30, seed).drop(columns="order"), raw)
        clean_file(raw, tmp_path / name, keyless, require_target=name == "old", profile=False)
    old, new = (tmp_path / name / "clean_data.csv" for name in ("old", "new"))
    found = append_file(new, old, tmp_path, keyless, "keep", 7, None)
    made = keyless.read(tmp_path / "clean_data.csv")
    assert made["row"].tolist() == list(range(1, 61)) and found.new == 30


@pytest.mark.integration
def test_the_old_list_is_what_the_champion_was_trained_on(mlflow_run, tmp_path, store):
    import hashlib

    import mlflow

    root = STEP.parent
    sample = root / "data" / "titanic_sample.csv"
    given = {"dataset": root / "dataset.yaml"}
    labels = tmp_path / "labels.csv"
    labels.write_text("PassengerId,Survived\n901,1\n902,0\n")
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(sample))
        mlflow.log_param("input", f"runs:/{run.info.run_id}/titanic_sample.csv")
    client.create_registered_model("titanic")

    scoring = {"input": root / "data" / "passengers_to_score.csv", "require_target": "false", **given}
    done = mlflow_run("data_cleaning", labels=labels, **scoring)
    assert done.code == 0 and done.run.data.metrics["rows_labelled"] == 2
    read = {item.dataset.name: json.loads(item.dataset.source)["uri"] for item in done.run.inputs.dataset_inputs}
    assert read["passengers_to_score.csv"] == str(scoring["input"]) and read["labels.csv"] == str(labels)
    labelled = done.artifact("clean_data.csv")

    done = mlflow_run("data_cleaning", "-e", "append", current=labelled, **given)
    assert done.code != 0
    assert "data_cleaning: what models:/titanic@champion was trained on cannot be found" in done.err

    tags = {"data.sha256": hashlib.sha256(sample.read_bytes()).hexdigest()}
    client.create_model_version("titanic", f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
    client.set_registered_model_alias("titanic", "champion", "1")
    done = mlflow_run("data_cleaning", "-e", "append", current=labelled, **given)
    assert done.code == 0
    assert "data_cleaning: 2 labelled passengers added to 900 (198 have no label yet" in done.out
    assert done.run.data.metrics["rows_out"] == 902
    assert len(pd.read_csv(done.artifact("clean_data.csv"))) == 902
    read = {item.dataset.name: json.loads(item.dataset.source)["uri"] for item in done.run.inputs.dataset_inputs}
    assert read["titanic_sample.csv"] == f"runs:/{run.info.run_id}/titanic_sample.csv"

    unlabelled = mlflow_run("data_cleaning", **scoring).artifact("clean_data.csv")
    done = mlflow_run("data_cleaning", "-e", "append", current=unlabelled, **given)
    assert done.code != 0 and "data_cleaning: none of the 200 new passengers has an outcome yet" in done.err
