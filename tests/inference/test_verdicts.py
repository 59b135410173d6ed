"""The server says of a row what data_cleaning says of it: the same ten thousand odd rows through both."""

import contextlib
import csv
import http.client
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from clean_file import clean_file
from declaration import parse_declaration
from request_rows import CSV, JSON, as_columns, read_rows
from request_schema import example_value
from row_checks import judge
from saved_model import open_model
from serving import answer, application
from serving_batches import typed
from serving_settings import Settings
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import rows, save_model, table
from tests.inference.in_process import Client, running

COUNT = 10_000
FIELDS = [
    {"name": "id", "type": "string", "role": "key"},
    {"name": "size", "type": "number", "constraints": {"minimum": 0, "maximum": 100}},
    {"name": "rooms", "type": "integer", "constraints": {"minimum": -1, "required": True}},
    {"name": "grade", "type": "integer", "constraints": {"enum": [1, 2, 3]}},
    {"name": "colour", "type": "string", "constraints": {"enum": ["red", "Green", "light blue"]}},
    {"name": "code", "type": "string", "constraints": {"pattern": "[A-Z]{2}-[0-9]+"}},
    {"name": "text", "type": "string"},
    {"name": "sold", "type": "date", "constraints": {"minimum": "1990-01-01"}},
    {"name": "listed", "type": "date", "format": "%d.%m.%Y"},
    {"name": "seen", "type": "datetime"},
    {"name": "paid", "type": "boolean"},
    {"name": "price", "type": "number", "role": "target"},
]
HOUSES = parse_declaration({"name": "houses", "primaryKey": "id", "fields": FIELDS}, "houses.yaml")
NAMES = [one.name for one in HOUSES.features]
GOOD = {
    "size": ["22", "22.5", "0", "1e1", "+7", "22,5", "100.0"],
    "rooms": ["3", "4.0", "-1", "1e2", "9007199254740992"],
    "grade": ["1", "2", "3.0"],
    "colour": ["red", "RED", "green", "Light  Blue"],
    "code": ["AB-1", "XY-0099"],
    "text": ["plain", 'say "hi", then go', "two\nlines", "Größe", "007", "true", "1e5"],
    "sold": ["2024-02-29", "20240131"],
    "listed": ["31.12.2020", "1.2.2021"],
    "seen": ["2024-01-01T10:00:00", "2024-01-01 10:00:00+02:00", "2024-01-01"],
    "paid": ["true", "No", "1", "F"],
}
ODD = ["", " ", "NA", "None", "nan", "NaN", "?", "-", "--", "null", "x", "0", "-0", "-2", "4", "2.5", "1e999", "-1e400"]
ODD += [
    "Infinity",
    "inf",
    "1_000",
    "1,000.5",
    "9007199254740993",
    "0x10",
    "٣",
    "½",
    "1 2",
    ".5",
    "5.",
    ",5",
    "e5",
    "+",
    ".",
]
ODD += [
    "true",
    "FALSE",
    "yes",
    "2023-02-29",
    "2024-13-01",
    "1900-01-01",
    "01.02.1999",
    "99.99.9999",
    "2024-1-1",
    "24:00",
]
ODD += [
    "\u00a0red\u2003",
    "ab-1",
    "AB-1x",
    "blue",
    "'; DROP",
    "=1+1",
    "\t7\t",
    "7\u00a0",
    "🙂",
    "\u200b",
    "a\r\nb",
    "9" * 400,
]
NUMBER_IN_JSON = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """Rows of text as they are in a file: most cells are good, some are odd."""
    generator = np.random.default_rng(12)
    columns = {}
    for name in NAMES:
        odd = generator.random(COUNT) < 0.12
        columns[name] = np.where(odd, generator.choice(ODD, COUNT), generator.choice(GOOD[name], COUNT))
    return pd.DataFrame(columns).astype(object)


@pytest.fixture(scope="module")
def expected(cells, tmp_path_factory) -> list[str]:
    """What data_cleaning itself says of each row: its reason in rejected.csv, else nothing."""
    folder = tmp_path_factory.mktemp("cleaning")
    cells.assign(id=[f"house {number}" for number in range(COUNT)]).to_csv(folder / "houses.csv", index=False)
    clean_file(folder / "houses.csv", folder, HOUSES, require_target=False, max_rejected=1, profile=False)
    rejected = pd.read_csv(folder / "rejected.csv", dtype=str, keep_default_na=False)
    found = dict(zip(rejected["row"].astype(int), rejected["reason"], strict=True))
    assert len(HOUSES.read(folder / "clean_data.csv", target="none")) == COUNT - len(found)
    return [found.get(row, "") for row in range(1, COUNT + 1)]


def as_csv(cells: pd.DataFrame) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([NAMES, *cells[NAMES].to_numpy().tolist()])
    return text.getvalue().encode()


def as_json(cells: pd.DataFrame) -> bytes:
    """Records; what can be a number, true, false or null in JSON is one."""

    def token(cell: str) -> str:
        if cell == "":
            return "null"
        bare = NUMBER_IN_JSON.fullmatch(cell) or cell in ("true", "Infinity", "NaN")
        return cell if bare else json.dumps(cell)

    records = (
        ", ".join(f"{json.dumps(name)}: {token(cell)}" for name, cell in zip(NAMES, row, strict=True))
        for row in cells[NAMES].to_numpy().tolist()
    )
    return ('{"dataframe_records": [' + ", ".join(f"{{{record}}}" for record in records) + "]}").encode()


def test_the_odd_rows_are_odd_enough(expected):
    reasons = {reason for said in expected for reason in said.split("; ")}
    assert len(reasons) > 15
    assert 0.2 < np.mean([said == "" for said in expected]) < 0.8


@pytest.mark.parametrize(("kind", "written"), [(CSV, as_csv), (JSON, as_json)])
def test_the_server_says_of_ten_thousand_odd_rows_what_data_cleaning_says(cells, expected, kind, written):
    judged = judge(as_columns(read_rows(kind, written(cells), NAMES)), HOUSES, target="optional")
    assert judged.reasons().tolist() == expected


@pytest.mark.parametrize(("kind", "written"), [(CSV, as_csv), (JSON, as_json)])
def test_a_model_is_given_the_values_that_it_would_be_given_from_the_clean_table(
    cells, expected, tmp_path, kind, written
):
    good = cells[[said == "" for said in expected]].reset_index(drop=True)
    good.assign(id=[f"house {number}" for number in range(len(good))]).to_csv(tmp_path / "houses.csv", index=False)
    clean_file(tmp_path / "houses.csv", tmp_path, HOUSES, require_target=False, profile=False)
    clean = HOUSES.read(tmp_path / "clean_data.csv", target="none")
    served = typed(judge(as_columns(read_rows(kind, written(good), NAMES)), HOUSES, target="optional").frame, HOUSES)
    pd.testing.assert_frame_equal(served, clean[NAMES])


@contextlib.contextmanager
def served(model) -> Iterator[http.client.HTTPConnection]:
    with (
        running(model, Settings(max_bytes=1_000_000)) as port,
        contextlib.closing(Client(port).connection) as connection,
    ):
        yield connection


@pytest.fixture(scope="module")
def houses_model(tmp_path_factory):
    """A model of the houses' numbers and colours, with dates and texts beside them in its table."""
    generator = np.random.default_rng(0)
    whole = {"rooms": (0, 9), "grade": (1, 4), "paid": (0, 2)}
    frame = pd.DataFrame({name: generator.integers(*ends, 60).astype(float) for name, ends in whole.items()})
    frame = frame.assign(id=range(60), size=generator.random(60), price=generator.random(60))
    frame["colour"] = generator.choice(["red", "Green", "light blue"], 60)
    return open_model(save_model(tmp_path_factory.mktemp("houses") / "model", HOUSES, frame))


def test_over_http_a_row_is_refused_for_the_same_reasons_or_answered(cells, expected, houses_model):
    known = set(houses_model.columns)
    with served(houses_model) as connection:
        for place in range(120):
            row = cells.iloc[[place]]
            reasons = [one for one in expected[place].split("; ") if any(one.startswith(f"{name}_") for name in known)]
            for kind, written in ((CSV, as_csv), (JSON, as_json)):
                connection.request("POST", "/invocations", written(row), {"Content-Type": kind})
                response = connection.getresponse()
                said = json.load(response)
                assert response.status == (400 if reasons else 200), (said, reasons)
                if reasons:
                    assert said["message"].startswith("row 1: ")
                    assert re.findall(r"(?:: |, )(\w+) \(", said["message"]) == reasons


def test_a_rows_verdict_does_not_depend_on_the_rows_beside_it(cells, expected):
    for place in range(60):
        judged = judge(as_columns(read_rows(JSON, as_json(cells.iloc[[place]]), NAMES)), HOUSES, target="optional")
        assert judged.reasons().tolist() == [expected[place]]


def test_numbers_of_json_have_a_point_whatever_the_declaration_says_of_raw_ones():
    price = {"name": "price", "type": "number", "decimalChar": ",", "groupChar": "."}
    houses = parse_declaration({"fields": [price, {"name": "y", "type": "number", "role": "target"}]}, "x.yaml")
    for kind, body in (
        (JSON, b'{"instances": [{"price": 1.234}, {"price": "1.234"}, {"price": 7}, {"price": "7.25"}]}'),
        (CSV, b'price\n"1,234"\n1.234\n7\n7.25\n'),
    ):
        judged = judge(as_columns(read_rows(kind, body, ["price"], {"price": ","})), houses, target="optional")
        assert judged.frame["price"].iloc[:3].tolist() == [1.234, 1234, 7]
        assert judged.reasons().tolist() == ["", "", "", "price_not_a_number"]


@pytest.mark.parametrize(
    ("task", "kinds"), [(BINARY, {"paid": bool}), (MULTICLASS, {"grade": str}), (REGRESSION, {"price": float})]
)
def test_answers_are_in_the_targets_own_type(task, kinds, tmp_path):
    of = table(task)
    model = open_model(save_model(tmp_path / "model", of, rows(task)))
    example = {"size": 10, "colour": "Red", "returned": False}
    (said,) = json.loads(answer(model, JSON, json.dumps({"inputs": example}).encode()))["predictions"]
    assert {name: type(said[name]) for name in kinds} == kinds
    frame = pd.DataFrame({"size": [10.0], "colour": ["red"], "returned": [0.0]})
    assert said == model.predict(frame).to_dict("records")[0]


def test_what_a_model_itself_stumbles_over_is_a_500_without_trace_or_value(houses_model, caplog):
    class Broken:
        classes_ = ()

        def predict(self, rows: pd.DataFrame) -> None:
            raise ValueError(f"cannot work with {rows['rooms'].iloc[0]}")

    with served(replace(houses_model, estimator=Broken())) as connection:
        body = {"inputs": {"size": 1, "rooms": 77123, "grade": 1, "colour": "red", "paid": True}}
        connection.request("POST", "/invocations", json.dumps(body), {"Content-Type": JSON})
        response = connection.getresponse()
        said = json.load(response)
    assert (response.status, said["error_code"]) == (500, "INTERNAL_ERROR")
    assert said["message"] == "the server could not answer this request; its own log says why"
    assert "ValueError in predict, line " in caplog.text
    assert "77123" not in caplog.text
    assert "Traceback" not in caplog.text


def test_the_example_of_every_type_is_a_row_that_is_answered(houses_model):
    document = application(houses_model, Settings()).openapi()
    example = document["paths"]["/invocations"]["post"]["requestBody"]["content"][JSON]["example"]
    assert set(example["dataframe_records"][0]) == set(houses_model.columns)
    assert answer(houses_model, JSON, json.dumps(example).encode())
    everything = {one.name: [None if (value := example_value(one)) is None else str(value)] for one in HOUSES.features}
    judged = judge(
        {name: pd.Series(column, dtype="string[pyarrow]") for name, column in everything.items()},
        HOUSES,
        target="optional",
    )
    assert judged.reasons().tolist() == [""]
