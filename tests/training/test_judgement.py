"""What a model is judged beside: baselines, and rows that belong together."""

import numpy as np
import pandas as pd
import pytest
from baselines import best_single_column, constant
from cross_validation import make_folds
from declaration import parse_declaration
from declared_features import joined
from estimators import DEFAULTS, Recipe
from features import party
from importance import background
from judgement import judge
from make_sample import passengers
from predictions import METRICS, predict, probability_columns
from table import BINARY, REGRESSION, TASKS
from table_features import groups

from tests.example_tables import FIELDS, TARGETS, TITANIC, rows, table

COLUMNS = ["size", "colour", "sold", "returned", "shop"]


@pytest.mark.parametrize("task", TASKS)
def test_the_best_single_column_is_found_whatever_the_others_hold(task: str) -> None:
    of, frame = table(task), rows(task)
    folds = make_folds(of, frame, 3, 1, 0)
    best, same = best_single_column(of, COLUMNS, frame, folds, 0), constant(of, frame, folds)
    assert (best.name, best.column) == ("size alone", "size")
    assert list(best.scores) == list(same.scores) == list(METRICS[task])
    assert len(best.scores) == 3
    first = METRICS[task][0]
    assert best.scores[first].mean() > same.scores[first].mean() + 0.1


def test_of_the_titanic_it_is_sex() -> None:
    frame = passengers(600)
    columns = Recipe(TITANIC, "logistic_regression", {"C": 1.0}, 0).columns
    folds = make_folds(TITANIC, frame, 3, 1, 0)
    assert best_single_column(TITANIC, columns, frame, folds, 0).name == "Sex alone"
    assert constant(TITANIC, frame, folds).scores["roc_auc"].tolist() == [0.5] * 3


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_better_than_one_answer_for_all_is_not_said_to_be(task: str) -> None:
    of, frame = table(task), rows(task)
    model = next(iter(DEFAULTS[task]))
    noise = frame.assign(**{of.target.name: frame[of.target.name].sample(frac=1, random_state=0).to_numpy()})
    fit = Recipe(of, model, DEFAULTS[task][model], 0).fit
    for data, better in ((frame, True), (noise, False)):
        found = judge(fit, of, COLUMNS, data, 3, 1, 0)
        mean, low, high = found.gain
        assert low < mean < high
        assert (mean > 0) == better
        assert found.groups == ""
        assert not any(name.startswith("group_") for name in found.metrics)


def test_nothing_is_judged_without_a_repeat() -> None:
    found = judge(pytest.fail, table(BINARY), COLUMNS, rows(BINARY), 3, 0, 0)
    assert (found.metrics, found.headline(table(BINARY))) == ({}, "")


@pytest.mark.parametrize("task", TASKS)
def test_who_leaks_a_target_to_a_companion_is_found_out_by_group(task: str) -> None:
    """Rows in fours that are the same but for their key: plain folds meet again whom they were trained on."""
    content = {"name": "fours", "primaryKey": "order", "group": "shop", "fields": [*FIELDS, TARGETS[task]]}
    of, frame = parse_declaration(content, "fours.yaml"), rows(task, 80)
    four = frame.loc[np.repeat(frame.index, 4)].reset_index(drop=True)
    four["order"], four["shop"] = [f"o{place}" for place in four.index], [f"s{place // 4}" for place in four.index]
    fit = Recipe(of, "random_forest", DEFAULTS[task]["random_forest"] | {"n_estimators": 20}, 0).fit
    found = judge(fit, of, COLUMNS, four, 5, 1, 0)
    assert found.groups == "shop"
    first = METRICS[task][0]
    assert found.metrics[f"group_cv_{first}_mean"] < found.metrics[f"cv_{first}_mean"] - 0.02
    assert found.metrics[f"group_baseline_{first}"] < 1
    assert "each shop kept whole" in found.headline(of)


def test_a_party_is_a_ticket_or_a_surname_of_a_class_and_whom_these_join() -> None:
    frame = pd.DataFrame(
        {
            "Name": ["Li, Mr. A", "Li, Mrs. B", "Ek, Miss. C", "Ek, Mr. D", "Oz, Mr. E", np.nan, "Ek, Mr. G"],
            "Pclass": [1.0, 1, 1, 1, 2, 1, 3],
            "Ticket": ["1", "2", "2", "3", np.nan, np.nan, "4"],
        },
        index=[9, 3, 5, 7, 1, 2, 4],
    )
    assert party(frame).tolist() == [0, 0, 0, 0, 4, 5, 6]
    assert party(frame.drop(columns="Ticket")).tolist() == [0, 0, 2, 2, 4, 5, 6]
    assert joined(pd.Series(["a", None, "b", "a", None])).tolist() == [0, 1, 2, 0, 4]


def test_rows_belong_together_by_the_declaration_where_nothing_is_by_hand() -> None:
    assert groups(table(REGRESSION), rows(REGRESSION)) is None
    assert groups(TITANIC, passengers(50))[0] == "party"


@pytest.mark.parametrize("task", TASKS)
def test_the_background_spans_what_the_model_says(task: str) -> None:
    of, frame = table(task), rows(task)
    how = Recipe(of, next(iter(DEFAULTS[task])), DEFAULTS[task][next(iter(DEFAULTS[task]))], 0)
    model = how.fit(frame)
    found = background(model, of, how.columns, frame)
    assert list(found) == ["order", *how.columns]
    assert len(found) == found["order"].nunique() == 32
    column = next(iter(probability_columns(of)), of.target.name)
    some, all_rows = (predict(model, of, one[how.columns])[column] for one in (found, frame))
    assert some.mean() == pytest.approx(all_rows.mean(), abs=0.02 * np.ptp(all_rows))
    assert np.ptp(some) > 0.9 * np.ptp(all_rows)
    assert len(background(model, of, how.columns, frame.head(9))) == 9
