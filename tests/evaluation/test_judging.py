"""The figures a verdict rests on, and the gate that turns them into reasons."""

import numpy as np
import pandas as pd
import pytest
import training_data
from comparison import calibration_error, compare, in_holdout, largest_gaps, rank_auc, score, slices
from evaluation_model import EvaluationError
from evaluation_report import draw, page
from gate import RANGES, Gate, parse_gate, reasons_against
from make_sample import passengers
from sklearn.metrics import roc_auc_score

GATE = Gate(0.7, 0.75, 0.15, 0.55, 30, 0.02, 30)
GOOD = {"accuracy": 0.8, "roc_auc": 0.85, "calibration_error": 0.05}
NO_SLICES = pd.DataFrame(columns=["by", "slice", "count", "accuracy"])


def test_the_champions_holdout_is_found_by_the_hash_that_training_uses() -> None:
    ids = pd.Series(range(1, 3000))
    for test_size, seed in ((0.2, 0), (0.35, 12345), (0.5, 2**31 - 1)):
        np.testing.assert_array_equal(in_holdout(ids, test_size, seed), training_data.in_holdout(ids, test_size, seed))


def test_ranks_give_the_same_auc_as_scikit_learn_ties_included() -> None:
    generator = np.random.default_rng(0)
    survived, probability = generator.integers(0, 2, 200), generator.random(200).round(1)
    assert rank_auc(survived[None], probability[None])[0] == pytest.approx(roc_auc_score(survived, probability))
    assert rank_auc(np.ones((1, 5), int), np.full((1, 5), 0.3))[0] == 0.5


def test_calibration_error_is_zero_where_shares_agree_and_large_where_they_do_not() -> None:
    survived = np.tile([0, 1], 500)
    assert calibration_error(survived, np.full(1000, 0.5)) == pytest.approx(0)
    assert calibration_error(survived, np.full(1000, 0.9)) == pytest.approx(0.4)


def test_mcnemar_counts_those_on_whom_only_one_model_is_right() -> None:
    survived = np.array([1] * 10 + [0] * 10)
    right = np.where(survived == 1, 0.9, 0.1)
    worse = right.copy()
    worse[:6] = 0.1  # the other model misses six survivors
    found = compare(survived, right, worse)
    assert (found.only_challenger_right, found.only_champion_right) == (6, 0)
    assert found.mcnemar_p == pytest.approx(2 * 0.5**6)
    assert found.accuracy == pytest.approx(0.3)
    assert found.accuracy_low <= found.accuracy <= found.accuracy_high
    same = compare(survived, right, right)
    assert (same.accuracy, same.roc_auc, same.mcnemar_p) == (0, 0, 1)


def test_slices_cover_sex_class_age_and_their_combinations_with_counts() -> None:
    frame = passengers(200)
    table = slices(frame, frame["Survived"].to_numpy(), np.full(200, 0.9))
    assert list(table["by"].unique()) == [
        "sex", "class", "age", "sex x class", "sex x age", "class x age", "sex x class x age",
    ]  # fmt: skip
    assert (table.groupby("by")["count"].sum() == 200).all()
    women = table[(table["by"] == "sex") & (table["slice"] == "female")].iloc[0]
    assert women["accuracy"] == women["survived"] == pytest.approx(frame.query("Sex == 'female'")["Survived"].mean())
    assert women["selected"] == 1
    assert set(largest_gaps(table, 30)) <= set(table["by"])


def test_a_good_model_has_no_reasons_against_it() -> None:
    assert reasons_against(GATE, GOOD, NO_SLICES, None, None) == []


def test_all_reasons_are_said_together_with_their_figures() -> None:
    bad = {"accuracy": 0.5, "roc_auc": 0.5, "calibration_error": 0.3}
    table = pd.DataFrame(
        [
            {"by": "sex", "slice": "male", "count": 40, "accuracy": 0.3},
            {"by": "sex", "slice": "female", "count": 29, "accuracy": 0.0},  # too few to count
        ]
    )
    survived = np.tile([0, 1], 50)
    worse = compare(survived, np.full(100, 0.4), np.where(survived == 1, 0.9, 0.1))
    reasons = reasons_against(GATE, bad, table, worse, 100)
    assert [reason.split()[0] for reason in reasons] == [
        "accuracy", "ROC", "calibration", "accuracy", "accuracy", "ROC",
    ]  # fmt: skip
    assert "0.300 on the 40 passengers of sex male" in reasons[3]
    assert "McNemar p" in reasons[4]


def test_a_slice_is_only_held_against_a_model_where_chance_does_not_explain_it() -> None:
    small = pd.DataFrame([{"by": "age", "slice": "child", "count": 30, "accuracy": 0.5}])
    assert reasons_against(GATE, GOOD, small, None, None) == []
    assert len(reasons_against(GATE, GOOD, small.assign(count=1000), None, None)) == 1


def test_a_little_worse_than_the_champion_is_tolerated() -> None:
    survived = np.tile([0, 1], 100)
    champion = np.where(survived == 1, 0.9, 0.1)
    challenger = champion.copy()
    challenger[0] = 0.8  # one mistake in 200
    assert reasons_against(GATE, GOOD, NO_SLICES, compare(survived, challenger, champion), 200) == []


def test_too_few_passengers_unseen_by_both_is_a_reason() -> None:
    (reason,) = reasons_against(GATE, GOOD, NO_SLICES, None, 12)
    assert "only 12" in reason
    assert "split_seed" in reason


def test_all_wrong_thresholds_are_named_at_once() -> None:
    wrong = {"min_accuracy": "2", "tolerance": "-1", "min_slice_size": "x", "min_auc": "nan"}
    fine = {name: "1" for name in RANGES}
    with pytest.raises(EvaluationError) as error:
        parse_gate(fine | wrong)
    assert all(f"{name}={value!r}" in str(error.value) for name, value in wrong.items())


def test_the_report_escapes_what_comes_from_the_data_and_is_the_same_again() -> None:
    frame = passengers(100)
    frame["Sex"] = "<script>alert(1)</script>"
    survived, probability = frame["Survived"].to_numpy(), np.linspace(0, 1, 100)
    table = slices(frame, survived, probability)
    verdict = {
        "verdict": "rejected", "summary": "a <b>", "reasons": ["<img src=x>"], "notes": [], "difference": None,
        "challenger": {"version": 1, "metrics": score(survived, probability)}, "champion": None,
        "holdout": {"rows": 100}, "gate": {"min_slice_size": 30}, "largest_gaps": largest_gaps(table, 30),
    }  # fmt: skip
    first, second = (page(verdict, table, draw(survived, {"challenger": probability})) for _ in range(2))
    assert first == second
    assert "<script" not in first
    assert "<img src=x" not in first
    assert first.count("data:image/png") == 3
