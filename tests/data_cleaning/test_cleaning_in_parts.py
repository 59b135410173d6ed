"""A file that is cleaned in parts, by any number of processes: the same bytes, or the same refusal."""

import hashlib
import sys
from pathlib import Path

import clean_file as cleaning
import pytest
from clean_file import clean_file
from declaration import parse_declaration
from labelling import read_labels
from step_error import StepError
from table import Table

from tests.example_tables import TITANIC
from tests.odd_passengers import odd_header, odd_rows
from tests.spark_cluster import standalone


def digests(path: Path, folder: Path, table: Table = TITANIC, **options: object) -> dict[str, str]:
    folder.mkdir()
    clean_file(path, folder, table, **({"max_rejected": 1} | options))
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir()}


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.csv"
    path.write_bytes(odd_header() + odd_rows(3000))
    return path


def test_parts_of_any_size_give_the_same_files(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digests(odd, tmp_path / "whole")
    assert set(whole) >= {"clean_data.csv", "rejected.csv", "checks.json", "profile.html"}
    for size in (1, 3_000, 50_000):
        monkeypatch.setattr(cleaning, "RANGE_BYTES", size)
        assert digests(odd, tmp_path / str(size)) == whole


@pytest.mark.integration
@pytest.mark.parametrize(
    ("workers", "options"),
    [(2, {}), (3, {"missing": "drop", "extra_columns": "keep", "require_target": False, "chunk_rows": 100})],
)
def test_any_number_of_workers_gives_the_same_files(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, options: dict[str, object]
) -> None:
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 20_000)
    alone = digests(odd, tmp_path / "alone", **options)
    assert digests(odd, tmp_path / "shared", workers=workers, **options) == alone
    duplicates = (tmp_path / "alone" / "rejected.csv").read_text().count("PassengerId_duplicate")
    assert duplicates > 50  # most of them in another part than the first row of their key


@pytest.mark.integration
def test_workers_number_the_rows_of_a_table_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [{"name": "size", "type": "number"}, {"name": "weight", "type": "number", "role": "target"}]
    table = parse_declaration({"name": "things", "fields": fields}, "things.yaml")
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 1_000)
    path = tmp_path / "things.csv"
    path.write_text("size,weight\n" + '1.5,"\n7"\n\nshort\n1.5,8\n' * 200)
    alone = digests(path, tmp_path / "alone", table)
    assert digests(path, tmp_path / "two", table, workers=2) == alone
    assert (tmp_path / "two" / "clean_data.csv").read_text().splitlines()[-1] == "600,1.5,8"
    assert (tmp_path / "two" / "rejected.csv").read_text().splitlines()[-1] == "599,1000,ragged,short,"


@pytest.mark.integration
def test_workers_know_the_labels(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 20_000)
    (tmp_path / "labels.csv").write_text("PassengerId,Survived\n" + "".join(f"{n},1\n" for n in range(1, 3000, 2)))
    joined = {}
    for workers in (1, 2):
        labels = read_labels(tmp_path / "labels.csv", TITANIC)
        joined[workers] = digests(odd, tmp_path / str(workers), labels=labels, workers=workers), labels.joined
    assert joined[1] == joined[2]
    assert joined[1][1] > 1000


@pytest.mark.integration
def test_workers_refuse_what_one_process_refuses_in_the_same_words(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 20_000)
    with odd.open("a") as file:
        file.write('9000,1,2,"never closed,male,2,0,0,x,1,,S\n')
    said = []
    for workers in (1, 2):
        with pytest.raises(StepError, match="a quote is opened here that is never closed") as raised:
            digests(odd, tmp_path / str(workers), workers=workers)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_an_encoding_without_bytes_of_its_own_for_line_ends_goes_one_way(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = tmp_path / "wide.csv"
    wide.write_bytes(odd.read_bytes().decode("utf-8-sig").encode("utf-16"))
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 20_000)
    alone = digests(wide, tmp_path / "alone")
    assert digests(wide, tmp_path / "two", workers=2) == alone
    assert alone["clean_data.csv"] == digests(odd, tmp_path / "narrow")["clean_data.csv"]
    assert "one process reads wide.csv: its line ends cannot be told from its bytes (utf-16)" in capsys.readouterr().out


@pytest.mark.integration
def test_a_spark_cluster_gives_the_same_files_and_the_same_refusal(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "RANGE_BYTES", 50_000)
    alone = digests(odd, tmp_path / "alone")
    with standalone(tmp_path) as master:
        assert digests(odd, tmp_path / "cluster", engine="spark", master=master) == alone
        with odd.open("a") as file:
            file.write('9000,1,2,"never closed,male,2,0,0,x,1,,S\n')
        with pytest.raises(StepError, match=r"odd\.csv, line \d+: a quote is opened here that is never closed"):
            digests(odd, tmp_path / "refused", engine="spark", master=master)


def test_without_pyspark_the_message_says_what_to_install(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(StepError, match=r"engine=spark needs PySpark, .*: pip install -r requirements-spark\.lock"):
        digests(odd, tmp_path / "out", engine="spark")
