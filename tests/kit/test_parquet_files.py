"""Parquet files are read as the CSV that they would be, and written with the types that are declared."""

import datetime
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from clean_file import clean_file
from declaration import parse_declaration
from parquet_files import as_csv, declared_types, write_parquet
from step_error import StepError

from tests.example_tables import TITANIC

FIELDS = [
    {"name": "id", "type": "integer"},
    {"name": "size", "type": "number"},
    {"name": "ready", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "datetime"},
    {"name": "weight", "type": "number", "role": "target"},
]
THINGS = parse_declaration({"name": "things", "primaryKey": "id", "fields": FIELDS}, "things.yaml")
AT = datetime.datetime(2024, 12, 31, 23, 59, 59)


def things(rows: int) -> pa.Table:
    return pa.table(
        {
            "id": range(1, rows + 1),
            "size": pa.array([22.0, None, 0.1] * (rows // 3)),
            "ready": pa.array([True, False, None] * (rows // 3)),
            "day": pa.array([AT.date()] * rows),
            "at": pa.array([AT] * rows, pa.timestamp("us")),
            "weight": pa.array([1, 2, 3] * (rows // 3)).dictionary_encode(),
        }
    )


def clean(path: Path, folder: Path) -> Path:
    folder.mkdir()
    assert not clean_file(path, folder, THINGS).checks.failures
    return folder / "clean_data.csv"


def test_what_is_written_as_parquet_is_read_as_the_same_table(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(things(120_000), tmp_path / "in.parquet")
    text = as_csv(tmp_path / "in.parquet", tmp_path)
    assert text.read_text().splitlines()[:3] == [
        '"id","size","ready","day","at","weight"',
        '1,22,true,2024-12-31,"2024-12-31T23:59:59",1',
        '2,,false,2024-12-31,"2024-12-31T23:59:59",2',
    ]
    clean_csv = clean(text, tmp_path / "first")
    write_parquet(clean_csv, tmp_path / "out.parquet", declared_types(THINGS))
    read = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert read.schema.types == [pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("ms"), pa.float64()]
    assert read.slice(1, 1).to_pylist() == [
        {"id": 2, "size": None, "ready": False, "day": AT.date(), "at": AT, "weight": 2.0}
    ]
    again = clean(as_csv(tmp_path / "out.parquet", tmp_path), tmp_path / "second")
    assert again.read_bytes() == clean_csv.read_bytes()


def test_parquet_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(things(3000), tmp_path / "in.parquet")
    clean_csv = clean(as_csv(tmp_path / "in.parquet", tmp_path), tmp_path / "clean")
    digests = set()
    for name in "ab":
        write_parquet(clean_csv, tmp_path / name, declared_types(THINGS))
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_rows_of_a_parquet_file_are_checked_as_those_of_a_csv_file_are(tmp_path: Path) -> None:
    columns = {one.name: ["x"] for one in TITANIC.fields} | {"Name": ['O"Neil,\nMr. A'], "Age": [-3.5], "Pclass": [7]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
    (tmp_path / "out").mkdir()
    result = clean_file(as_csv(tmp_path / "in.parquet", tmp_path), tmp_path / "out", TITANIC)
    broken = {(one.column, one.rule, one.values[0]) for one in result.checks.failed_checks()}
    assert {("Age", "out_of_range", "-3.5"), ("Pclass", "not_allowed", "7")} <= broken


def test_other_files_stay_as_they_are_and_damaged_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n")
    assert as_csv(tmp_path / "in.csv", tmp_path) == tmp_path / "in.csv"
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(StepError, match=r"^in\.parquet is no Parquet file that can be read \("):
        as_csv(tmp_path / "in.parquet", tmp_path)
    pyarrow.parquet.write_table(pa.table({"a": [[1, 2]]}), tmp_path / "lists.parquet")
    with pytest.raises(StepError, match=r"^lists\.parquet is no table of single values: a holds"):
        as_csv(tmp_path / "lists.parquet", tmp_path)


def test_a_parquet_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(things(3).slice(0, 0), tmp_path / "in.parquet")
    assert as_csv(tmp_path / "in.parquet", tmp_path).read_text() == '"id","size","ready","day","at","weight"\n'


def test_a_moment_keeps_its_zone_and_its_digits(tmp_path: Path) -> None:
    moments = {
        "plain": pa.array([AT, AT.replace(microsecond=5), None], pa.timestamp("us")),
        "rome": pa.array([AT, AT.replace(microsecond=120_000), None], pa.timestamp("ms", tz="Europe/Rome")),
    }
    pyarrow.parquet.write_table(pa.table(moments), tmp_path / "in.parquet")
    assert as_csv(tmp_path / "in.parquet", tmp_path).read_text().splitlines()[1:] == [
        '"2024-12-31T23:59:59","2025-01-01T00:59:59+0100"',
        '"2024-12-31T23:59:59.000005","2025-01-01T00:59:59.120+0100"',
        ",",
    ]
