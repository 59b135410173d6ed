"""The declaration: what is wrong with one is told at once and by name; the reader takes nothing that is not clean."""

import json
from pathlib import Path

import pytest
from declaration import parse_declaration, read_declaration
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import TITANIC, rows, table

KEY = {"name": "id", "type": "integer"}
TARGET = {"name": "y", "type": "number", "role": "target"}


def declared(*fields: dict, **content: object):
    return parse_declaration({"fields": [*fields, TARGET], **content}, "dataset.yaml")


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        ({"type": "number"}, REGRESSION, ()),
        ({"type": "integer"}, REGRESSION, ()),
        ({"type": "boolean"}, BINARY, (0, 1)),
        ({"type": "integer", "constraints": {"enum": [0, 1]}}, BINARY, (0, 1)),
        ({"type": "string", "constraints": {"enum": ["a", "b", "c"]}}, MULTICLASS, ("a", "b", "c")),
    ],
)
def test_the_task_is_told_from_the_target_where_it_is_not_said(target, task, classes):
    found = parse_declaration({"fields": [{"name": "y", "role": "target", **target}]}, "x.yaml")
    assert (found.task, found.classes) == (task, classes)


@pytest.mark.parametrize(
    ("fields", "content", "message"),
    [
        ([{"name": "a", "typ": "integer"}], {}, "a: 'typ' is no key of a declaration: did you mean type?"),
        ([{"name": "a", "type": "float"}], {}, "a: type 'float' is none of integer, number"),
        ([{"name": "a", "role": "fature"}], {}, "role 'fature' is none of feature, target, key, ignored: did you mean"),
        ([{"name": "a"}, {"name": "a"}], {}, "the field a is there more than once"),
        ([TARGET | {"name": "z"}], {}, "more than one field has the role target"),
        ([], {"primaryKey": "idd"}, "primaryKey 'idd' is no field"),
        ([KEY], {"primaryKey": ["id", "y"]}, "primaryKey names 2 columns; give one"),
        ([KEY | {"role": "feature"}], {"primaryKey": "id"}, "id: the role key and primaryKey do not name the same"),
        ([{"name": "row"}], {}, "the field row has the name of the rows' numbers"),
        ([{"name": "a", "constraints": {"enum": [1, 2]}}], {}, "a: enum has 1, which is no text; put it in quotes"),
        (
            [{"name": "a", "type": "number", "constraints": {"minimum": 5, "maximum": 1}}],
            {},
            "minimum 5 is over maximum",
        ),
        ([{"name": "a", "constraints": {"pattern": "("}}], {}, "pattern '(' is no regular expression"),
        ([{"name": "a", "constraints": {"unique": True}}], {}, "unique is for the primary key alone"),
        ([{"name": "a", "slice": True}], {}, "a: slice is true (of a field with few values), or names ranges"),
        ([{"name": "a", "type": "date", "constraints": {"minimum": "soon"}}], {}, "'soon' is not a date such as"),
        ([{"name": "error"}], {"primaryKey": "error"}, "the key error has the name of a column of predictions.csv"),
        (
            [{"name": "d", "type": "date", "format": "dd.mm.yyyy"}],
            {},
            "format 'dd.mm.yyyy' is none for dates; write it",
        ),
        ([{"name": "d", "type": "date", "format": "%Q.%m"}], {}, "format '%Q.%m' is none for dates"),
        ([{"name": "a", "constraints": {"pattern": ["a"]}}], {}, "pattern ['a'] is no text; put it in quotes"),
        ([{"name": "ship"}], {"group": "shop"}, "group 'shop' is no field: did you mean ship?"),
        ([], {"task": "binary"}, "the classes of task binary are text or integers"),
        ([], {"task": "clustering"}, "task 'clustering' is none of binary, multiclass, regression"),
        ([], {"name": "a/b"}, "name 'a/b' is not made of letters"),
        ([], {"minimum": {"r2": "high"}}, "minimum is not a block of metrics, each with a number"),
        ([], {"missingValues": [0]}, "missingValues is not a list of texts"),
        ([{"name": "a", "missingValues": "x"}], {}, "a: missingValues is not a list of texts"),
        (
            [{"name": "a", "type": "number", "decimalchar": ","}],
            {},
            "no key of a declaration: did you mean decimalChar?",
        ),
        ([{"name": "a", "type": "number", "decimalChar": ";"}], {}, "a: decimalChar ';' is none of ','  '.'"),
        ([{"name": "a", "decimalChar": ","}], {}, "a: decimalChar is for numbers, not for string"),
        (
            [{"name": "a", "type": "number", "groupChar": "."}],
            {},
            "a: decimalChar and groupChar are both '.'; say both",
        ),
    ],
)
def test_what_is_wrong_with_a_declaration_is_told_in_one_sentence(fields, content, message):
    with pytest.raises(StepError) as error:
        declared(*fields, **content)
    assert (
        message in str(error.value) and str(error.value).startswith("dataset.yaml: ") and "\n" not in str(error.value)
    )


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(StepError) as error:
        declared({"name": "a", "type": "float"}, {"name": "b", "unti": "kg"}, titel="x")
    assert all(word in str(error.value) for word in ("'titel'", "'float'", "'unti'"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fields: [", "cannot be read"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("[]", "declares no table"),
        ("fields: []", "declares no table"),
    ],
)
def test_a_file_that_is_no_declaration_is_refused(text, message, tmp_path):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(StepError, match=message):
        read_declaration(tmp_path / "dataset.yaml")
    with pytest.raises(StepError, match="cannot be read"):
        read_declaration(tmp_path / "none.yaml")


def test_dates_need_no_quotes(tmp_path):
    text = "fields:\n  - {name: a, type: date, constraints: {minimum: 2020-01-01}}\n"
    text += "  - {name: y, type: number, role: target}\n"
    (tmp_path / "dataset.yaml").write_text(text)
    table = read_declaration(tmp_path / "dataset.yaml")
    assert table.by_name["a"].minimum == "2020-01-01" and "2020-01-01" in table.json()


def test_yes_and_no_are_texts_as_a_person_means_them(tmp_path):
    text = "fields:\n  - {name: y, role: target, constraints: {enum: [no, yes]}}\n"
    (tmp_path / "dataset.yaml").write_text(text)
    assert read_declaration(tmp_path / "dataset.yaml").classes == ("no", "yes")


KEYLESS = parse_declaration({"fields": [{"name": "a"}, TARGET]}, "x.yaml")


@pytest.mark.parametrize("of", [TITANIC, table(BINARY), table(MULTICLASS), table(REGRESSION), KEYLESS])
def test_a_declaration_travels_without_loss(of, tmp_path):
    (tmp_path / "dataset.json").write_text(of.json())
    package = {"resources": [{"name": "clean_data", "schema": of.schema()}]}
    (tmp_path / "datapackage.json").write_text(json.dumps(package))
    for name in ("dataset.json", "datapackage.json"):
        again = read_declaration(tmp_path / name)
        assert again.json() == of.json() and again.has_key == of.has_key
        assert (again.task, again.fields, again.minimum, again.limits) == (of.task, of.fields, of.minimum, of.limits)


def test_how_dates_are_written_raw_is_kept_beside_how_they_are_written_clean():
    of = declared({"name": "a", "type": "date", "format": "%d.%m.%Y"})
    assert of.schema()["fields"][1] | {"name": "a"} == {
        "name": "a", "type": "date", "format": "default", "raw_format": "%d.%m.%Y",
    }  # fmt: skip
    assert parse_declaration(of.schema(), "x").by_name["a"].format == "%d.%m.%Y"


def test_how_numbers_are_written_raw_is_no_key_of_the_clean_tables_schema():
    of = declared({"name": "a", "type": "number", "decimalChar": ",", "groupChar": "."})
    assert of.schema()["fields"][1] == {"name": "a", "type": "number", "raw_decimalChar": ",", "raw_groupChar": "."}
    again = parse_declaration(of.schema(), "x")
    assert (again.by_name["a"].decimal_char, again.by_name["a"].group_char) == (",", ".")
    assert again.schema() == of.schema() and not of.cleaned.by_name["a"].decimal_char


def test_slices_are_named_by_label_value_or_range(tmp_path):
    frame = rows(BINARY, 50)
    assert set(table(BINARY).slices[0].groups(frame["colour"])) == {"red", "green", "blue"}
    groups = TITANIC.by_name["Age"].groups(frame["size"].fillna(float("nan")))
    assert set(groups) == {"child", "adult", "older", "unknown"}
    assert groups[frame["size"].isna()].eq("unknown").all()


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A-0-00000,", ",", "order is empty in row 1"),
        (",red,", ",Red,", "colour 'Red' in row"),
        (",false,", ",nein,", "nein"),
        ("order,size", "order,seize", "has no column size"),
        (",shop 1", ",9,9,shop 1", "row 1 has 10 cells, the header 8"),
    ],
)
def test_the_reader_of_clean_tables_refuses_what_is_not(old, new, message, tmp_path):
    of, path = table(BINARY), tmp_path / "clean_data.csv"
    of.write(rows(BINARY), path)
    spoil(path, old, new)
    with pytest.raises(StepError) as error:
        of.read(path)
    assert message in str(error.value) and "run data_cleaning on it first" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("row", [0, 1, 299])
@pytest.mark.parametrize("change", [lambda cells: [*cells, "x"], lambda cells: cells[:-1], lambda cells: cells[:2]])
def test_a_row_with_other_cells_than_the_header_is_refused_wherever_it_is(row, change, tmp_path):
    of, path = table(REGRESSION), tmp_path / "clean_data.csv"
    of.write(rows(REGRESSION), path)
    lines = path.read_text().splitlines()
    lines[row + 1] = ",".join(change(lines[row + 1].split(",")))
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StepError, match="run data_cleaning on it first"):
        of.read(path)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_table_is_the_same_in_chunks(chunk, tmp_path):
    of, path = table(REGRESSION), tmp_path / "clean_data.csv"
    of.write(rows(REGRESSION, 50), path)
    whole = of.read(path)
    parts = list(of.read_chunks(path, chunk))
    assert max(map(len, parts)) <= chunk
    assert [row for part in parts for row in part.astype(str).values.tolist()] == whole.astype(str).values.tolist()


def test_a_target_that_is_not_known_everywhere_is_taken_only_where_that_is_said(tmp_path):
    of, path, frame = table(BINARY), tmp_path / "clean_data.csv", rows(BINARY, 30)
    frame["paid"] = frame["paid"].astype(object).where(frame.index % 2 == 0)
    of.write(frame, path)
    assert of.read(path, target="optional")["paid"].notna().sum() == 15
    assert "paid" not in of.read(path, target="none")
    with pytest.raises(StepError, match="paid is empty in row 2"):
        of.read(path)
