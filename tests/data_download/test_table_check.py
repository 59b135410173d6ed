"""Whether a file is the table that is meant, told from its first and last bytes."""

from pathlib import Path

import pytest
from download_error import DownloadError
from table_check import refuse_cut_record, refuse_other_than_table


def refused(tmp_path: Path, content: bytes, columns: str = "") -> str:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(DownloadError) as error:
        refuse_other_than_table(path, "URL", columns)
    assert str(error.value).isprintable()
    return str(error.value)


def taken(tmp_path: Path, content: bytes, columns: str = "") -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    refuse_other_than_table(path, "URL", columns)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"a;b\r\n1;2",
        b"a\tb\r1\t2\r",
        b"a|b\n1|2\n",
        b"\n \na,b\n\n1,2\n",
        b"a,b\n1\n1,2,,\n",  # the first row is short; separators end the second
        b'"a","b ""c"", d"\n1,"x\ny"\n',
        b'a,b\n1,2\n3,"' + b"x" * 200_000,  # a quote that is not closed: for data_cleaning to judge
        "ä,b\n1,ü\n".encode("cp1252"),
        "ä,b\n1,2\n".encode("utf-8-sig"),
        "ä,b\n1,2\n".encode("utf-16"),
        b"\xfe\xff" + "ä,b\n1,2\n".encode("utf-16-be"),
        ("a,b\n1,2\n" * 131_073).encode() + "ü".encode() * 10,  # cut within a character where it is looked at
        b",".join(b"column%d" % number for number in range(50_000)) + b"\n" + b"1," * 49_999 + b"1\n",
    ],
)
def test_tables_are_taken(content, tmp_path):
    taken(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n1\n2\n", "no row has the separators"),
        (b"a,b\nnothing\n", "no row has the separators"),
        (b"Error: \x1b[2Jno\nreally\n", "begins with 'Error:  [2Jno really'"),
        (b"a,b\n", "no rows"),
        (b"a" * (2 << 20), "first line is longer than"),
        ("<html>\n".encode("utf-16"), "HTML"),
        ('{"a": 1}\n'.encode("utf-8-sig"), "JSON"),
        ("a,b\n1,2\n".encode("utf-16-le"), "binary"),  # without a mark it cannot be told
    ],
)
def test_other_things_are_refused(content, message, tmp_path):
    assert message in refused(tmp_path, content)


@pytest.mark.parametrize(
    "columns", ["PassengerId,Survived", "survived, passenger id", "PASSENGER_ID", "passenger-id,,", "Ticket No.", " , "]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_columns_match_as_in_data_cleaning(columns, separator, tmp_path):
    header = separator.join(["Passenger Id", "_survived", '"ticket no"', "a,b" if separator != "," else "x"])
    taken(tmp_path, f"{header}\n{separator.join('1234')}\n".encode(), columns)


def test_one_declared_column_makes_a_table_of_one(tmp_path):
    taken(tmp_path, b"name\nMary\n", "Name")
    assert "no rows" in refused(tmp_path, b"name\n", "Name")


def test_all_missing_columns_are_named_with_what_is_there(tmp_path):
    assert refused(tmp_path, b"Name;Sex;Age\n1;2;3\n", "Sex,Fare,name,Cabin") == (
        "URL lacks the declared columns Fare, Cabin: its header is 'Name;Sex;Age'; "
        "check the address, or correct columns"
    )
    assert "lacks the declared column %:" in refused(tmp_path, b"a,#\n1,2\n", "%")
    assert "lacks the declared columns a, b:" in refused(tmp_path, b'"' + b"a" * 200_000 + b"\n1,2\n", "a,b")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"a,b\r1,2\r", b'a,b\r\n1,"x\r\n"\r\n'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_whole_record_is_told_from_a_cut_one(content, encoding, tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(content.decode().encode(encoding))
    refuse_cut_record(path, "URL")
    whole = content.decode().rstrip("\r\n")
    for length in range(len(whole) - 2, len(whole) + 1):
        path.write_bytes(whole[:length].encode(encoding))
        with pytest.raises(DownloadError, match="may be cut short"):
            refuse_cut_record(path, "URL")


def test_a_letter_of_utf_16_that_holds_the_byte_of_a_quote_is_none(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes("a,b\n1,\u0122\n".encode("utf-16"))
    refuse_cut_record(path, "URL")


TITLES = ["sep=,\n", "Passengers of the Titanic\n\n", "sep=,\nPassengers\n"]


@pytest.mark.parametrize(("above", "columns"), [("sep=,\n", ""), *((title, "PassengerId,Age") for title in TITLES)])
def test_lines_above_the_header_are_no_matter_where_the_columns_are_said(
    above: str, columns: str, tmp_path: Path
) -> None:
    taken(tmp_path, f"{above}PassengerId,Age\n1,22\n2,23\n".encode(), columns)
