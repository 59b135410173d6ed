import csv

import make_sample
import numpy as np
import pandas as pd
import pytest
from batch_scoring import Scorer, in_canary, score_file

from tests.inference.small_model import FEATURES, make_classifier

KINDS = dict.fromkeys(FEATURES, "text")
KINDS |= dict.fromkeys(["Pclass", "SibSp", "Parch"], "whole") | dict.fromkeys(["Age", "Fare"], "number")


@pytest.fixture(scope="module")
def scorer(passengers):
    return Scorer(make_classifier(passengers), KINDS, "3")


@pytest.fixture(scope="module")
def other(passengers):
    return Scorer(make_classifier(passengers, "random_forest"), KINDS, "4")


@pytest.fixture
def score(scorer, tmp_path):
    """Score a frame; the predictions' rows as lists of text, header first."""

    def run(frame: pd.DataFrame, **options):
        frame.to_csv(tmp_path / "in.csv", index=False)
        run.totals = score_file(tmp_path / "in.csv", tmp_path / "out.csv", scorer, **options)
        run.text = (tmp_path / "out.csv").read_text()
        return list(csv.reader(run.text.splitlines()))

    return run


def spoil(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype({"Pclass": object, "PassengerId": object, "Age": object})
    frame.loc[3, "Pclass"] = 7
    frame.loc[5, "PassengerId"] = None
    frame.loc[8, "Age"] = 'about "30"'
    return frame


def test_predictions_are_the_models_own_in_the_order_of_the_rows(score, scorer, passengers):
    shuffled = passengers.sample(frac=1, random_state=1)
    header, *rows = score(shuffled)
    assert header == ["PassengerId", "Survived", "probability"]
    assert [int(row[0]) for row in rows] == shuffled["PassengerId"].tolist()
    assert [int(row[1]) for row in rows] == scorer.classifier.predict(shuffled[FEATURES]).tolist()
    expected = scorer.classifier.predict_proba(shuffled[FEATURES])[:, 1]
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, atol=1e-10)


def test_labels_in_the_input_change_nothing(score, passengers):
    score(passengers)
    labelled = score.text
    score(passengers.drop(columns="Survived"))
    assert score.text == labelled


def test_rows_that_cannot_be_scored_keep_their_place_and_say_why(score, passengers):
    header, *rows = score(spoil(passengers))
    assert header == ["PassengerId", "Survived", "probability", "error"]
    assert len(rows) == len(passengers)
    assert rows[3] == ["4", "", "", "Pclass '7' is not one of 1, 2, 3"]
    assert rows[5] == ["", "", "", "PassengerId is missing"]
    assert rows[8] == ["9", "", "", "Age 'about \"30\"' is not a number"]
    assert all(row[1] and row[2] and not row[3] for place, row in enumerate(rows) if place not in (3, 5, 8))
    metrics = score.totals.metrics(shadow=False, canary=False)
    assert (metrics["rows"], metrics["scored"], metrics["errors"]) == (200, 197, 3)
    assert (metrics["errors_Pclass"], metrics["errors_PassengerId"], metrics["errors_Age"]) == (1, 1, 1)


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 199, 200, 1000])
def test_the_file_does_not_depend_on_the_chunks_it_is_scored_in(score, passengers, chunk_rows):
    score(spoil(passengers), model_version_column=True)
    whole = score.text
    score(spoil(passengers), model_version_column=True, chunk_rows=chunk_rows)
    assert score.text == whole


def test_the_whole_file_is_scored_as_each_row_alone(score, passengers):
    rows = score(spoil(passengers.head(40)))[1:]
    for place, expected in enumerate(rows):
        alone = score(spoil(passengers).iloc[[place]])[1]
        assert [*alone, ""][:4] == expected


def test_the_error_column_comes_late_where_the_first_error_does(score, passengers):
    frame = passengers.astype({"Pclass": object})
    frame.loc[190, "Pclass"] = "first"
    header, *rows = score(frame, chunk_rows=10)
    assert header[-1] == "error"
    assert {len(row) for row in rows} == {4}
    assert [place for place, row in enumerate(rows) if row[3]] == [190]


def test_no_passengers_no_predictions(score, passengers):
    assert score(passengers.head(0)) == [["PassengerId", "Survived", "probability"]]
    assert score.totals.metrics(shadow=True, canary=True)["rows"] == 0


def test_a_file_of_bad_rows_only_is_reported_whole(score, passengers):
    rows = score(passengers.assign(Pclass=9))[1:]
    assert len(rows) == 200
    assert score.totals.metrics(shadow=True, canary=True)["scored"] == 0


def test_a_share_is_routed_to_the_challenger_and_each_row_says_who_answered(score, scorer, other, passengers):
    header, *rows = score(passengers, challenger=other, canary=0.3)
    assert header == ["PassengerId", "Survived", "probability", "model_version"]
    by = {"3": scorer(passengers)[1], "4": other(passengers)[1]}
    assert {row[3] for row in rows} == {"3", "4"}
    assert all(float(row[2]) == by[row[3]][place] for place, row in enumerate(rows))
    assert score.totals.canary_rows == sum(row[3] == "4" for row in rows)


def test_the_canary_takes_its_share_the_same_passengers_every_time_and_more_on_top():
    ids = pd.Series(range(20_000))
    some, more = in_canary(ids, 0.1), in_canary(ids, 0.2)
    assert abs(some.mean() - 0.1) < 0.01
    assert (more >= some).all()
    assert not in_canary(ids, 0).any()
    assert in_canary(ids, 1).all()
    shuffled = ids.sample(frac=1, random_state=0)
    assert (in_canary(shuffled, 0.1) == some[shuffled]).all()


def test_a_canary_of_everyone_is_the_challengers_own_file(score, other, passengers):
    rows = score(passengers, challenger=other, canary=1)[1:]
    assert {row[3] for row in rows} == {"4"}


def test_the_shadow_is_compared_and_changes_no_answer(score, other, passengers, tmp_path):
    score(spoil(passengers))
    alone = score.text
    score(spoil(passengers), shadow=other, differences=tmp_path / "differences.csv", chunk_rows=30)
    assert score.text == alone
    differences = pd.read_csv(tmp_path / "differences.csv")
    metrics = score.totals.metrics(shadow=True, canary=False)
    assert metrics["shadow_differences"] == len(differences) > 0
    assert metrics["shadow_agreement"] == pytest.approx(1 - len(differences) / 197)
    assert (differences["Survived"] != differences["shadow_survived"]).all()
    assert metrics["shadow_max_absolute_difference"] >= metrics["shadow_mean_absolute_difference"] > 0


def test_a_model_with_a_threshold_of_its_own_keeps_it(score, passengers, tmp_path):
    from sklearn.model_selection import FixedThresholdClassifier

    strict = FixedThresholdClassifier(make_classifier(passengers), threshold=0.9, response_method="predict_proba")
    strict.fit(passengers[FEATURES], passengers["Survived"])
    survived, probability = Scorer(strict, KINDS)(passengers)
    assert (survived == strict.predict(passengers[FEATURES])).all()
    assert ((probability > 0.5) != survived).any()


def test_a_formula_in_an_identifier_stays_quoted_text(score):
    frame = make_sample.passengers(2).astype({"PassengerId": object})
    frame.loc[1, "PassengerId"] = '=cmd|"x",\n1'
    score(frame)
    assert list(csv.reader(score.text.splitlines(keepends=True)))[2][0] == '=cmd|"x",\n1'
