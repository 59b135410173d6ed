import json

import numpy as np
import pandas as pd
import pytest
import sharing
from declaration import parse_declaration
from monitored_files import read_predictions, read_rows
from predictions import probability_columns
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import rows, table
from tests.spark_cluster import standalone

NUMBERS = parse_declaration(
    {
        "primaryKey": "id",
        "fields": [{"name": "id", "type": "integer"}, {"name": "b", "type": "number", "role": "target"}],
    },
    "numbers.yaml",
)


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str):
        path = tmp_path / "in.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not a CSV file (No columns to parse from file)"),
        ("id,b\n", "in.csv has no rows; there is nothing to compare"),
        ("a,c\n1,2\n", "has no column id (it has: a, c); run data_cleaning on it first"),
        ("id,b\n1,two\n", "in.csv is not clean"),
        (b"id,b\n1,\xe9\n", "in.csv is not"),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused_in_one_sentence(file, content, said):
    with pytest.raises(StepError) as caught:
        read_rows(NUMBERS, file(content), 1000)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_that_cleaning_would_have_corrected_or_rejected_are_refused(file, tmp_path):
    of = table(BINARY)
    of.write(rows(BINARY).replace({"colour": {"red": "Red"}}), tmp_path / "raw.csv")
    with pytest.raises(
        StepError, match=r"raw.csv is not clean: colour 'Red' in row \d+; run data_cleaning on it first"
    ):
        read_rows(of, tmp_path / "raw.csv", 1000)


def test_of_a_long_file_evenly_spaced_rows_are_taken_and_all_are_counted(file):
    frame, count, _ = read_rows(NUMBERS, file("id,b\n" + "".join(f"{i},{i}\n" for i in range(120_000))), 1000)
    assert count == 120_000
    assert len(frame) == 1000
    assert frame["id"].diff().dropna().unique().tolist() == [120]


def test_a_file_of_as_many_rows_as_are_taken_is_taken_whole(file):
    assert len(read_rows(NUMBERS, file("id,b\n" + "".join(f"{i},{i}\n" for i in range(1000))), 1000)[0]) == 1000


def test_outcomes_that_are_known_only_further_down_are_found(tmp_path):
    of, frame = table(BINARY), pd.concat([rows(BINARY, 30_000)] * 2, ignore_index=True)
    frame["paid"] = frame["paid"].astype(object).where(frame.index >= 55_000)
    of.write(frame, tmp_path / "long.csv")
    found, count, missing = read_rows(of, tmp_path / "long.csv", 1_000_000)
    assert (count, found["paid"].count(), missing["paid"]) == (60_000, 5_000, 55_000)


NOTES = parse_declaration(
    {
        "primaryKey": "id",
        "fields": [
            {"name": "id", "type": "integer"},
            {"name": "note", "type": "string"},
            {"name": "b", "type": "number", "role": "target", "constraints": {"minimum": 0}},
        ],
    },
    "notes.yaml",
)


@pytest.fixture
def in_parts(tmp_path, monkeypatch):
    """What is read of 3,000 rows, of which many have line ends in a cell, and of predictions for them; in parts."""
    monkeypatch.setattr(sharing, "RANGE_BYTES", 5_000)
    notes = ["plain", "", '"two\nlines"', '"""said"", he\r\nsaid"', "\\N"]
    lines = (f"{i},{notes[i % 7 % 5]},{i / 8}\n" for i in range(3000))
    (tmp_path / "rows.csv").write_bytes(b"id,note,b\n" + "".join(lines).encode())
    said = (f"{i},{'' if i % 9 == 0 else i / 4}\n" for i in range(3000))
    (tmp_path / "said.csv").write_text("id,b\n" + "".join(said))

    def read(max_rows=100, **who):
        shared = sharing.Sharing(**who)
        found = read_rows(NOTES, tmp_path / "rows.csv", max_rows, sharing=shared)
        said = tmp_path / "said.csv"
        live, unscored = read_predictions(NOTES, said, ["b"], found.frame["id"], sharing=shared)
        return [found.frame.to_json(), found.rows, found.missing.to_dict(), live.to_json(), unscored]

    return read


def test_a_list_that_is_read_in_parts_is_read_as_a_whole(in_parts, monkeypatch):
    parts = in_parts(max_rows=100_000)
    monkeypatch.setattr(sharing, "RANGE_BYTES", 1 << 20)
    assert parts == in_parts(max_rows=100_000)
    assert parts[1:3] == [3000, {"id": 0, "note": 857, "b": 0}]


def test_never_more_rows_are_taken_than_wanted_whichever_lines_end_in_cells(in_parts):
    taken = pd.DataFrame(json.loads(in_parts()[0]))
    assert 60 < len(taken) <= 100
    assert taken["id"].diff().max() < 100, "evenly"


@pytest.mark.integration
def test_any_number_of_workers_reads_alike(in_parts):
    assert in_parts(workers=2) == in_parts()


@pytest.mark.integration
def test_a_spark_cluster_reads_alike(in_parts, tmp_path):
    alone = in_parts()
    with standalone(tmp_path) as master:
        assert in_parts(engine="spark", master=master) == alone


@pytest.mark.integration
def test_workers_count_rows_from_the_beginning_of_the_file(in_parts, tmp_path):
    rows = (tmp_path / "rows.csv").read_bytes()
    (tmp_path / "rows.csv").write_bytes(rows.replace(b",312.5\n", b",-1\n"))
    with pytest.raises(StepError, match=r"b '-1' in row 2501;"):
        in_parts(workers=2)


def said_of(of, count=6):
    """Predictions as inference writes them; the second row has none."""
    frame = rows(of.task, count)
    if of.task == BINARY:
        said = frame[["order", of.target.name]].assign(probability=np.linspace(0.1, 0.9, count))
    else:
        said = frame[["order", of.target.name]].assign(**dict.fromkeys(probability_columns(of), 1 / 3))
    said[[name for name in said if name != "order"]] = said.drop(columns="order").astype(object)
    said.loc[1, said.columns[1:]] = np.nan
    return said.assign(error=pd.Series([np.nan, "size_out_of_range", *[np.nan] * (count - 2)], dtype=object))


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_predictions_are_those_of_the_rows_asked_for_and_the_unscored_are_counted(task, tmp_path):
    of = table(task)
    said = said_of(of)
    of.write(said, tmp_path / "predictions.csv")
    columns = [of.target.name, *probability_columns(of)]
    found, unscored = read_predictions(of, tmp_path / "predictions.csv", columns, said["order"][:4])
    assert unscored == 1 / 6
    assert found.index.tolist() == [*said["order"][[0, 2, 3]]]
    assert found[of.target.name].tolist() == said[of.target.name][[0, 2, 3]].tolist()
    assert all(found[name].dtype == "float64" for name in probability_columns(of))


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_predictions_to_compare_with_need_no_key(task, tmp_path):
    of = table(task)
    name = "probability" if task == BINARY else of.target.name
    of.write(said_of(of, 3000)[[name]], tmp_path / "before.csv")
    assert len(read_predictions(of, tmp_path / "before.csv", [name], max_rows=5000)[0]) == 2999
    assert len(read_predictions(of, tmp_path / "before.csv", [name], max_rows=1000)[0]) == 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("order,paid\nA,true\n", "is no file of predictions with order, paid, probability"),
        ("order,paid,probability\nA,yes,0.5\n", "paid 'yes'"),
        ("order,paid,probability\nA,true,high\n", "high"),
        ("order,paid,probability\nA,true,0.5\nA,true,0.5\n", "two predictions for order A; keep one for each order"),
        ("", "No columns to parse"),
        (b"order,paid,probability\n\xe9,true,1\n", "is no file of predictions"),
    ],
)
def test_what_are_no_predictions_is_told_in_one_sentence(file, content, said):
    with pytest.raises(StepError) as caught:
        read_predictions(table(BINARY), file(content), ["paid", "probability"], pd.Series(["A"]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
