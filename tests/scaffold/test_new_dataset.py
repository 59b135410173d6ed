"""From a CSV to a declaration: what is decided, what is said of it, and that the steps' own reader takes it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clean_file import clean_file
from declaration import read_declaration
from table import BINARY, MULTICLASS, REGRESSION

from scaffold.new_dataset import DatasetError, write_declaration
from tests import messy_tables
from tests.conftest import ROOT


def first(question: str, answers: list[str]) -> str:
    return answers[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.yaml", "dataset.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def declare(folder: Path):
    """Declare a frame as CSV; the table, and what was said."""

    def declare(frame: pd.DataFrame, target: str, ask=first):
        frame.to_csv(folder / "new.csv", index=False)
        said = write_declaration(folder / "new.csv", target, folder, ask)
        return read_declaration(folder / "dataset.yaml"), "\n".join(said)

    return declare


def orders(**columns: object) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    paid = pd.Series(generator.choice(["yes", "no"], 200))
    return pd.DataFrame({"order_id": [f"A{n}" for n in range(200)], "paid": paid, **columns})


@pytest.mark.parametrize(
    ("name", "task", "key", "ignored", "types"),
    [
        ("cancer", BINARY, "patient_id", {"remarks"}, {"mean_area": "number"}),
        ("wine", MULTICLASS, "row", set(), {"harvest": "date", "magnesium": "integer", "grower": "string"}),
        ("diabetes", REGRESSION, "no", {"clinic", "next_visit_score"}, {"smoker": "boolean", "age_years": "integer"}),
    ],
)
def test_a_real_table_is_declared_as_a_person_would_and_cleaned_by_that(folder, name, task, key, ignored, types):
    csv = messy_tables.write(name, folder / f"{name}.csv")
    write_declaration(csv, messy_tables.TARGETS[name], folder, first)
    table = read_declaration(folder / "dataset.yaml")
    assert (table.task, table.key.name, table.name) == (task, key, name)
    assert {one.name for one in table.fields if one.role == "ignored"} == ignored
    assert {column: table.by_name[column].type for column in types} == types
    (folder / "out").mkdir()
    result = clean_file(csv, folder / "out", table)
    assert not result.checks.failures
    assert result.checks.rejected == (1 if name == "diabetes" else 0), "the row that is cut short"
    assert len(table.read(folder / "out" / "clean_data.csv")) == result.checks.rows_out


def test_it_says_what_it_decided_and_why_a_line_for_each_column(folder):
    csv = messy_tables.write("diabetes", folder / "diabetes.csv")
    said = "\n".join(write_declaration(csv, "progression", folder, first))
    assert re.search(r"next_visit_score  number    ignored   \d+ different values; GIVES THE TARGET AWAY", said)
    assert "age_years         integer   feature   19 to 79 years; 0 to 110 is allowed" in said
    assert (
        "the same in every row: left out" in said and "rows with more or fewer cells, which will be rejected: 1" in said
    )
    for column in pd.read_csv(csv, nrows=0):
        assert f"\n{column} " in said


def test_words_among_numbers_are_missing_values_of_the_declaration(folder):
    write_declaration(messy_tables.write("cancer", folder / "c.csv"), "diagnosis", folder, first)
    table = read_declaration(folder / "dataset.yaml")
    assert "unknown" in table.missing_values and table.positive == "malignant"


def test_two_lines_of_the_configuration_change_and_the_old_files_are_kept_beside(folder):
    before = {name: (folder / name).read_text() for name in ("config.yaml", "dataset.yaml")}
    for _ in range(2):
        write_declaration(messy_tables.write("wine", folder / "wine.csv"), "cultivar", folder, first)
    after = (folder / "config.yaml").read_text()
    changed = [new for old, new in zip(before["config.yaml"].split("\n"), after.split("\n"), strict=True) if old != new]
    assert [line.split(" #")[0] for line in changed] == ["data_url: wine.csv", "current: wine.csv"]
    assert all(" # " in line for line in changed), "what is said of them stays"
    for name, text in before.items():
        assert (folder / f"{name}.bak").read_text() == text and (folder / f"{name}.bak2").is_file()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["007", "012"] * 100, {"type": "string"}),
        (["1,5", "2,5"] * 100, {"type": "number"}),
        (["12/31/2023", "01/15/2024"] * 100, {"type": "date", "format": "%m/%d/%Y"}),
        (["2024-01-01 10:00", "2024-01-02 11:30"] * 100, {"type": "datetime"}),
        (["T", "F"] * 100, {"type": "boolean"}),
        ([str(n) for n in range(100)] * 2, {"type": "integer", "minimum": 0}),
        (["", *["3.5", "4.5"] * 99, "5"], {"type": "number"}),
        (["a"] * 150 + ["b"] * 50, {"type": "string", "enum": ("a", "b")}),
        (["-5", "-7"] * 100, {"type": "integer"}),
    ],
)
def test_the_type_of_a_column_is_told_from_its_cells(declare, column, expected):
    table, _ = declare(orders(x=column), "paid")
    field = table.by_name["x"]
    assert {name: getattr(field, name) for name in expected} == expected


def test_a_range_has_margin_but_does_not_go_below_zero_where_nothing_is(declare):
    table, _ = declare(orders(amount=[*range(1, 200), 101]), "paid")
    assert (table.by_name["amount"].minimum, table.by_name["amount"].maximum) == (0, 300)


def test_the_unit_is_taken_from_the_name(declare):
    table, _ = declare(orders(weight_kg=np.arange(200) / 7, **{"height [cm]": np.arange(200) / 3}), "paid")
    assert (table.by_name["weight_kg"].unit, table.by_name["height [cm]"].unit) == ("kg", "cm")


def test_what_cannot_be_decided_is_asked_once_and_assumed_where_nobody_answers(declare):
    frame = orders(stars=[1, 2, 3, 4] * 50, code=[f"c{n}" for n in range(200)])
    asked = []

    def ask(question: str, answers: list[str]) -> str:
        asked.append(question)
        return answers[-1]

    table, _ = declare(frame, "stars", ask)
    assert table.task == REGRESSION and table.key.name == "code" and len(asked) == 2
    table, said = declare(frame, "stars")
    assert table.task == MULTICLASS and table.key.name == "order_id"
    assert "key: order_id; code could be, too" in said and "assumed: take `enum` away for a quantity" in said


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("piad", "new.csv has no column 'piad': did you mean paid?"),
        ("", "TARGET is not given; name the column that is to be predicted: order_id, paid, same"),
        ("same", "same is the same in every row"),
        ("order_id", "order_id has 200 different values of type string: neither a number nor a few classes"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_nothing_is_written(declare, folder, target, message):
    before = sorted(path.name for path in folder.iterdir())
    text = (folder / "dataset.yaml").read_text()
    with pytest.raises(DatasetError) as error:
        declare(orders(same="x"), target)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "new.csv"])
    assert (folder / "dataset.yaml").read_text() == text


def test_a_file_that_is_no_table_is_refused(folder):
    (folder / "x.csv").write_bytes(b"\x1f\x8b\x08")
    for csv, message in ((folder / "x.csv", "binary or packed"), (folder / "none.csv", "names no file")):
        with pytest.raises(DatasetError, match=message):
            write_declaration(csv, "y", folder, first)


@pytest.mark.parametrize(
    ("cells", "chars"),
    [
        (["7,25", "1,234", "30,5"], (",", "")),
        (["7,25", "1.234,5", "30"], (",", ".")),
        (["7.25", "1,234", "30"], (".", ",")),
        (["7.25", "1,234.5", "30"], (".", ",")),
        (["7,25", "0,125", "30,5"], ("", "")),
        (["7.25", "1.234", "30.5"], ("", "")),
    ],
)
def test_what_commas_in_numbers_mean_is_declared_where_it_would_be_left_open(declare, folder, cells, chars):
    frame = orders(price=[cells[n % 3] if n < 100 else f"{n}" for n in range(200)])
    table, said = declare(frame, "paid")
    price = table.by_name["price"]
    assert (price.type, price.decimal_char, price.group_char) == ("number", *chars)
    assert ("written as 1" in said) == bool(chars[0])
    result = clean_file(folder / "new.csv", folder, table)
    assert result.checks.rows_out == 200 and not result.checks.failures


def test_commas_that_can_only_part_thousands_are_declared_as_that(declare):
    table, _ = declare(orders(price=[f"{100 + 37 * n:,}" for n in range(200)]), "paid")
    field = table.by_name["price"]
    assert (field.type, field.decimal_char, field.group_char) == ("integer", ".", ",")


def test_whole_numbers_beyond_what_a_number_holds_are_text(declare):
    table, _ = declare(orders(big=[str(2**53 + 2 * n) for n in range(200)]), "paid")
    assert table.by_name["big"].type == "string"


def test_texts_are_seen_as_data_cleaning_leaves_them(declare, folder):
    table, _ = declare(orders(mood=["very  good", "bad"] * 100), "paid")
    assert table.by_name["mood"].enum == ("bad", "very good")
    (folder / "out").mkdir()
    assert clean_file(folder / "new.csv", folder / "out", table).checks.rejected == 0


def test_numbers_of_any_size_are_looked_at(declare):
    table, _ = declare(orders(huge=np.linspace(-1.7e307, 1.7e307, 200)), "paid")
    assert table.by_name["huge"].type == "number"


def test_a_column_named_as_the_rows_numbers_is_refused_with_what_to_do(declare):
    with pytest.raises(DatasetError, match="has a column row, which is what rows' numbers are called here; rename it"):
        declare(orders(row=[3] * 200).drop(columns="order_id"), "paid")
