"""Oddities that were once read in silence, and wrongly: each is read rightly now, or refused in a sentence."""

import codecs
import csv
import io
import json
from pathlib import Path

import cleaning
import csv_reading
import pandas as pd
import pytest
from clean_file import Result, clean_file
from csv_reading import inspect
from declaration import parse_declaration
from labelling import read_labels
from step_error import StepError
from table import Table

from tests.conftest import ROOT
from tests.example_tables import TITANIC

SAMPLE = ROOT / "data" / "titanic_sample.csv"
TEXT = SAMPLE.read_text(encoding="utf-8")
HEADER, *ROWS = TEXT.splitlines()


def cleaned(content: str | bytes, folder: Path, table: Table = TITANIC, **options: object) -> Result:
    (folder / "out").mkdir(parents=True, exist_ok=True)
    (folder / "in.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return clean_file(folder / "in.csv", folder / "out", table, profile=False, **options)


def clean_bytes(content: str | bytes, folder: Path, table: Table = TITANIC, **options: object) -> bytes:
    result = cleaned(content, folder, table, **options)
    assert not result.checks.failures
    return (folder / "out" / "clean_data.csv").read_bytes()


def of(**fields: dict) -> Table:
    """A declaration of these fields, and a target that is a number."""
    declared = [{"name": name, **content} for name, content in fields.items()]
    return parse_declaration({"fields": [*declared, {"name": "y", "type": "number", "role": "target"}]}, "x.yaml")


def verdict(field: dict, cell: str) -> object:
    """The value of the one cell `a`, or why its row is rejected."""
    found = cleaning.clean(pd.DataFrame({"a": [cell], "y": ["1"]}), of(a=field))
    return [*found.rows.get("a", []), *found.reasons][0]


def with_line(line: str, number: int) -> str:
    """The sample with a line put in, so that it is line `number` of the file."""
    lines = TEXT.splitlines()
    return "\n".join([*lines[: number - 1], line, *lines[number - 1 :]]) + "\n"


# ---- encoding


@pytest.mark.parametrize("block", [1 << 20, 7, 1])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_broken_byte_in_a_file_of_utf_8_is_refused_with_its_line(block, end, tmp_path, monkeypatch):
    text = "PassengerId,Name\n1,Müller\n2,Weiß\n3,M?ller\n".replace("\n", end)
    (tmp_path / "x.csv").write_bytes(text.encode().replace(b"?", b"\xfc"))
    monkeypatch.setattr(csv_reading, "BLOCK_BYTES", block)
    with pytest.raises(StepError, match=r"x\.csv, line 4: the byte 0xfc is not UTF-8, which other lines are; correct"):
        inspect(tmp_path / "x.csv")


def test_a_broken_byte_does_not_spoil_the_other_names(tmp_path):
    content = TEXT.encode() + b'9000,1,1,"M?ller, Mr. B",male,3,0,0,T,1,C,S\n'.replace(b"?", b"\xfc")
    with pytest.raises(StepError, match=r"line 902: the byte 0xfc"):
        cleaned(content, tmp_path)


def test_what_is_read_as_windows_1252_is_said_so(tmp_path, capsys):
    result = cleaned(TEXT.encode("cp1252"), tmp_path)
    note = "read as Windows-1252; save it as UTF-8, or say its encoding, to be sure"
    assert f"note: {note}" in result.checks.as_text()
    assert json.loads((tmp_path / "out" / "checks.json").read_text())["notes"] == [note]
    assert f"Note: {note}" in (tmp_path / "out" / "checks.html").read_text()
    assert not cleaned(TEXT, tmp_path / "utf-8").checks.notes


def test_a_byte_that_is_in_no_guessed_encoding_is_named(tmp_path):
    content = (
        with_line('9000,1,1,"Šimůnek, Mr. B",male,3,0,0,T,1,C,S', 50).replace("å", "a").encode("cp1250", "replace")
    )
    content = content.replace(b"im\xf9nek", b"im\x81nek")
    with pytest.raises(StepError, match=r"line 50: the byte 0x81 is neither UTF-8 nor Windows-1252; .*encoding=cp1250"):
        cleaned(content, tmp_path)


@pytest.mark.parametrize(("encoding", "name"), [("cp1250", "Šimůnek"), ("shift_jis", "山田"), ("utf-16-le", "Ωmega")])
def test_an_encoding_that_is_said_is_taken(encoding, name, tmp_path):
    table = of(a={})
    content = f"a,y\n{name},1\nb,2\n".encode(encoding)
    assert f"1,{name},1\n".encode() in clean_bytes(content, tmp_path, table, encoding=encoding)


def test_a_byte_order_mark_is_no_part_of_the_header_where_utf_8_is_said(tmp_path):
    assert clean_bytes(codecs.BOM_UTF8 + TEXT.encode(), tmp_path, encoding="UTF8") == clean_bytes(TEXT, tmp_path)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp12520", "encoding='cp12520' is no encoding; give one such as"),
        ("hex", "encoding='hex' is no encoding"),
        ("ascii", r"line \d+: the byte 0xc3 is not ascii; correct that line, or say what it is: encoding="),
        ("utf-16", "(?i)utf-16"),
    ],
)
def test_an_encoding_that_cannot_be_is_refused(encoding, message, tmp_path):
    with pytest.raises(StepError, match=message):
        cleaned(TEXT, tmp_path, encoding=encoding)


@pytest.mark.parametrize("rows", [5, 20_000])
def test_a_nul_is_refused_with_its_line_wherever_it_is(rows, tmp_path):
    text = "a,y\n" + "some text,1\n" * rows + "so\0me,1\n" + "some text,1\n" * rows
    assert (rows > 5) == (len(text) > 2 * 12 * 10_000)
    with pytest.raises(StepError, match=rf"in\.csv, line {rows + 2}: a NUL character"):
        cleaned(text * 1, tmp_path, of(a={}))


def test_a_nul_beyond_the_first_block_is_refused_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_reading, "BLOCK_BYTES", 1000)
    with pytest.raises(StepError, match="line 300: a NUL"):
        cleaned(with_line('9000,1,1,"A\0, Mr. B",male,3,0,0,T,1,C,S', 300), tmp_path)


# ---- numbers


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("number", "1,234", "a_ambiguous_number"),
        ("number", "-12,500", "a_ambiguous_number"),
        ("integer", "1,000", "a_ambiguous_number"),
        ("integer", "1.000", "a_ambiguous_number"),
        ("number", "7,25", 7.25),
        ("number", "0,125", 0.125),
        ("number", "1,2345", 1.2345),
        ("number", "1234,567", 1234.567),
        ("number", "1.234", 1.234),
        ("number", "1.234,5", "a_not_a_number"),
        ("number", "1,234,567", "a_not_a_number"),
        ("integer", "3,0", 3),
        ("integer", "3.0", 3),
    ],
)
def test_a_number_that_may_be_one_of_two_is_refused_and_others_are_not(kind, cell, expected):
    assert verdict({"type": kind}, cell) == expected


@pytest.mark.parametrize(
    ("chars", "cell", "expected"),
    [
        (",", "1,234", 1.234),
        (",", "7,25", 7.25),
        (",", "12", 12),
        (",", "7.25", "a_not_a_number"),
        (".", "1.234", 1.234),
        (".", "7,25", "a_not_a_number"),
        (",.", "1.234", 1234),
        (",.", "-1.234.567,5", -1234567.5),
        (",.", "12.34", "a_not_a_number"),
        (",.", "1234.567", "a_not_a_number"),
        (".,", "1,234.5", 1234.5),
        (", ", "1\u00a0234,5", 1234.5),
        (", ", "1 234", 1234),
        (".'", "1\u2019234.5", 1234.5),
        (".'", "1'234", 1234),
        (",", "1,5e3", 1500),
        (",", "x", "a_not_a_number"),
        (",", "inf", "a_not_a_number"),
    ],
)
def test_with_what_the_declaration_says_of_them_numbers_are_read_so_and_in_no_other_way(chars, cell, expected):
    field = {"type": "number", "decimalChar": chars[0]} | ({"groupChar": chars[1]} if chars[1:] else {})
    assert verdict(field, cell) == expected
    if expected == int(expected if expected != "a_not_a_number" else 0.5):
        assert verdict(field | {"type": "integer"}, cell) == expected


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_list_with_decimal_commas_is_taken_by_a_declaration_that_says_so(separator, tmp_path):
    """Without a word of it, the fares such as 7,925 are refused, and it is said what to do."""
    rows = list(csv.reader(io.StringIO(TEXT)))
    places = [rows[0].index("Age"), rows[0].index("Fare")]
    commas = [[cell.replace(".", ",") if place in places else cell for place, cell in enumerate(row)] for row in rows]
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(commas)
    (failure,) = cleaned(out.getvalue(), tmp_path).checks.failures
    assert "Fare_ambiguous_number" in failure and "say decimalChar in the declaration (1,234 may be" in failure
    content = json.loads(TITANIC.json())
    for field in content["fields"]:
        field |= {"decimalChar": ","} if field["name"] in ("Age", "Fare") else {}
    declared = parse_declaration(content, "x.yaml")
    assert clean_bytes(out.getvalue(), tmp_path, declared) == clean_bytes(TEXT, tmp_path)


@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_a_column_with_decimal_commas_and_a_point_that_may_be_for_thousands_is_refused(chunk_rows, tmp_path):
    rows = ["7,25", "8.5", "1.234", "0,5"]
    content = "a;y\n" + "".join(f"{cell};1\n" for cell in rows)
    table = of(a={"type": "number"})
    (failure,) = cleaned(content, tmp_path, table, chunk_rows=chunk_rows).checks.failures
    assert failure.startswith(
        "a has commas before decimals (7,25 in line 2), so that 1.234 in line 4 may be in thousands"
    )
    assert not (tmp_path / "out" / "clean_data.csv").exists()
    for harmless in (content.replace("1.234", "12.5"), content.replace(",", ".")):
        assert not cleaned(harmless, tmp_path, table).checks.failures


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (str(2**53), 2**53),
        (str(2**53 + 1), "a_not_a_whole_number"),
        (str(-(2**53) - 1), "a_not_a_whole_number"),
        (f"+{2**53 + 1}", "a_not_a_whole_number"),
        (f"{2**53 + 1}.0", "a_not_a_whole_number"),
        (str(2**53 - 1), 2**53 - 1),
        (f"+{2**53 - 1}", 2**53 - 1),
        ("9" * 19, "a_not_a_whole_number"),
        ("9" * 30, "a_not_a_whole_number"),
        ("0x10", "a_not_a_number"),
        ("0X10", "a_not_a_number"),
        ("1e2", 100),
        ("007", 7),
    ],
)
@pytest.mark.parametrize("neighbour", [None, "1.5e1", "x"])
def test_whole_numbers_are_exact_or_refused(cell, expected, neighbour):
    cells = [cell] if neighbour is None else [cell, neighbour]
    found = cleaning.clean(pd.DataFrame({"a": cells, "y": ["1"] * len(cells)}), of(a={"type": "integer"}))
    assert (found.rows["a"].get(0), found.reasons.get(0)) == (
        (expected, None) if isinstance(expected, int) else (None, expected)
    )


def test_a_number_is_refused_with_the_reason_why(tmp_path):
    cleaned(f"a,y\n{2**53 + 1},1\n", tmp_path, of(a={"type": "integer"}), max_rejected=1)
    checks = json.loads((tmp_path / "out" / "checks.json").read_text())["checks"]
    (meaning,) = [one["meaning"] for one in checks if (one["column"], one["rule"]) == ("a", "not_a_whole_number")]
    assert meaning == "must be a whole number of at most 9007199254740992 either way, beyond which digits are lost"


def test_known_outcomes_are_joined_to_raw_numbers_and_clean_tables_are_read_once_more(tmp_path):
    fields = [{"name": "id"}, {"name": "y", "type": "number", "role": "target", "decimalChar": ",", "groupChar": "."}]
    table = parse_declaration({"primaryKey": "id", "fields": fields}, "x.yaml")
    (tmp_path / "labels.csv").write_text("id;y\na;1.234,567\nb;1.234\n")
    labels = read_labels(tmp_path / "labels.csv", table)
    clean = clean_bytes("id;y\na;\nb;\nc;7,5\n", tmp_path, table, labels=labels)
    assert clean == b"id,y\na,1234.567\nb,1234\nc,7.5\n"
    assert clean_bytes(clean.replace(b"c,7.5", b"c,1.234"), tmp_path, table.cleaned).endswith(b"c,1.234\n")


# ---- words that stand for nothing


def test_a_field_says_itself_what_stands_for_a_missing_value():
    assert pd.isna(verdict({}, "Null"))
    assert verdict({"missingValues": [""]}, "Null") == "Null"
    assert pd.isna(verdict({"missingValues": ["x"]}, " X "))
    assert pd.isna(verdict({"missingValues": ["x"]}, ""))


# ---- swapped columns


def test_names_and_tickets_in_each_others_place_are_refused(tmp_path):
    swapped = TEXT.replace("Name,", "?,", 1).replace("Ticket,", "Name,", 1).replace("?,", "Ticket,", 1)
    (failure,) = cleaned(swapped, tmp_path).checks.failures
    assert "900 of 900 rows were rejected (Name_not_of_the_form 900, first in line 2)" in failure


def test_every_name_of_the_published_list_is_of_the_form(real_list, tmp_path):
    assert clean_file(real_list, tmp_path, TITANIC).checks.rejected == 0


# ---- lines above the header


@pytest.mark.parametrize(
    "above",
    [
        "sep={separator}\n",
        '"sep={separator}"\n',
        "SEP={separator}{separator}{separator}\n",
        "Passengers of the Titanic\n",
        "Passengers, crew; and others\n\nas of 1912\n",
        "sep={separator}\nPassengers\n",
        "\nPassengers\n\n",
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t", ":"])
def test_lines_above_the_header_are_left_out_and_said(above, separator, tmp_path):
    if separator == ":" and "sep" not in above.lower():
        pytest.skip("a separator that is not among the usual ones must be said")
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(csv.reader(io.StringIO(TEXT)))
    lines = above.format(separator=separator)
    bad = separator.join(["9000", "1", "7", '"A, Mr. B"', "male", "3", "0", "0", "T", "1", "C", "S"]) + "\n"
    result = cleaned(lines + out.getvalue() + bad, tmp_path)
    assert (tmp_path / "out" / "clean_data.csv").read_bytes() == clean_bytes(TEXT, tmp_path / "plain")
    notes = " ".join(result.checks.notes)
    assert (f"line 1 says that {separator!r} is the separator" in notes) == ("sep" in lines.lower())
    titled = f"the header is line {lines.count(chr(10)) + 1}; what stands above it was left out: 'Passengers"
    assert (titled in notes) == ("Passengers" in lines)
    rejected = (tmp_path / "out" / "rejected.csv").read_text().splitlines()[1]
    assert rejected.startswith(f"901,{902 + lines.count(chr(10))},Pclass_not_allowed,9000,")


def test_the_first_line_stays_the_header_where_no_later_one_is_better(tmp_path):
    """A header that lacks columns is told as such, and rows that look like another header are rows."""
    with pytest.raises(StepError, match="missing column Age; "):
        cleaned(TEXT.replace("Age,", "Years,", 1), tmp_path)
    with pytest.raises(StepError, match="missing columns PassengerId"):
        cleaned("\n".join(ROWS), tmp_path)
    assert len(cleaned(f"{TEXT}{HEADER}\n", tmp_path).source.columns) == 12
