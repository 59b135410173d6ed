"""The models of each task, their hyperparameters, and the bytes they are saved as."""

import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from cross_validation import cross_validate, interval, make_folds, make_group_folds, summary
from estimators import DEFAULTS, Recipe, hyperparameters
from hyperparameter_search import SPACES, search
from make_sample import passengers
from predictions import HIGHER_IS_BETTER, METRICS, predict, score
from saved_model import TRUSTED_TYPES
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import FunctionTransformer
from skops_flavor import KNOWN_TYPES, dump_with_types, dumps, save_model
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION, Table
from training_data import read_rows

from tests.example_tables import TITANIC, rows, table

MODELS = [(task, model) for task, models in DEFAULTS.items() for model in models]
TABLES = [*MODELS, *(("titanic", model) for model in DEFAULTS[BINARY])]


def recipe(task: str, model: str, seed: int = 0, **given: object) -> Recipe:
    of = TITANIC if task == "titanic" else table(task)
    values = hyperparameters(of.task, model, given)
    return Recipe(of, model, values | ({"n_estimators": 5} if "n_estimators" in values else {}), seed)


def frame_of(task: str, count: int = 100, seed: int = 0) -> pd.DataFrame:
    return passengers(count, seed=seed) if task == "titanic" else rows(task, count, seed)


def said(of: Table, estimator: Any, frame: pd.DataFrame) -> np.ndarray:
    return estimator.predict(frame) if of.task == REGRESSION else estimator.predict_proba(frame)


@pytest.mark.parametrize(("task", "model"), TABLES)
def test_the_same_model_is_saved_as_the_same_bytes_and_is_loaded_as_it_was(task: str, model: str) -> None:
    how, frame = recipe(task, model), frame_of(task)
    first, second = how.fit(frame), how.fit(frame)
    data = dumps(first)
    assert dumps(second) == data
    assert dumps(how.fit(frame_of(task, seed=1))) != data
    loaded = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    np.testing.assert_array_equal(
        said(how.table, loaded, frame[how.columns]), said(how.table, first, frame[how.columns])
    )
    assert dumps(loaded) == data


@pytest.mark.parametrize(("task", "model"), TABLES)
def test_a_saved_model_holds_only_stock_types_no_pickle_and_no_time(task: str, model: str) -> None:
    data, types = dump_with_types(recipe(task, model).fit(frame_of(task)))
    assert set(skops.io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    assert types <= KNOWN_TYPES, "it is audited once more when it is saved, which takes time"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".npy", ".npz", ".json"}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_every_type_that_is_trusted_is_in_some_model() -> None:
    models = (recipe(task, model).fit(frame_of(task)) for task, model in TABLES if model != "soft_vote")
    found = set().union(*(dump_with_types(model)[1] for model in models))
    assert set(TRUSTED_TYPES) - found <= {"numpy.dtype"}


def test_no_type_that_can_run_code_is_trusted() -> None:
    """Plain data, or functions of numbers alone."""
    assert all(name.startswith(("numpy.", "sklearn.")) for name in TRUSTED_TYPES)
    assert not {"load", "fromfile", "memmap", "genfromtxt", "save"} & {name.split(".")[-1] for name in TRUSTED_TYPES}


@pytest.mark.parametrize("odd", [HistGradientBoostingClassifier(), FunctionTransformer(os.system)], ids=str)
def test_a_model_that_no_step_would_open_is_not_saved(odd: Any, tmp_path: Path) -> None:
    if hasattr(odd, "predict"):
        odd.fit(np.arange(40.0).reshape(20, 2), [0, 1] * 10)
    with pytest.raises(StepError, match=r"types that are not trusted: (posix\.system|sklearn.*TreePredictor)"):
        save_model(tmp_path / "model", odd, TITANIC, [], pd.DataFrame(), None, pd.DataFrame(), [], "3.11")
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize("model", DEFAULTS[BINARY])
def test_a_row_alone_is_scored_as_in_the_whole_file_whatever_is_missing(model: str) -> None:
    frame, how = passengers(150), recipe("titanic", model)
    frame.loc[0, ["Age", "Fare", "SibSp"]] = np.nan
    frame.loc[1, ["Name", "Sex"]] = np.nan
    classifier = how.fit(passengers(150, seed=3))
    whole = classifier.predict_proba(frame[how.columns])[:5, 1]
    alone = [classifier.predict_proba(frame[how.columns].iloc[[i]])[0, 1] for i in range(5)]
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_a_row_of_any_table_is_scored_with_nothing_in_it(task: str, model: str) -> None:
    how = recipe(task, model)
    names = {name: float if how.table.by_name[name].numeric else object for name in how.columns}
    nothing = pd.DataFrame({name: pd.Series([np.nan], dtype=kind) for name, kind in names.items()})
    found = predict(how.fit(frame_of(task)), how.table, nothing)
    assert found.notna().all(axis=None)


def test_the_title_in_the_name_matters() -> None:
    frame, how = passengers(300), recipe("titanic", "random_forest")
    frame["Survived"] = frame["Name"].str.contains("Master|Mrs").astype(int)
    assert (how.fit(frame).predict(frame[how.columns]) == frame["Survived"]).mean() > 0.98


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_every_model_learns_what_there_is_to_learn(task: str, model: str) -> None:
    how, unseen = Recipe(table(task), model, DEFAULTS[task][model], 0), rows(task, 300, seed=7)
    metrics = score(how.table, unseen[how.table.target.name], predict(how.fit(rows(task)), how.table, unseen))
    first = METRICS[task][0]
    assert metrics[first] > {BINARY: 0.8, MULTICLASS: 0.65, REGRESSION: 0.6}[task]


def test_given_hyperparameters_replace_defaults() -> None:
    values = hyperparameters(BINARY, "random_forest", {"n_estimators": 7, "max_depth": None})
    assert values == DEFAULTS[BINARY]["random_forest"] | {"n_estimators": 7, "max_depth": None}


@pytest.mark.parametrize(
    ("task", "model", "given", "words"),
    [
        (
            REGRESSION,
            "logistic_regression",
            {},
            "'logistic_regression' is not for the task regression, which has linear",
        ),
        (
            MULTICLASS,
            "linear_regression",
            {},
            "not for the task multiclass, which has logistic_regression, random_forest",
        ),
        (REGRESSION, "soft_vote", {"C": 1.0}, "C: not a parameter of model=soft_vote, which has alpha, n_estimators"),
        (BINARY, "soft_vote", {"alpha": 1.0}, "alpha: not a parameter of model=soft_vote, which has C, "),
        (BINARY, "random_forest", {"C": 1.0, "subsample": 0.5}, "C, subsample: not a parameter of model=random_forest"),
    ],
)
def test_what_a_task_or_a_model_does_not_have_is_refused_by_name(task: str, model: str, given: Any, words: str) -> None:
    with pytest.raises(StepError, match=words):
        hyperparameters(task, model, given)


@pytest.mark.parametrize(("task", "model"), TABLES)
def test_the_columns_are_made_once_whatever_the_model(task: str, model: str) -> None:
    """What they cost is most of what scoring a row costs."""
    built = recipe(task, model).build()
    assert type(built[0]).__name__ == "ColumnTransformer"
    assert "ColumnTransformer" not in repr(built[1].get_params(deep=True))


@pytest.mark.parametrize("task", DEFAULTS)
def test_cross_validation_reports_mean_spread_and_interval_of_each_metric(task: str) -> None:
    how, frame = recipe(task, next(iter(DEFAULTS[task]))), rows(task, 150)
    folds = make_folds(how.table, frame, 3, 2, 0)
    figures = summary(cross_validate(how.fit, how.table, how.columns, frame, folds), 3)
    kinds = ("mean", "std", "low", "high")
    assert set(figures) == {f"cv_{name}_{what}" for name in METRICS[task] for what in kinds}
    for name in METRICS[task]:
        low, mean, high = (figures[f"cv_{name}_{what}"] for what in ("low", "mean", "high"))
        assert low < mean < high
        assert high <= 1 if name in HIGHER_IS_BETTER else low >= 0
    assert 0.6 < figures[f"cv_{METRICS[task][0]}_mean"] < 1


def test_the_interval_counts_in_that_folds_train_on_much_the_same_rows() -> None:
    """Nadeau and Bengio's variance: (1 / 10 folds + 1 / 9 of the rows judged on, for each trained on) times s²."""
    values = pd.Series([0.75, 0.85] * 5)
    low, high = interval(values, 10)
    assert (high - low) / 2 == pytest.approx(2.262157 * values.std() * np.sqrt(1 / 10 + 1 / 9), rel=1e-6)
    assert (low + high) / 2 == pytest.approx(0.8)
    repeated = interval(pd.concat([values] * 100), 10)
    assert repeated[1] - repeated[0] > 0.6 * (high - low), "the same rows judged again are no new rows"


@pytest.mark.parametrize("task", DEFAULTS)
def test_a_group_is_whole_in_one_fold_and_every_row_is_judged_once_a_repeat(task: str) -> None:
    of, frame = table(task), rows(task, 150)
    together = np.arange(150) // 3
    folds = make_group_folds(of, frame, together, 5, 2, 0)
    assert len(folds) == 10
    assert not any(set(together[train]) & set(together[test]) for train, test in folds)
    for start in (0, 5):
        assert sorted(np.concatenate([test for _, test in folds[start : start + 5]])) == list(range(150))
    assert any(
        (one[1] != other[1]).any()
        for one, other in zip(folds[:5], folds[5:], strict=True)
        if len(one[1]) == len(other[1])
    )


@pytest.mark.parametrize("together", [np.arange(150), np.arange(150) // 60], ids=["all alone", "too few groups"])
def test_there_are_no_group_folds_where_they_would_say_nothing(together: np.ndarray) -> None:
    assert make_group_folds(table(BINARY), rows(BINARY, 150), together, 5, 1, 0) is None


def test_every_hyperparameter_has_a_range_to_be_searched() -> None:
    assert set(SPACES) == {name for models in DEFAULTS.values() for values in models.values() for name in values}


@pytest.mark.integration
@pytest.mark.parametrize(("task", "name", "metric"), [(BINARY, "C", "log_loss"), (REGRESSION, "alpha", "rmse")])
def test_the_search_finds_the_same_again_and_leaves_alone_what_was_given(task: str, name: str, metric: str) -> None:
    frame, how = rows(task, 150), recipe(task, next(iter(DEFAULTS[task])))
    found, trials = search(how, set(), frame, 3, True)
    assert len(trials) == 3
    assert found[name] == trials.loc[trials[metric].idxmin(), name]
    assert search(how, set(), frame, 3, True)[0] == found
    assert search(how, {name}, frame, 3, True)[0] == how.values


@pytest.mark.integration
def test_the_default_model_reaches_what_the_project_promises_on_the_real_list(real_list: Path) -> None:
    how = Recipe(TITANIC, "soft_vote", hyperparameters(BINARY, "soft_vote", {}), 0)
    frame, _ = read_rows(TITANIC, real_list)
    folds = make_folds(TITANIC, frame, 10, 2, 0)
    figures = summary(cross_validate(how.fit, TITANIC, how.columns, frame, folds), 10)
    assert figures["cv_accuracy_mean"] >= 0.835
    assert figures["cv_roc_auc_mean"] >= 0.875
