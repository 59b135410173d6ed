"""Probabilities corrected by how a row's companions came out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from companions import COMPANIONS, Companions
from cross_validation import make_folds, out_of_fold, scores
from declaration import parse_declaration
from estimators import DEFAULTS, Recipe
from explanation import contributions
from group_correction import choose, corrected, refuse_without_groups
from judgement import judge
from saved_model import open_model
from scipy.special import expit, logit
from step_error import StepError
from table import BINARY, REGRESSION, Table

from tests.example_tables import FIELDS, TARGETS, rows, save_model, table


def by_shop(task: str = BINARY) -> Table:
    fields = [one | {"role": "ignored"} if one["name"] == "shop" else one for one in FIELDS]
    content = {"name": "grouped", "primaryKey": "order", "group": "shop", "fields": [*fields, TARGETS[task]]}
    return parse_declaration(content, "grouped.yaml")


def orders(effect: float, count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Orders whose shops, four orders each, shift the outcome's log-odds by `effect` times what is the shop's own."""
    frame, draw = rows(BINARY, count, seed), np.random.default_rng(seed)
    shop = np.arange(count) // 4
    odds = frame["size"].fillna(50) / 15 - 3.3 + effect * draw.normal(size=count)[shop]
    frame["shop"] = [f"s{one}" for one in shop]
    return frame.assign(paid=(draw.random(count) < expit(odds)).astype("int64"))


KNOWN = Companions("order", "shop", 2.0, {"north": {"a": 0.5, "b": -0.25}, "7": {"c": -0.75}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = save_model(tmp_path / "model", by_shop(), rows(BINARY, 100))
    (folder / COMPANIONS).write_text(KNOWN.text(), encoding="utf-8")
    return folder


def test_the_log_odds_move_by_the_companions_residuals_and_never_by_the_rows_own() -> None:
    asked = pd.DataFrame({"order": ["a", "b", "new", "c", "d", "e"], "shop": ["north"] * 3 + ["7", "7", np.nan]})
    moves = KNOWN.moves(asked)
    np.testing.assert_allclose(moves, [-0.25 / 2, 0.5 / 2, 0.25 / 3, 0, -0.75 / 2, 0])
    said = pd.DataFrame({"paid": [0, 1, 0, 1, 1, 0], "probability": [0.1, 0.9, 0.49, 0.6, 0.6, 0.3]})
    found = KNOWN.correct(by_shop(), said, asked)
    np.testing.assert_allclose(found["probability"], expit(logit(said["probability"]) + 2 * moves), atol=1e-9)
    assert found["paid"].tolist() == [0, 1, 1, 1, 0, 0]


def test_whose_companions_are_unknown_keeps_every_bit_of_the_prediction(folder: Path) -> None:
    model, asked = open_model(folder), rows(BINARY, 30, seed=4)
    alone = replace(model, companions=None).predict(asked)
    strangers = asked.assign(shop=np.where(np.arange(30) % 2, "south", None))
    for frame in (strangers, asked.drop(columns="shop"), asked.drop(columns=["shop", "order"])):
        pd.testing.assert_frame_equal(model.predict(frame), alone)
    some = model.predict(asked.assign(shop=np.where(np.arange(30) < 5, "north", "south")))
    before = alone["probability"][:5]
    assert ((some["probability"][:5] > before) | (before == 1)).all()
    assert (some["probability"][:5] > before).sum() >= 3
    pd.testing.assert_frame_equal(some[5:], alone[5:])
    assert model.wanted == ("order", *model.columns, "shop")


def test_a_model_with_other_companions_is_another_model(folder: Path) -> None:
    """What a gate goes by that would not compare a model with itself."""
    digests = [open_model(folder).sha256]
    (folder / COMPANIONS).write_text(replace(KNOWN, weight=3.0).text(), encoding="utf-8")
    digests.append(open_model(folder).sha256)
    (folder / COMPANIONS).unlink()
    digests.append(open_model(folder).sha256)
    assert len(set(digests)) == 3


def test_reasons_add_up_with_the_companions_among_them(folder: Path) -> None:
    model, asked = open_model(folder), rows(BINARY, 20, seed=4).assign(shop="north")
    mean, found = contributions(model, asked)
    assert list(found) == [*model.columns, "shop"]
    assert (found["shop"] > 0).mean() > 0.5
    np.testing.assert_allclose(mean + found.sum(axis=1), model.predict(asked)["probability"], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", KNOWN.text().replace('"shop"', '"size"'), KNOWN.text().replace("0.5", '"much"')]
)
def test_what_is_no_table_of_companions_is_refused(folder: Path, text: str) -> None:
    (folder / COMPANIONS).write_text(text, encoding="utf-8")
    with pytest.raises(StepError, match=r"has a companions\.json that cannot be used .*; train it again"):
        open_model(folder)


def test_the_same_companions_are_the_same_bytes_and_are_read_as_they_were() -> None:
    assert Companions.read(KNOWN.text()) == KNOWN
    backwards = replace(KNOWN, residuals={"7": {"c": -0.75}, "north": {"b": -0.25, "a": 0.5}})
    assert backwards.text() == KNOWN.text()


@pytest.mark.parametrize(("effect", "gains"), [(3.0, True), (0.0, False)])
def test_it_helps_where_groups_share_a_fate_and_does_no_harm_where_not(effect: float, gains: bool) -> None:
    of, frame = by_shop(), orders(effect)
    recipe = Recipe(of, "logistic_regression", DEFAULTS[BINARY]["logistic_regression"], 0)
    folds = make_folds(of, frame, 5, 1, 0)
    said = out_of_fold(recipe.fit, of, recipe.columns, frame, folds)
    better, companions = corrected(of, frame, folds, said)
    before, after = (scores(of, frame, folds, one)["log_loss"].mean() for one in (said, better))
    assert after < before - 0.05 if gains else after < before + 0.01
    assert companions.weight >= 1 if gains else companions.weight <= 1


def test_the_headline_is_of_corrected_predictions_and_stands_beside_what_they_were() -> None:
    of, frame = by_shop(), orders(3.0, 160)
    recipe = Recipe(of, "logistic_regression", DEFAULTS[BINARY]["logistic_regression"], 0)
    plain = judge(recipe.fit, of, recipe.columns, frame, 3, 1, 0)
    found = judge(recipe.fit, of, recipe.columns, frame, 3, 1, 0, correct=True)
    assert found.metrics["uncorrected_log_loss"] == plain.metrics["cv_log_loss_mean"]
    assert found.metrics["cv_log_loss_mean"] < plain.metrics["cv_log_loss_mean"]
    assert found.metrics["group_correction_weight"] == found.companions.weight > 0
    assert found.metrics["group_cv_log_loss_mean"] == plain.metrics["group_cv_log_loss_mean"], "nobody has companions"
    assert plain.companions is None


def test_a_fold_is_corrected_by_the_others_alone() -> None:
    """Whatever its own outcomes are: they take no part in what is said of it."""
    of, frame = by_shop(), orders(3.0, 200)
    recipe = Recipe(of, "logistic_regression", DEFAULTS[BINARY]["logistic_regression"], 0)
    folds = make_folds(of, frame, 4, 1, 0)
    said = out_of_fold(recipe.fit, of, recipe.columns, frame, folds)
    first, _ = corrected(of, frame, folds, said)
    own = folds[0][1]
    turned = frame.assign(paid=frame["paid"].where(~frame.index.isin(own), 1 - frame["paid"]))
    second, _ = corrected(of, turned, folds, said)
    pd.testing.assert_frame_equal(first[0], second[0])
    assert not first[1].equals(second[1])
    assert len(scores(of, frame, folds, first)) == 4


def test_the_weight_is_the_one_of_least_log_loss() -> None:
    of, frame = by_shop(), orders(3.0)
    assert choose(of, frame, np.full(600, frame["paid"].mean())).weight >= 2
    assert choose(of, frame.assign(shop=[f"s{n}" for n in range(600)]), np.full(600, 0.5)).weight == 0


@pytest.mark.parametrize(
    ("of", "repeats", "words"),
    [
        (table(BINARY), 1, r"orders-binary is binary, its group not declared: leave it false"),
        (by_shop(REGRESSION), 1, r"grouped is regression, its group shop: leave it false"),
        (by_shop(), 0, r"cv_repeats must be at least 1"),
    ],
)
def test_where_there_is_nothing_to_correct_by_it_is_refused(of: Table, repeats: int, words: str) -> None:
    with pytest.raises(StepError, match=words):
        refuse_without_groups(of, rows(of.task), repeats)
