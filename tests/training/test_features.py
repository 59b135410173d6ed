"""What a model reads of a table and makes of it: by the declaration alone, and by hand."""

import numpy as np
import pandas as pd
import pytest
from declaration import parse_declaration
from declared_features import by_declaration, date_parts, numbers, texts
from estimators import Recipe
from features import BY_HAND
from make_sample import passengers
from sklearn.compose import ColumnTransformer
from step_error import StepError
from table import BINARY, REGRESSION, TASKS, Table

from tests.example_tables import FIELDS, TARGETS, TITANIC, rows, table


def with_fields(*fields: dict[str, object], name: str = "one") -> Table:
    return parse_declaration({"name": name, "fields": [*fields, TARGETS[BINARY]]}, "one.yaml")


def linear(of: Table) -> Recipe:
    return Recipe(of, "logistic_regression", {"C": 1.0}, 0)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_reads_the_features_in_the_declarations_order_and_nothing_else(task: str) -> None:
    of = table(task)
    assert Recipe(of, "random_forest", {}, 0).columns == ["size", "colour", "sold", "returned", "shop"]


def test_the_titanic_is_read_by_hand() -> None:
    recipe = linear(TITANIC)
    assert recipe.columns == ["Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare"]
    assert recipe.build()[0].fit_transform(passengers(60)[recipe.columns]).shape == (60, 11)


def test_another_table_is_read_by_hand_where_features_py_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_hand(of: Table, scaled: bool) -> ColumnTransformer:
        return ColumnTransformer([("size", numbers(scaled), ["size"])])

    monkeypatch.setitem(BY_HAND, "orders-binary", by_hand)
    assert linear(table(BINARY)).columns == ["size"]
    assert len(Recipe(table(REGRESSION), "linear_regression", {}, 0).columns) == 5


@pytest.mark.parametrize("column", ["comment", "paid", "weight"])
def test_features_py_may_name_features_alone(column: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        BY_HAND, "orders-binary", lambda of, scaled: ColumnTransformer([("x", numbers(scaled), column)])
    )
    with pytest.raises(StepError, match=f"features.py reads {column}, which the table orders-binary does not have"):
        _ = linear(table(BINARY)).columns


def test_a_table_without_a_feature_is_refused() -> None:
    with pytest.raises(StepError, match="no field with the role feature"):
        _ = linear(with_fields({"name": "note", "role": "ignored"})).columns


def test_numbers_are_filled_with_the_median_and_small_sets_of_values_are_a_column_each() -> None:
    fields = [one for one in FIELDS if one["name"] in ("size", "colour", "returned")]
    frame = pd.DataFrame(
        {
            "size": [1.0, 2.0, np.nan, 9.0],
            "colour": pd.Series(["red", np.nan, "blue", "red"], dtype=object),
            "returned": [1.0, 0.0, np.nan, 0.0],
        }
    )
    found = by_declaration(with_fields(*fields), scaled=False).fit(frame)
    columns = {name: found.transform(frame)[:, place].tolist() for name, place in found.output_indices_.items()}
    assert columns == {
        "number": [[1], [2], [2], [9]],
        "code": [[0, 1], [1, 0], [1, 0], [1, 0]],
        "category": [[0, 1], [0, 1], [1, 0], [0, 1]],
        "remainder": [[], [], [], []],
    }
    unseen = frame.assign(colour="green").iloc[:1]
    assert found.transform(unseen)[0, found.output_indices_["category"]].tolist() == [0, 0]


def test_a_date_is_its_year_month_day_and_weekday_and_a_time_its_hour_too() -> None:
    cells = pd.DataFrame({"at": ["2024-02-29T10:30:00", "2023-12-31T23:59:59", np.nan, "2024-02-29T10:30:00"]})
    thursday, sunday = [54, 1, 28, 0, 10], [53, 11, 30, 3, 23]  # since 1970, from 0; weeks of numpy begin on Thursday
    assert date_parts("datetime", False).fit_transform(cells).tolist() == [thursday, sunday, thursday, thursday]
    days = cells.map(lambda text: text[:10], na_action="ignore")
    assert date_parts("date", False).fit_transform(days).tolist()[1] == sunday[:4]


@pytest.mark.parametrize("task", TASKS)
def test_a_text_is_encoded_without_its_own_rows_target(task: str) -> None:
    """With a text of its own for each row the target's mean is all that is known: no leak to be learned."""
    frame = rows(task, 60)
    target, names = frame[table(task).target.name], pd.DataFrame({"name": [f"n{place}" for place in range(60)]})
    encoded = texts(task, False).fit_transform(names, target)
    assert np.unique(encoded.round(12), axis=0).shape[0] <= 5, "one value for each fold"
    assert (encoded == texts(task, False).fit_transform(names, target)).all()


@pytest.mark.parametrize("task", TASKS)
def test_columns_that_are_empty_in_all_rows_do_no_harm(task: str) -> None:
    of, frame = table(task), rows(task, 60)
    empty = frame.assign(**{name: np.nan for name in ("size", "returned")})
    empty = empty.assign(**{name: pd.Series([np.nan] * 60, dtype=object) for name in ("colour", "sold", "shop")})
    for scaled in (False, True):
        found = by_declaration(of, scaled).fit(empty, empty[of.target.name])
        assert np.isfinite(found.transform(empty)).all()
        assert np.isfinite(found.transform(frame)).all(), "values that come later"
        assert np.isfinite(found.transform(pd.concat([frame.head(2), empty.head(2)]))).all()
