"""model=auto: the simplest model that is within one standard error of the best."""

import pandas as pd
import pytest
from estimators import AUTO, DEFAULTS, Recipe, hyperparameters
from model_choice import chosen, simplest
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import rows, table


def tried(*means: float, error: float) -> pd.DataFrame:
    return pd.DataFrame({"model": list("abcd")[: len(means)], "mean": means, "error": error})


@pytest.mark.parametrize(
    ("means", "error", "expected"),
    [
        ((0.44, 0.43, 0.42, 0.40), 0.05, "a"),
        ((0.46, 0.43, 0.42, 0.40), 0.03, "b"),
        ((0.46, 0.45, 0.44, 0.40), 0.01, "d"),
        ((0.40, 0.40, 0.40, 0.40), 0.0, "a"),
    ],
)
def test_the_first_within_one_standard_error_of_the_least_is_taken(means, error, expected) -> None:
    assert simplest(tried(*means, error=error)) == expected


@pytest.mark.parametrize(("task", "line"), [(BINARY, "logistic_regression"), (REGRESSION, "linear_regression")])
def test_a_line_will_do_where_the_truth_is_one_and_not_where_it_is_none(
    task: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model, values in DEFAULTS[task].items():
        monkeypatch.setitem(DEFAULTS[task], model, values | ({"n_estimators": 10} if "n_estimators" in values else {}))
    of, frame = table(task), rows(task)
    recipe = Recipe(of, AUTO, hyperparameters(task, AUTO, {}), 0)
    found, all_tried = chosen(recipe, frame)
    assert (found.model, found.values) == (line, DEFAULTS[task][line])
    assert all_tried["model"].tolist() == list(DEFAULTS[task])
    far = (frame["size"].fillna(50) - 50).abs()  # both ends against the middle
    bent = frame.assign(**{of.target.name: (far > 25).astype("int64") if task == BINARY else far})
    assert chosen(recipe, bent)[0].model not in (line, AUTO)


def test_a_hyperparameter_is_of_a_model_that_is_named() -> None:
    assert hyperparameters(MULTICLASS, AUTO, {}) == {}
    with pytest.raises(StepError, match=r"C: model=auto takes each model as it is; leave it empty, or name a model"):
        hyperparameters(MULTICLASS, AUTO, {"C": 1.0})
