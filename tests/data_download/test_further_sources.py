"""Tables from object stores, databases, and files of other kinds than CSV: the same checks, the same CSV."""

import contextlib
import datetime
import functools
import gc
import gzip
import hashlib
import os
import socket
import sqlite3
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import database_source
import download as download_module
import pyarrow as pa
import pytest
import sqlalchemy
from download import DownloadError, download
from pyarrow import fs, parquet

from tests import services
from tests.data_download.servers import sends, serving
from tests.services import BUCKET
from tests.step_programs import run_program

CSV = b'"id","name"\n1,"Doe, J."\n2,\n'


@pytest.fixture
def fetch(tmp_path: Path) -> Callable:
    (tmp_path / "out").mkdir()
    return functools.partial(download, target=tmp_path / "out" / "data.csv", retries=0, timeout=20)


@pytest.fixture
def refused(fetch, tmp_path) -> Callable[..., str]:
    def refused(*arguments: object, **options: object) -> str:
        with pytest.raises(DownloadError) as error:
            fetch(*map(str, arguments), **options)
        assert list((tmp_path / "out").iterdir()) == [], "something half-written was left"
        message = str(error.value)
        assert message.isprintable() and len(message) < 600, message
        return message

    return refused


def made(tmp_path: Path) -> str:
    return (tmp_path / "out" / "data.csv").read_text()


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_becomes_csv_with_every_kind_of_cell(fetch, tmp_path):
    noon = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "id": [1, None],
            "number": [22.5, 1e-20],
            "text": ['x,"y\n', ""],
            "yes": [True, None],
            "day": [datetime.date(2024, 1, 1), None],
            "at": pa.array([noon, None], pa.timestamp("s", tz="UTC")),
            "price": [Decimal("1.50"), None],
            "group": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    result = fetch(str(tmp_path / "x.parquet"))
    assert made(tmp_path) == (
        '"id","number","text","yes","day","at","price","group"\n'
        '1,22.5,"x,""y\n",true,2024-01-01,"2024-01-01T12:00:00+0000",1.50,"a"\n'
        ',1e-20,"",,,,,"b"\n'
    )
    assert result.published_sha256 == hashlib.sha256((tmp_path / "x.parquet").read_bytes()).hexdigest()
    assert result.sha256 == hashlib.sha256(made(tmp_path).encode()).hexdigest()
    assert result.announced, "a part of a Parquet file is none"


def test_many_rows_have_one_header_and_the_limit_counts_the_csv(fetch, refused, tmp_path):
    parquet.write_table(pa.table({"a": [7] * 10_000, "b": [8] * 10_000}), tmp_path / "x")
    assert "larger than max_bytes=20000" in refused(tmp_path / "x", max_bytes=20_000)
    assert fetch(str(tmp_path / "x")).bytes == len('"a","b"\n') + 10_000 * len("7,8\n")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": [1], "many": [[1, 2]]}, "many holds lists or records"),
        ({"id": pa.array([], pa.int64()), "b": pa.array([], pa.int64())}, "has a header but no rows"),
    ],
)
def test_parquet_that_is_no_table_is_refused(table, message, refused, tmp_path):
    parquet.write_table(pa.table(table), tmp_path / "x")
    assert message in refused(tmp_path / "x")


def test_a_part_of_a_parquet_file_is_refused(refused, tmp_path):
    parquet.write_table(pa.table({"a": [1, 2], "b": [3, 4]}), tmp_path / "whole")
    (tmp_path / "part").write_bytes((tmp_path / "whole").read_bytes()[:-20])
    assert "begins as Parquet does, and cannot be read as that" in refused(tmp_path / "part")


def test_the_declared_columns_are_looked_for_as_in_a_csv(fetch, refused, tmp_path):
    parquet.write_table(pa.table({"Passenger Id": [1], "b": [3]}), tmp_path / "x")
    assert fetch(str(tmp_path / "x"), columns="passenger_id").lines == 2
    (tmp_path / "out" / "data.csv").unlink()
    assert "lacks the declared column Age" in refused(tmp_path / "x", columns="Age")


# Excel ----------------------------------------------------------------------------------------------------------------


def excel(path: Path, **sheets: str) -> Path:
    """A workbook with these sheets, each the XML of its rows; style 1 is a date's."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    package = "http://schemas.openxmlformats.org/package/2006"
    names = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, 1))
    targets = "".join(
        f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">{targets}'
        f'<Relationship Id="s" Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet {main}><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>',
    }
    for n, rows in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{n}.xml"] = f"<worksheet {main}><sheetData>{rows}</sheetData></worksheet>"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, '<?xml version="1.0"?>' + text)
    return path


def text_cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


HEADER = f'<row r="1">{text_cell("A1", "id")}{text_cell("B1", "name")}{text_cell("C1", "day")}</row>'
PEOPLE = (
    HEADER
    + f'<row r="2"><c r="A2"><v>1</v></c>{text_cell("B2", "Doe, J.")}<c r="C2" s="1"><v>45292</v></c></row>'
    + '<row r="3"><c r="A3"><v>2.5</v></c><c r="C3" s="1"><v>45293</v></c></row>'
)


def test_excel_becomes_csv_also_when_packed(fetch, tmp_path):
    book = excel(tmp_path / "people.xlsx", People=PEOPLE, Notes="")
    for address in (book, tmp_path / "packed"):
        (tmp_path / "packed").write_bytes(gzip.compress(book.read_bytes()))
        fetch(str(address))
        assert made(tmp_path) == 'id,name,day\n1,"Doe, J.",2024-01-01\n2.5,,2024-01-02\n'


def test_of_several_sheets_one_must_be_named(fetch, refused, tmp_path):
    book = excel(tmp_path / "x.xlsx", Old=HEADER, New=PEOPLE)
    assert "2 sheets with cells, of Old, New; say with sheet which" in refused(book)
    assert "has no sheet 'Now'; it has: Old, New" in refused(book, sheet="Now")
    assert fetch(str(book), sheet="New").lines == 3


def test_a_sheet_of_what_has_none_and_a_zip_file_that_is_no_workbook_are_refused(refused, tmp_path):
    (tmp_path / "x.csv").write_bytes(CSV)
    assert "no Excel file" in refused(tmp_path / "x.csv", sheet="People")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("x.csv", CSV)
    assert "binary file that begins as Excel does" in refused(tmp_path / "x.zip")


def test_a_workbook_that_unpacks_to_more_than_the_limit_is_not_unpacked(refused, tmp_path):
    book = excel(tmp_path / "bomb.xlsx", People=PEOPLE + " " * 1_000_000)
    assert book.stat().st_size < 20_000
    assert "larger than max_bytes=100000" in refused(book, max_bytes=100_000)


# Databases ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> str:
    with contextlib.closing(sqlite3.connect(tmp_path / "people.db")) as connection:
        connection.execute("CREATE TABLE people (id INTEGER, name TEXT, age REAL, photo BLOB)")
        connection.executemany(
            "INSERT INTO people VALUES (?, ?, ?, ?)", [(2, None, 22.0, b"x"), (1, "Doe, J.", 0.5, b"y")]
        )
        connection.commit()
    return f"sqlite:///{tmp_path / 'people.db'}"


def test_what_a_query_gives_becomes_csv_in_its_order(database, fetch, tmp_path):
    result = fetch(
        database,
        query="SELECT id, name, age FROM people WHERE name IS NULL OR name LIKE '%J%:x%' OR id < 2 ORDER BY id",
    )
    assert made(tmp_path) == 'id,name,age\n1,"Doe, J.",0.5\n2,,22\n'
    assert result.source == database


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "is a database: query is empty"),
        ("SELECT x FROM people", "does not answer the query (no such column: x)"),
        ("CREATE TABLE more (id INTEGER)", "a SELECT is needed"),
        ("SELECT id, photo FROM people", "a cell holds bytes"),
        ("SELECT id, name FROM people WHERE id > 2", "has a header but no rows"),
    ],
)
def test_a_query_that_gives_no_table_is_refused(query, message, database, refused):
    assert message in refused(database, query=query)


def test_a_query_that_takes_too_long_is_given_up(database, refused):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i), 1 AS b FROM n"
    started = time.monotonic()
    assert "was not downloaded within timeout=0.5 s" in refused(
        database, query=endless + " WHERE i < 1000000", timeout=0.5
    )
    assert time.monotonic() - started < 15


def test_rows_beyond_the_limit_are_refused(database, refused):
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) SELECT i, i AS j FROM n"
    assert "larger than max_bytes=20000" in refused(database, query=many, max_bytes=20_000)


def test_a_query_where_there_is_no_database_is_refused(refused, tmp_path):
    (tmp_path / "x.csv").write_bytes(CSV)
    assert "no database" in refused(tmp_path / "x.csv", query="SELECT 1")


def test_a_driver_that_is_not_installed_is_named_with_the_command(refused):
    assert "needs MySQLdb, which is not installed here: pip install mysqlclient" in refused(
        "mysql://me@127.0.0.1/db", query="SELECT 1"
    )


def test_a_password_is_a_variable_whatever_letters_it_has(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "p@ss/w:rd%41")
    url = database_source.address("postgresql://me:${DB_PASSWORD}@db.example.com:5433/list?sslmode=require")
    assert (url.username, url.password, url.host, url.port) == ("me", "p@ss/w:rd%41", "db.example.com", 5433)


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@h/db", "mysql+pymysql://me:s3cret@h/db", "postgresql://h/db?password=s3cret",
            "mssql://?odbc_connect=DRIVER%3Dx%3BPWD%3Ds3cret", "s3://s3cret@bucket/x.csv"]
)  # fmt: skip
def test_a_secret_in_an_address_is_refused_and_not_repeated(url, refused):
    assert "s3cret" not in refused(url, query="SELECT 1")


@pytest.mark.integration
def test_postgresql_is_asked_and_told_nothing_but_the_query(fetch, refused, tmp_path, monkeypatch):
    with services.postgresql() as address:
        engine = sqlalchemy.create_engine(address)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE tickets")
            connection.exec_driver_sql(
                "CREATE TABLE people AS SELECT i AS id, i::numeric / 4 AS age, mod(i, 2) = 0 AS even, "
                "timestamptz '2024-01-01 12:00+00' AS at, NULL AS gap FROM generate_series(1, 10000) i"
            )
        engine.dispose()
        monkeypatch.setenv("DB_PASSWORD", "s3cret")
        monkeypatch.setenv("PGTZ", "UTC")
        with_password = address.replace("me@", "me:${DB_PASSWORD}@")
        result = fetch(with_password, query="SELECT * FROM people WHERE id % 10000 < 2 OR id > 1 ORDER BY id")
        first, *rows = made(tmp_path).splitlines()
        assert (first, rows[0], len(rows)) == (
            "id,age,even,at,gap",
            "1,0.25000000000000000000,false,2024-01-01T12:00:00+00:00,",
            10_000,
        )
        assert "s3cret" not in str(result)
        (tmp_path / "out" / "data.csv").unlink()
        assert "read-only transaction" in refused(address, query="SELECT nextval('tickets'), 1")
        asleep = refused(address, query="SELECT pg_sleep(3600), 1", timeout=1)
        assert "was not downloaded within timeout=1 s" in asleep or "statement timeout" in asleep
        monkeypatch.setenv("DB_NAME", "s3cret")
        unknown = refused(address.replace("/postgres", "/${DB_NAME}"), query="SELECT 1")
        assert 'database "${DB_NAME}" does not exist' in unknown and "s3cret" not in unknown
    with warnings.catch_warnings():  # of a query that failed, SQLAlchemy leaves psycopg's cursor to the garbage
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# Object stores --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.s3(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> fs.S3FileSystem:
    """The bucket as its owner sees it, who is in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("ENDPOINT_URL", s3)):
        monkeypatch.setenv(f"AWS_{name}", value)
    return fs.S3FileSystem(endpoint_override=s3, region="us-east-1")


def put(bucket: fs.S3FileSystem, key: str, content: bytes) -> str:
    with bucket.open_output_stream(f"{BUCKET}/{key}", compression=None) as file:
        file.write(content)
    return f"s3://{BUCKET}/{key}"


@pytest.mark.integration
def test_an_object_is_taken_as_a_file_is(bucket, fetch, refused, tmp_path):
    large = b"id,name\n" + b"1,a\n" * 5_000_000  # several requests
    for key, content in (("a b/list?.csv", CSV), ("list.csv.gz", CSV), ("large.csv", large)):
        result = fetch(put(bucket, key, gzip.compress(content) if key.endswith("gz") else content))
        assert result.sha256 == hashlib.sha256(content).hexdigest()
        assert result.announced
    table = put(bucket, "list.parquet", b"")
    parquet.write_table(
        pa.table({"id": [1, 2], "name": ["Doe, J.", None]}), f"{BUCKET}/list.parquet", filesystem=bucket
    )
    fetch(table)
    assert made(tmp_path).encode() == CSV
    (tmp_path / "out" / "data.csv").unlink()
    assert "larger than max_bytes=1000" in refused(f"s3://{BUCKET}/large.csv", max_bytes=1000)
    assert "is an HTML" in refused(put(bucket, "page.csv", b"<html></html>"))
    assert "has SHA-256" in refused(table, sha256="0" * 64)


@pytest.mark.integration
def test_an_object_that_cannot_be_had_is_one_sentence(bucket, refused, monkeypatch):
    put(bucket, "there.csv", CSV)
    assert "is not there; check its bucket and key" in refused(f"s3://{BUCKET}/gone.csv")
    assert "is not there" in refused("s3://nobody-has-this/there.csv")
    assert "names no object" in refused(f"s3://{BUCKET}")
    with serving(sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url.removesuffix("/list.csv"))
        message = refused(f"s3://{BUCKET}/there.csv")
    assert "ACCESS_DENIED" in message and "pass_env" in message


@pytest.mark.integration
def test_an_object_that_changes_while_it_is_read_is_refused(bucket, refused, monkeypatch):
    address = put(bucket, "moving.csv", b"id,name\n" + b"1,a\n" * 5_000_000)
    save = download_module.save

    def put_again_before_the_last(stream, *arguments):
        def chunks():
            yield next(stream)
            put(bucket, "moving.csv", b"id,name\n" + b"2,b\n" * 5_000_000)
            yield from stream

        return save(chunks(), *arguments)

    monkeypatch.setattr(download_module, "save", put_again_before_the_last)
    assert "changed while it was read" in refused(address)


def test_a_silent_object_store_is_given_up_in_time(refused, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
        assert "was not downloaded within timeout=1 s" in refused("s3://bucket/x.csv", timeout=1)


def test_azure_wants_to_know_whose_account_it_is(refused, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT", raising=False)
    assert "AZURE_STORAGE_ACCOUNT, which is not set" in refused("az://container/x.csv")


def test_where_it_came_from_is_recorded_without_the_secret(database, store, monkeypatch):
    import mlflow

    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    assert run_program("data_download", data_url=f"{database}", query="SELECT id, age FROM people ORDER BY id") == 0
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.tags["data.source"] == database
    assert run.data.metrics["lines"] == 3
