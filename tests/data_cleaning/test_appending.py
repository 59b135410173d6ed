"""Newly labelled passengers behind the list so far: same rules, old rows untouched, nobody lost without a word."""

import json
from pathlib import Path

import pandas as pd
import pytest
from clean_file import clean_file
from csv_reading import CleaningError
from labelling import read_labels

COLUMNS = "PassengerId,Pclass,Name,Sex,Age,SibSp,Parch,Ticket,Fare,Cabin,Embarked"
STEP = Path(__file__).resolve().parents[2] / "data_cleaning"


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
    clean_file(source, tmp_path / "old", profile=False)
    return tmp_path / "old" / "clean_data.csv"


@pytest.fixture
def append(tmp_path: Path, old: Path):
    """Put `rows` behind the old list; the result, and the list as a frame."""

    def append(*rows: str, labels: str, max_rejected: float = 1, **options: object):
        current = lines(tmp_path / "current.csv", *rows, header=str(options.pop("header", COLUMNS)))
        known = tmp_path / "labels.csv"
        known.write_text(labels, encoding="utf-8")
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        result = clean_file(
            current, output, old=old, labels=read_labels(known), max_rejected=max_rejected, profile=False, **options
        )
        made = output / "clean_data.csv"
        return result, pd.read_csv(made) if made.is_file() else None

    return append


@pytest.mark.parametrize("chunk_rows", [1, 2, 50_000])
def test_labelled_passengers_come_behind_the_old_list_and_the_others_wait(append, old, chunk_rows):
    result, made = append(row(11), row(12), row(13), labels="PassengerId,Survived\n13,0\n11,1\n", chunk_rows=chunk_rows)
    assert made["PassengerId"].tolist() == [1, 2, 3, 11, 13]
    assert made["Survived"].tolist() == [1, 1, 1, 1, 0]
    assert (result.rows_old, result.checks.rows_out, result.unlabelled) == (3, 2, 1)
    assert (old.parent.parent / "output" / "clean_data.csv").read_bytes().startswith(old.read_bytes())


def test_the_old_list_is_the_same_when_everybody_new_was_there_already(append, old):
    _, first = append(row(11), labels="PassengerId,Survived\n11,1\n")
    grown = (old.parent.parent / "output" / "clean_data.csv").read_bytes()
    old.write_bytes(grown)
    result, again = append(row(11), labels="PassengerId,Survived\n11,1\n")
    assert again.equals(first) and result.checks.duplicates == 1 and not result.checks.failures


def test_a_number_that_another_passenger_has_is_named_with_its_line_and_rejected(append, old):
    result, made = append(row(11), row(2, age=40), row(3, age=50), labels="PassengerId,Survived\n2,0\n3,0\n11,1\n")
    assert made["PassengerId"].tolist() == [1, 2, 3, 11]
    assert made["Age"].tolist() == [30] * 4, "the old passenger stays"
    assert result.conflicts() == "PassengerId 2, 3 (2 rows)"
    rejected = pd.read_csv(old.parent.parent / "output" / "rejected.csv")
    assert rejected[["line", "reason"]].values.tolist() == [[3, "PassengerId_duplicate"], [4, "PassengerId_duplicate"]]


def test_more_conflicts_than_max_rejected_fail_the_file(append):
    result, made = append(
        row(11), row(2, age=40), labels="PassengerId,Survived\n2,0\n11,1\n", max_rejected=0.05, chunk_rows=1
    )
    assert made is None
    assert "PassengerId_duplicate 1, first in line 3" in result.checks.failures[0]


def test_new_rows_go_through_the_same_rules_and_keep_their_line_numbers(append, old):
    result, made = append(
        row(10),
        row(11, sex="mail"),
        row("x"),
        row(12, age=300),
        row(13),
        labels="PassengerId,Survived\n11,1\n12,0\n13,0\n",
    )
    assert made["PassengerId"].tolist() == [1, 2, 3, 13]
    rejected = pd.read_csv(old.parent.parent / "output" / "rejected.csv")
    assert rejected["line"].tolist() == [3, 4, 5]
    assert rejected["reason"].tolist() == [
        "Sex_not_allowed", "PassengerId_not_a_number; Survived_missing", "Age_out_of_range",
    ]  # fmt: skip
    assert rejected["Survived"].dropna().tolist() == [1, 0]
    assert result.unlabelled == 1


def test_the_labels_count_where_the_new_list_has_a_column_of_its_own(append):
    header = f"{COLUMNS},Survived"
    _, made = append(row(11) + ",", row(12) + ",0", labels="PassengerId,Survived\n11,1\n12,1\n", header=header)
    assert made["Survived"].tolist()[3:] == [1, 1]


def test_a_column_that_all_new_rows_lack_fails_them_unless_that_may_be_chance(append):
    few, _ = append(*(row(n) for n in range(11, 61)), labels="PassengerId,Survived\n11,1\n12,0\n")
    assert not few.checks.failures, "two cabins are easily not known"
    known = "PassengerId,Survived\n" + "".join(f"{n},1\n" for n in range(11, 61))
    many, _ = append(*(row(n, sex="") for n in range(11, 61)), labels=known)
    assert many.checks.failures == ["column Sex: empty in every row; fill or correct the input"]


def test_labels_are_read_as_leniently_as_lists(append):
    _, made = append(row(11), row(12), labels="\ufeffpassenger id;SURVIVED;note\r\n11; 1;a\r\n12;NA;b\r\n11;1;a\r\n")
    assert made["PassengerId"].tolist() == [1, 2, 3, 11]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("PassengerId,Survived\n11,1\n11,0\n", "PassengerId 11 both with 0 and with 1"),
        ("PassengerId,Survived\n11,2\n", "line 2: PassengerId '11' and Survived '2' are not a number and 0 or 1"),
        ("PassengerId,Survived\n,1\n", "line 2: PassengerId '' and Survived '1'"),
        ("PassengerId,Survived\n11,\n", "has no Survived in any row"),
        ("PassengerId,Survived\n11,1,5\n", "line 2: more or fewer cells"),
        ("PassengerId,Saved\n11,1\n", "has no column Survived"),
        ("PassengerId,Survived\n99,1\n", "none of the passengers of current.csv has a label"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_sentence(append, labels, message):
    with pytest.raises(CleaningError) as error:
        append(row(11), labels=labels)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_old_list_that_is_not_clean_is_refused_not_shortened(append, old):
    old.write_text(old.read_text() + old.read_text().splitlines()[1].replace("30", "300") + "\n")
    with pytest.raises(CleaningError, match=r"not clean \(line 5: Age_out_of_range\); run data_cleaning on it"):
        append(row(11), labels="PassengerId,Survived\n11,1\n")


@pytest.mark.integration
def test_the_old_list_is_what_the_champion_was_trained_on(mlflow_run, tmp_path, store):
    import hashlib

    import mlflow

    sample = STEP.parent / "data" / "titanic_sample.csv"
    current = STEP.parent / "data" / "passengers_to_score.csv"
    labels = tmp_path / "labels.csv"
    labels.write_text("PassengerId,Survived\n901,1\n902,0\n")
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(sample))
        mlflow.log_param("input", f"runs:/{run.info.run_id}/titanic_sample.csv")
    client.create_registered_model("titanic")

    done = mlflow_run("data_cleaning", "-e", "append", current=current, labels=labels)
    assert done.code != 0
    assert "data_cleaning: what models:/titanic@champion was trained on cannot be found" in done.err

    tags = {"data.sha256": hashlib.sha256(sample.read_bytes()).hexdigest()}
    client.create_model_version("titanic", f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
    client.set_registered_model_alias("titanic", "champion", "1")
    done = mlflow_run("data_cleaning", "-e", "append", current=current, labels=labels)
    assert done.code == 0
    assert "data_cleaning: 2 labelled passengers added to 900 (198 have no label yet" in done.out
    assert done.run.data.metrics["rows_out"] == 902
    assert len(pd.read_csv(done.artifact("clean_data.csv"))) == 902
    read = {item.dataset.name: json.loads(item.dataset.source)["uri"] for item in done.run.inputs.dataset_inputs}
    assert read["titanic_sample.csv"] == f"runs:/{run.info.run_id}/titanic_sample.csv"
    assert read[current.name] == str(current) and read["labels.csv"] == str(labels)

    done = mlflow_run("data_cleaning", "-e", "append", current=current)
    assert done.code != 0 and "data_cleaning: the labels of the new passengers have not arrived" in done.err
