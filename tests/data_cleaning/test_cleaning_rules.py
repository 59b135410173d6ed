"""What becomes of a row, on a dozen rows at most; no files, no MLflow."""

import cleaning
import numpy as np
import pandas as pd
import pytest
from cleaning import Cleaned
from declaration import parse_declaration
from duplicates import DuplicateDetector
from step_error import StepError
from table import Table

from tests.example_tables import TITANIC

ROW = {
    "PassengerId": 1,
    "Survived": 0,
    "Pclass": 3,
    "Name": 'Doe, Mr. John "Jack"',
    "Sex": "male",
    "Age": 22.0,
    "SibSp": 1,
    "Parch": 0,
    "Ticket": "A/5 21171",
    "Fare": 7.25,
    "Cabin": "C85",
    "Embarked": "S",
}


def clean(frame: pd.DataFrame, **options: object) -> Cleaned:
    return cleaning.clean(frame, TITANIC, **options)


def passengers(*changes: dict) -> pd.DataFrame:
    """One row for each dict of changes, numbered from 1 unless said otherwise."""
    return pd.DataFrame([ROW | {"PassengerId": number} | change for number, change in enumerate(changes, start=1)])


def cell(change: dict) -> object:
    """What clean() makes of the one cell that is changed."""
    return clean(passengers(change)).rows[next(iter(change))].iloc[0]


def why(change: dict, **arguments: object) -> str:
    return clean(passengers(change), **arguments).reasons.get(0, "")


def test_a_good_row_is_kept_as_it_is_with_the_types_of_the_schema() -> None:
    cleaned = clean(passengers({})).rows
    assert cleaned.iloc[0].to_dict() == ROW
    assert cleaned.dtypes.astype(str).value_counts().to_dict() == {"Int64": 5, "string": 5, "float64": 2}


def test_typed_and_text_frames_give_the_same() -> None:
    typed = passengers({}, {"Age": np.nan}, {"Cabin": None})
    text = typed.astype(object).where(typed.notna(), "").astype(str)
    pd.testing.assert_frame_equal(clean(typed).rows, clean(text).rows)


def test_the_inputs_index_is_kept_and_does_not_matter() -> None:
    frame = passengers({}, {"Age": -3}, {}).set_axis(["x", "y", "x"])
    cleaned = clean(frame)
    assert list(cleaned.rows.index) == ["x", "x"]
    assert cleaned.reasons.to_dict() == {"y": "Age_out_of_range"}


def test_the_input_is_not_changed() -> None:
    frame = passengers({"Name": "  x "}, {"Age": -3})
    before = frame.copy()
    clean(frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Name": "  Doe, \n Mrs.\u00a0John\t(Jane) "}, "Doe, Mrs. John (Jane)"),
        ({"Sex": " Male"}, "male"),
        ({"Embarked": "s "}, "S"),
        ({"Age": " 22 "}, 22),
        ({"Age": "22,5"}, 22.5),
        ({"Age": "+2.25e1"}, 22.5),
        ({"Age": ".5"}, 0.5),
        ({"Pclass": "3.0"}, 3),
        ({"Fare": "007.250"}, 7.25),
        ({"PassengerId": "0042"}, 42),
        ({"PassengerId": str(2**53)}, 2**53),
    ],
)
def test_spelling_that_does_not_matter_is_evened_out(change: dict, expected: object) -> None:
    assert cell(change) == expected


@pytest.mark.parametrize("text", ["", " ", "NA", "na", "N/A", "?", "NULL", "null", "NaN", "None", "-", "#N/A"])
@pytest.mark.parametrize("column", ["Age", "Cabin", "Embarked", "SibSp"])
def test_everything_that_stands_for_missing_is_missing(column: str, text: str) -> None:
    assert pd.isna(cell({column: text}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Pclass": 7}, "Pclass_not_allowed"),
        ({"Age": -3}, "Age_out_of_range"),
        ({"Age": 121}, "Age_out_of_range"),
        ({"Fare": -0.01}, "Fare_out_of_range"),
        ({"Survived": 2}, "Survived_not_allowed"),
        ({"Sex": "ship"}, "Sex_not_allowed"),
        ({"Embarked": "X"}, "Embarked_not_allowed"),
        ({"SibSp": 1.5}, "SibSp_not_a_whole_number"),
        ({"Age": "old"}, "Age_not_a_number"),
        ({"Age": "1,234.5"}, "Age_not_a_number"),
        ({"Age": "inf"}, "Age_not_a_number"),
        ({"Age": "1e999"}, "Age_not_a_number"),
        ({"Age": "0x16"}, "Age_not_a_number"),
        ({"Age": "1_0"}, "Age_not_a_number"),
        ({"PassengerId": "x"}, "PassengerId_not_a_number"),
        ({"PassengerId": ""}, "PassengerId_missing"),
        ({"PassengerId": "-1"}, "PassengerId_out_of_range"),
        ({"PassengerId": "99999999999999999999"}, "PassengerId_not_a_whole_number"),
        ({"Survived": "?"}, "Survived_missing"),
        ({"Pclass": 0, "Age": 300}, "Pclass_not_allowed; Age_out_of_range"),
    ],
)
def test_what_cannot_be_is_dropped_with_its_reason(change: dict, reason: str) -> None:
    assert why(change) == reason


@pytest.mark.parametrize("neighbour", [{}, {"Age": "inf"}, {"Age": "x"}, {"Age": "3,5"}])
def test_a_rows_fate_does_not_depend_on_its_neighbours(neighbour: dict) -> None:
    changes = [{"Age": "1e999"}, {"Age": "22,5"}, {"Age": "22.5"}, {"Age": "nan"}, {"Age": "-1"}]
    alone = [clean(passengers(change)) for change in changes]
    together = clean(passengers(*changes, neighbour))
    for position, one in enumerate(alone):
        assert one.reasons.get(0, "") == together.reasons.get(position, "")


def test_drop_leaves_out_rows_with_any_gap_and_keep_does_not() -> None:
    frame = passengers({}, {"Cabin": None}, {"Age": "NA"}, {"Name": ""})
    assert list(clean(frame).rows["PassengerId"]) == [1, 2, 3, 4]
    dropped = clean(frame, missing="drop")
    assert list(dropped.rows["PassengerId"]) == [1]
    assert set(dropped.reasons) == {"incomplete"}


def test_a_repeated_row_is_a_duplicate_and_another_row_with_its_id_is_rejected() -> None:
    cleaned = clean(
        passengers({}, {"PassengerId": 1}, {"PassengerId": 1, "Age": 30}, {"PassengerId": "1", "Age": "22"})
    )
    assert cleaned.reasons.to_dict() == {1: "duplicate", 2: "PassengerId_duplicate", 3: "duplicate"}


def test_a_rejected_row_does_not_take_the_id_from_a_later_good_one() -> None:
    cleaned = clean(passengers({"Age": -3}, {"PassengerId": 1}))
    assert list(cleaned.rows["Age"]) == [22]


def test_duplicates_are_found_over_chunks() -> None:
    seen = DuplicateDetector()
    clean(passengers({}), detector=seen)
    assert clean(passengers({"PassengerId": 1}), detector=seen).reasons.to_dict() == {0: "duplicate"}


def test_columns_are_found_in_any_order_and_spelling() -> None:
    frame = passengers({})[list(ROW)[::-1]].rename(
        columns={"PassengerId": " passenger id ", "SibSp": "SIB_SP", "Fare": "fare"}
    )
    assert list(clean(frame).rows) == list(ROW)


def test_missing_columns_are_all_named() -> None:
    with pytest.raises(StepError, match=r"missing columns Age, Fare;"):
        clean(passengers({}).drop(columns=["Age", "Fare"]))
    with pytest.raises(StepError, match=r"missing column Survived;.*require_target=false"):
        clean(passengers({}).drop(columns="Survived"))


def test_without_the_target_passengers_can_be_cleaned_for_scoring() -> None:
    frame = passengers({}, {"Cabin": None}).drop(columns="Survived")
    assert list(clean(frame, require_target=False).rows) == [name for name in ROW if name != "Survived"]
    assert why({"Survived": ""}, require_target=False) == ""
    assert why({"Survived": 2}, require_target=False) == "", "a target that cannot be is not known"
    assert clean(passengers({"Survived": 2}, {}), require_target=False).unknown == 1
    assert pd.isna(clean(passengers({"Survived": "later"}), require_target=False).rows["Survived"].iloc[0])
    assert why({"Survived": ""}, require_target=False, missing="drop") == ""


def test_extra_columns_are_dropped_or_kept_as_text() -> None:
    frame = passengers({"boat": " 7 ", "Home  town": "?"})
    assert list(clean(frame).rows) == list(ROW)
    kept = clean(frame, extra_columns="keep").rows
    assert list(kept) == [*ROW, "boat", "Home town"]
    assert kept["boat"].iloc[0] == "7"
    assert kept["Home town"].isna().all()


def test_no_rows_are_no_trouble() -> None:
    assert clean(passengers({}).iloc[:0]).rows.empty


@pytest.mark.parametrize("seed", range(5))
def test_seen_agrees_with_a_dictionary(seed: int) -> None:
    generator = np.random.default_rng(seed)
    seen, first = DuplicateDetector(), {}
    for _ in range(30):
        ids = generator.integers(0, 400, generator.integers(0, 40))
        rows = generator.integers(0, 2, len(ids)).astype(np.uint64)
        new, same = seen.add(ids, rows)
        for place, (key, row) in enumerate(zip(ids.tolist(), rows.tolist(), strict=True)):
            assert new[place] == (key not in first)
            assert same[place] == (first.setdefault(key, row) == row and not new[place])
    assert len(seen.runs) < 8


def of(**fields: dict) -> Table:
    """A declaration of these fields, and a target that is a number."""
    declared = [{"name": name, **content} for name, content in fields.items()]
    return parse_declaration({"fields": [*declared, {"name": "y", "type": "number", "role": "target"}]}, "x.yaml")


@pytest.mark.parametrize(
    ("field", "cell", "expected"),
    [
        ({"type": "boolean"}, "Yes", "true"),
        ({"type": "boolean"}, "0", "false"),
        ({"type": "boolean"}, "maybe", "a_not_true_or_false"),
        ({"type": "date"}, "2024-02-29", "2024-02-29"),
        ({"type": "date"}, "2023-02-29", "a_not_a_date"),
        ({"type": "date"}, "2024", "a_not_a_date"),
        ({"type": "date", "format": "%d.%m.%Y"}, "1.2.2024", "2024-02-01"),
        ({"type": "date", "format": "%d.%m.%Y"}, "2024-02-01", "2024-02-01"),
        ({"type": "date", "format": "%d.%m.%Y"}, "1/2/2024", "a_not_a_date"),
        ({"type": "date", "constraints": {"minimum": "2020-01-01"}}, "2019-12-31", "a_out_of_range"),
        ({"type": "datetime"}, "2024-01-01T10:00:00+02:00", "2024-01-01T08:00:00"),
        ({"type": "datetime"}, "2024-01-01 10:00", "2024-01-01T10:00:00"),
        ({"type": "string", "constraints": {"pattern": "[A-Z]{2}"}}, "DE", "DE"),
        ({"type": "string", "constraints": {"pattern": "[A-Z]{2}"}}, "DEU", "a_not_of_the_form"),
        ({"type": "string", "constraints": {"enum": ["a", "A"]}}, "a", "a"),
        ({"type": "integer", "constraints": {"enum": [1, 2]}}, "3", "a_not_allowed"),
        ({"type": "number", "constraints": {"minimum": 0}}, "-1", "a_out_of_range"),
        ({"type": "number", "constraints": {"required": True}}, "", "a_missing"),
    ],
)
def test_each_type_and_constraint_of_a_declaration_is_kept_to(field: dict, cell: str, expected: str) -> None:
    cleaned = cleaning.clean(pd.DataFrame({"a": [cell], "y": ["1"]}), of(a=field))
    assert [*cleaned.rows.get("a", []), *cleaned.reasons] == [expected]


def test_a_time_without_an_offset_is_not_read_by_the_offset_of_the_row_before() -> None:
    times = ["2024-01-01T10:00:00+02:00", "2024-01-01 10:00", "2024-01-01T10:00:00-05:00"]
    together = cleaning.clean(pd.DataFrame({"a": times, "y": ["1"] * 3}), of(a={"type": "datetime"})).rows["a"]
    assert together.tolist() == ["2024-01-01T08:00:00", "2024-01-01T10:00:00", "2024-01-01T15:00:00"]


def test_rows_of_a_table_without_a_key_are_numbered_and_equal_ones_are_kept() -> None:
    frame = pd.DataFrame({"a": ["1", "1", "x", "1"], "y": ["2"] * 4})
    cleaned = cleaning.clean(frame, of(a={"type": "integer"}), numbers=np.array([7, 8, 9, 10]))
    assert cleaned.rows["row"].tolist() == [7, 8, 10]


def test_a_text_key_tells_a_repeated_row_from_another_row_of_that_key() -> None:
    table = parse_declaration(
        {
            "primaryKey": "id",
            "fields": [
                {"name": "id"},
                {"name": "a", "type": "integer"},
                {"name": "y", "type": "number", "role": "target"},
            ],
        },
        "x.yaml",
    )
    frame = pd.DataFrame({"id": ["a", "b", "a", "b"], "a": ["1", "2", "1", "3"], "y": ["1"] * 4})
    assert cleaning.clean(frame, table).reasons.to_dict() == {2: "duplicate", 3: "id_duplicate"}


def test_a_pattern_that_cannot_be_used_is_told_in_a_sentence() -> None:
    table = of(a={"type": "string", "constraints": {"pattern": "(?=x)x"}})
    with pytest.raises(StepError, match=r"the pattern '\(\?=x\)x' of a cannot be used"):
        cleaning.clean(pd.DataFrame({"a": ["x"], "y": ["1"]}), table)


def test_a_column_named_by_a_sign_is_not_taken_for_one_without_a_name() -> None:
    frame = pd.DataFrame([["0", "1", "2"]], columns=["", "%", "y"])
    cleaned = cleaning.clean(frame, of(**{"column_1": {"type": "integer"}, "%": {"type": "integer"}}))
    assert cleaned.rows[["column_1", "%"]].values.tolist() == [[0, 1]]
