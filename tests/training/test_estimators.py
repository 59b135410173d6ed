"""The models, their hyperparameters, and the bytes they are saved as."""

import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from cross_validation import cross_validate, summary
from estimators import DEFAULTS, build, hyperparameters
from hyperparameter_search import search
from make_sample import passengers
from mlflow.models import Model
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.preprocessing import FunctionTransformer
from skops_flavor import KNOWN_TYPES, TRUSTED_TYPES, dump_with_types, dumps, save_model
from training_data import FEATURES, TARGET, TrainingError, read_passengers
from training_settings import parse_settings

from tests.step_programs import defaults

DEFAULT_TEXTS = defaults("training")


def fitted(model: str, frame: pd.DataFrame, seed: int = 0) -> object:
    values = hyperparameters(model, {"n_estimators": "" if model == "logistic_regression" else "10"})
    return build(model, values, seed).fit(frame[FEATURES], frame[TARGET])


@pytest.mark.parametrize("model", DEFAULTS)
def test_the_same_model_is_saved_as_the_same_bytes_and_is_loaded_as_it_was(model: str) -> None:
    frame = passengers(150)
    first, second = fitted(model, frame), fitted(model, frame)
    data = dumps(first)
    assert dumps(second) == data
    assert dumps(fitted(model, passengers(150, seed=1))) != data
    loaded = skops.io.loads(data, trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(loaded.predict_proba(frame[FEATURES]), first.predict_proba(frame[FEATURES]))
    assert dumps(loaded) == data


@pytest.mark.parametrize("model", DEFAULTS)
def test_a_saved_model_holds_only_stock_types_no_pickle_and_no_time(model: str) -> None:
    data, types = dump_with_types(fitted(model, passengers(150)))
    assert set(skops.io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    assert types <= KNOWN_TYPES, "it is audited once more when it is saved, which takes time"
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".npy", ".npz", ".json"}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("odd", [HistGradientBoostingClassifier(), FunctionTransformer(os.system)], ids=str)
def test_a_model_that_no_step_would_open_is_not_saved(odd: object, tmp_path: Path) -> None:
    if hasattr(odd, "predict"):
        odd.fit(np.arange(40.0).reshape(20, 2), [0, 1] * 10)
    with pytest.raises(ValueError, match=r"types that are not trusted: (posix\.system|sklearn.*TreePredictor)"):
        save_model(odd, str(tmp_path / "model"), Model(), None, None, [], "3.11")
    assert not list((tmp_path / "model").iterdir())


@pytest.mark.parametrize("model", DEFAULTS)
def test_a_row_alone_is_scored_as_in_the_whole_file_whatever_is_missing(model: str) -> None:
    frame = passengers(150)
    frame.loc[0, ["Age", "Fare", "SibSp"]] = np.nan
    frame.loc[1, ["Name", "Sex"]] = np.nan
    classifier = fitted(model, passengers(150, seed=3))
    whole = classifier.predict_proba(frame[FEATURES])[:5, 1]
    alone = [classifier.predict_proba(frame[FEATURES].iloc[[i]])[0, 1] for i in range(5)]
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-12)


def test_the_title_in_the_name_matters() -> None:
    frame = passengers(300)
    frame["Survived"] = frame["Name"].str.contains("Master|Mrs").astype(int)
    assert (fitted("random_forest", frame).predict(frame[FEATURES]) == frame["Survived"]).mean() > 0.98


def test_given_hyperparameters_replace_defaults_and_none_means_no_limit() -> None:
    values = hyperparameters("random_forest", {"n_estimators": "7", "max_depth": "none", "C": ""})
    assert values == DEFAULTS["random_forest"] | {"n_estimators": 7, "max_depth": None}


def test_all_wrong_parameters_are_named_at_once() -> None:
    wrong = {
        "model": "forest", "n_estimators": "0", "learning_rate": "nan", "test_size": "1.5", "cv_folds": "1",
        "seed": "x", "plots": "yes", "model_name": "a/b",
    }  # fmt: skip
    with pytest.raises(TrainingError) as error:
        parse_settings(DEFAULT_TEXTS | wrong)
    assert all(f"{name}={value!r}" in str(error.value) for name, value in wrong.items())
    assert "soft_vote" in str(error.value)


def test_cross_validation_reports_mean_and_spread_of_each_metric() -> None:
    figures = summary(cross_validate(lambda part: fitted("logistic_regression", part), passengers(150), 3, 2, 0))
    assert set(figures) == {
        f"cv_{name}_{what}" for name in ("accuracy", "roc_auc", "log_loss", "brier") for what in ("mean", "std")
    }
    assert 0.6 < figures["cv_accuracy_mean"] < 1


@pytest.mark.integration
def test_the_search_finds_the_same_again_and_leaves_alone_what_was_given() -> None:
    frame, values = passengers(150), hyperparameters("logistic_regression", {})
    found, trials = search("logistic_regression", values, set(), frame, 3, 0, True)
    assert len(trials) == 3
    assert found["C"] == trials.loc[trials["log_loss"].idxmin(), "C"]
    assert search("logistic_regression", values, set(), frame, 3, 0, True)[0] == found
    assert search("logistic_regression", values, {"C"}, frame, 3, 0, True)[0] == values


@pytest.mark.integration
def test_the_default_model_reaches_what_the_project_promises_on_the_real_list(real_list: Path) -> None:
    frame = read_passengers(real_list)
    settings = parse_settings(DEFAULT_TEXTS)

    def fit(part: pd.DataFrame) -> object:
        return build(settings.model, settings.values, settings.seed).fit(part[FEATURES], part[TARGET])

    figures = summary(cross_validate(fit, frame, 10, 2, 0))
    assert figures["cv_accuracy_mean"] >= 0.835
    assert figures["cv_roc_auc_mean"] >= 0.875
