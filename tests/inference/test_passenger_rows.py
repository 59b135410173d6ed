import numpy as np
import pyarrow as pa
import pytest
from passenger_rows import NUMBER, TEXT, WHOLE, check, from_objects, from_text


def text(*cells):
    return pa.array(cells, pa.string())


def reasons(kind, name, *cells, read=from_text):
    column = read(text(*cells) if read is from_text else list(cells), kind)
    return check({name: column}, {name: kind}).reasons.tolist()


@pytest.mark.parametrize(
    ("kind", "name", "cell", "reason"),
    [
        (WHOLE, "PassengerId", "", "PassengerId is missing"),
        (WHOLE, "PassengerId", "x1", "PassengerId 'x1' is not a whole number"),
        (WHOLE, "Pclass", "7", "Pclass '7' is not one of 1, 2, 3"),
        (WHOLE, "Pclass", "2.5", "Pclass '2.5' is not a whole number"),
        (WHOLE, "SibSp", " NA ", "SibSp is missing"),
        (NUMBER, "SibSp", " NA ", ""),
        (NUMBER, "SibSp", "1.5", "SibSp '1.5' is not a whole number from 0 to 20"),
        (NUMBER, "Parch", "2.0", ""),
        (NUMBER, "Pclass", "2.5", "Pclass '2.5' is not one of 1, 2, 3"),
        (NUMBER, "Pclass", "", ""),
        (NUMBER, "Age", "old", "Age 'old' is not a number"),
        (NUMBER, "Age", "-3", "Age '-3' is not from 0 to 120"),
        (NUMBER, "Age", "1e999", "Age '1e999' is not a number"),
        (NUMBER, "Age", "inf", "Age 'inf' is not a number"),
        (NUMBER, "Age", "1_0", "Age '1_0' is not a number"),
        (NUMBER, "Age", "22,5", "Age '22,5' is not a number"),
        (NUMBER, "Age", "", ""),
        (NUMBER, "Age", "?", ""),
        (NUMBER, "Age", " +22.50 ", ""),
        (TEXT, "Sex", "unknown", "Sex 'unknown' is not one of female, male"),
        (TEXT, "Sex", " male ", ""),
        (TEXT, "Name", "x" * 99, ""),
        (WHOLE, "Other", "9007199254740995", "Other '9007199254740995' is not a whole number"),
    ],
)
def test_a_cell_of_a_csv_is_judged_with_its_reason(kind, name, cell, reason):
    assert reasons(kind, name, cell) == [reason]


@pytest.mark.parametrize(
    ("kind", "name", "cell", "reason"),
    [
        (NUMBER, "Age", "22", "Age '22' is not a number"),
        (NUMBER, "Age", True, "Age True is not a number"),
        (NUMBER, "Age", [1], "Age [1] is not a number"),
        (NUMBER, "Age", {"a": 1}, "Age {'a': 1} is not a number"),
        (NUMBER, "Age", float("inf"), "Age inf is not a number"),
        (NUMBER, "Fare", 10**400, "Fare 100000000000000000000000000000000000000… is not a number"),
        (NUMBER, "Age", None, ""),
        (NUMBER, "Age", 22, ""),
        (WHOLE, "Pclass", 2.0, ""),
        (WHOLE, "Pclass", 2.5, "Pclass 2.5 is not a whole number"),
        (WHOLE, "Pclass", None, "Pclass is missing"),
        (TEXT, "Name", 7, "Name 7 is not text"),
        (TEXT, "Name", None, ""),
        (TEXT, "Embarked", "", ""),
    ],
)
def test_a_value_of_a_json_is_judged_more_strictly(kind, name, cell, reason):
    assert reasons(kind, name, cell, read=from_objects) == [reason]
    assert reasons(kind, name, cell, cell, read=from_objects) == [reason] * 2


def test_all_reasons_of_a_row_are_said_and_counted_by_column():
    columns = {"Pclass": from_text(text("7", "1", "8"), WHOLE), "Age": from_text(text("old", "1", ""), NUMBER)}
    checked = check(columns, {"Pclass": WHOLE, "Age": NUMBER})
    assert checked.reasons.tolist() == [
        "Pclass '7' is not one of 1, 2, 3; Age 'old' is not a number",
        "",
        "Pclass '8' is not one of 1, 2, 3",
    ]
    assert checked.by_column == {"Pclass": 2, "Age": 1}
    assert checked.good.tolist() == [False, True, False]


def test_a_long_value_is_shortened_in_the_reason():
    assert len(reasons(NUMBER, "Age", "x" * 10_000)[0]) < 80


def test_numbers_are_read_exactly_and_alike_whether_or_not_a_neighbour_is_bad():
    expected = np.random.default_rng(0).random(2000) * 10.0 ** np.arange(-10, 10).repeat(100)
    cells = [repr(float(value)) for value in expected]
    alone = from_text(text(*cells), NUMBER).values
    beside = from_text(text(*cells, "bad"), NUMBER).values[:-1]
    assert (alone == expected).all()
    assert (beside == expected).all()


def test_empty_text_is_nan_as_in_training():
    values = from_text(text("C", "", "NULL"), TEXT).values
    assert values[0] == "C"
    assert all(isinstance(value, float) and np.isnan(value) for value in values[1:])


def test_no_rows_are_no_error():
    assert check({"Age": from_text(text(), NUMBER)}, {"Age": NUMBER}).reasons.tolist() == []
    assert check({"Age": from_objects([], NUMBER)}, {"Age": NUMBER}).reasons.tolist() == []
