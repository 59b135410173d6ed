"""The figures a verdict rests on, and the gate that turns them into reasons."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparison import calibration_error, compare, largest_gaps, losses, metrics_of, paired_t, slices
from declaration import parse_declaration
from evaluation_report import draw, page
from gate import (
    Gate,
    is_better,
    make_gate,
    reason_below_anchor,
    reason_to_stay,
    reason_too_few,
    reasons_against,
    reasons_worse,
)
from make_sample import passengers
from predictions import METRICS, probability_columns, rank_auc
from scipy.stats import ttest_1samp, wilcoxon
from sklearn.metrics import r2_score, roc_auc_score
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION, Table
from verdict import refuse_other_table

from tests.example_tables import TITANIC, rows, table

TASKS = [BINARY, MULTICLASS, REGRESSION]
GATE = Gate({"accuracy": 0.7, "roc_auc": 0.75}, 0.15, 0.55, 30, 0.02, 30)
GOOD = {"accuracy": 0.8, "roc_auc": 0.85, "calibration_error": 0.05}
NO_SLICES = pd.DataFrame(columns=["by", "slice", "count", "accuracy"])
NOT_GIVEN = dict.fromkeys(["max_calibration_error", "min_slice_accuracy"])
NOT_GIVEN |= dict.fromkeys(f"minimum_{metric}" for metric in ("accuracy", "balanced_accuracy", "roc_auc", "r2"))
NOT_GIVEN |= {"min_slice_size": 30, "tolerance": 0.02, "min_compared": 30, "accept_change": False}


def said(of: Table, values: Any, probability: Any = None) -> pd.DataFrame:
    """Predictions as a model gives them, sure of themselves where nothing else is said."""
    frame = pd.DataFrame({of.target.name: values})
    for name, value in probability_columns(of).items():
        frame[name] = (frame[of.target.name] == value).astype(float) if probability is None else probability
    return frame


def by_probability(of: Table, probability: np.ndarray) -> pd.DataFrame:
    (negative,) = set(of.classes) - {of.positive}
    return said(of, np.where(probability >= 0.5, of.positive, negative), probability)


def reasons(gate: Gate, metrics: dict[str, float], *rest: Any, of: Table = TITANIC) -> list[str]:
    truth = np.tile([0, 1], 100) if of.task == BINARY else rows(of.task)[of.target.name].to_numpy()
    return reasons_against(gate, of, truth, said(of, truth), metrics, *(rest or (NO_SLICES,)))


def test_ranks_give_the_same_auc_as_scikit_learn_ties_included() -> None:
    generator = np.random.default_rng(0)
    positive, probability = generator.random(200) < 0.4, generator.random(200).round(1)
    rank = np.unique(probability, return_inverse=True)[1]
    assert rank_auc(positive, rank) == pytest.approx(roc_auc_score(positive, probability))
    assert rank_auc(np.ones(5, bool), np.zeros(5, int)) == 0.5


def test_calibration_error_is_zero_where_shares_agree_and_large_where_they_do_not() -> None:
    outcome = np.tile([0, 1], 500)
    assert calibration_error(outcome, np.full(1000, 0.5)) == pytest.approx(0)
    assert calibration_error(outcome, np.full(1000, 0.9)) == pytest.approx(0.4)


def test_with_several_classes_calibration_is_that_of_the_class_that_was_said() -> None:
    of = table(MULTICLASS)
    truth = np.array(["low", "mid"] * 50, dtype=object)
    predicted = said(of, ["low"] * 100).assign(probability_low=0.9, probability_mid=0.1)
    assert metrics_of(of, truth, predicted)["calibration_error"] == pytest.approx(0.4)  # right in half, said to be 0.9


@pytest.mark.parametrize("task", TASKS)
def test_the_metrics_are_those_of_the_task(task: str) -> None:
    of, frame = table(task), rows(task)
    truth = frame[of.target.name].to_numpy()
    more = () if task == REGRESSION else ("calibration_error",)
    assert tuple(metrics_of(of, truth, said(of, truth))) == (*METRICS[task], *more)


@pytest.mark.parametrize("of", [TITANIC, table(MULTICLASS)], ids=lambda of: of.task)
def test_mcnemar_counts_those_on_whom_only_one_model_is_right(of: Table) -> None:
    truth = np.array([of.classes[1]] * 10 + [of.classes[0]] * 10)
    worse = truth.copy()
    worse[:6] = of.classes[0]  # the other model misses six
    found = compare(of, truth, said(of, truth), said(of, worse))
    assert (found["only_challenger_right"], found["only_champion_right"]) == (6, 0)
    assert found["mcnemar_p"] == pytest.approx(2 * 0.5**6)
    assert found["accuracy"] == pytest.approx(0.3)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert ("roc_auc" in found) == (of.task == BINARY)
    same = compare(of, truth, said(of, truth), said(of, truth))
    assert (same["accuracy"], same.get("roc_auc", 0), same["mcnemar_p"]) == (0, 0, 1)


def test_numbers_are_compared_by_r2_and_absolute_error_on_the_same_rows() -> None:
    of, truth = table(REGRESSION), rows(REGRESSION)["price"].to_numpy()
    noise = np.random.default_rng(0).normal(0, 10, len(truth))
    challenger, champion = truth + noise, truth + 2 * noise
    found = compare(of, truth, said(of, challenger), said(of, champion))
    assert found["r2"] == pytest.approx(r2_score(truth, challenger) - r2_score(truth, champion))
    assert found["mae"] == pytest.approx(-np.abs(noise).mean())
    assert found["mae_low"] < found["mae"] < found["mae_high"] < 0 < found["r2_low"] < found["r2"] < found["r2_high"]
    assert found["wilcoxon_p"] == wilcoxon(np.abs(noise), 2 * np.abs(noise)).pvalue < 1e-6
    same = compare(of, truth, said(of, challenger), said(of, challenger))
    assert (same["r2"], same["mae"], same["wilcoxon_p"]) == (0, 0, 1)


def test_slices_cover_the_declared_columns_and_their_combinations_with_counts() -> None:
    frame = passengers(200)
    found = slices(TITANIC, frame, said(TITANIC, np.ones(200, int)))
    assert list(found["by"].unique()) == [
        "Pclass", "Sex", "Age", "Pclass x Sex", "Pclass x Age", "Sex x Age", "Pclass x Sex x Age",
    ]  # fmt: skip
    assert (found.groupby("by")["count"].sum() == 200).all()
    assert set(found.loc[found["by"] == "Age", "slice"]) <= {"child", "adult", "older", "unknown"}
    women = found[(found["by"] == "Sex") & (found["slice"] == "female")].iloc[0]
    assert women["accuracy"] == women["positive"] == pytest.approx(frame.query("Sex == 'female'")["Survived"].mean())
    assert women["selected"] == 1
    gaps = largest_gaps(found, 30)
    assert set(gaps["Sex"]) == {"accuracy", "selected"}
    assert set(gaps) <= set(found["by"])


def test_slices_of_numbers_have_the_mean_the_error_and_the_bias_and_those_of_classes_the_accuracy() -> None:
    of, frame = table(REGRESSION), rows(REGRESSION)
    found = slices(of, frame, said(of, frame["price"] + 5 * (frame["colour"] == "red"))).set_index("slice")
    red = frame.loc[frame["colour"] == "red", "price"]
    assert found.loc["red", ["count", "mean", "mae", "mean_error"]].tolist() == pytest.approx(
        [len(red), red.mean(), 5, 5]
    )
    assert found.loc["blue", "mae"] == 0
    assert largest_gaps(found.reset_index(), 30) == {"colour": pytest.approx({"mae": 5, "mean_error": 5})}
    of, frame = table(MULTICLASS), rows(MULTICLASS)
    found = slices(of, frame, said(of, frame["grade"]))
    assert list(found) == ["by", "slice", "count", "accuracy"]
    assert (found["accuracy"] == 1).all()


def test_a_slice_by_true_and_false_is_named_so_and_gaps_are_unknown() -> None:
    content = table(BINARY).content
    fields = [one | ({"slice": one["name"] == "returned"}) for one in content["fields"]]
    of, frame = parse_declaration(content | {"fields": fields}, "orders.yaml"), rows(BINARY)
    frame.loc[:9, "returned"] = np.nan
    assert list(slices(of, frame, said(of, frame["paid"]))["slice"]) == ["false", "true", "unknown"]


def test_the_titanics_defaults_are_those_of_its_declaration() -> None:
    assert make_gate(TITANIC, NOT_GIVEN) == Gate({"accuracy": 0.7, "roc_auc": 0.75}, 0.15, 0.6, 30, 0.02, 30)


def test_a_parameter_goes_before_the_declaration_metric_by_metric() -> None:
    gate = make_gate(TITANIC, NOT_GIVEN | {"minimum_accuracy": 0.9, "max_calibration_error": 0.0})
    assert gate.minimum == {"accuracy": 0.9, "roc_auc": 0.75}
    assert gate.max_calibration_error == 0


@pytest.mark.parametrize(
    ("task", "given", "declared", "said"),
    [
        (BINARY, {"minimum_r2": 0.5}, {}, "minimum_r2 is not for the task binary, which has accuracy, roc_auc"),
        (REGRESSION, {"minimum_roc_auc": 0.5}, {}, "minimum_roc_auc is not for the task regression, which has r2"),
        (MULTICLASS, {}, {"brier": 0.2}, "minimum: brier of the declaration is not for the task multiclass"),
        (MULTICLASS, {}, {"accuracy": 70}, "minimum: accuracy of the declaration is 70, and no model has more than 1"),
        (REGRESSION, {"max_calibration_error": 0.1}, {}, "max_calibration_error is for classes"),
        (REGRESSION, {"min_slice_accuracy": 0.0}, {}, "min_slice_accuracy is for classes"),
    ],
)
def test_what_makes_no_sense_for_the_task_is_refused_by_name(
    task: str, given: dict[str, float], declared: dict[str, float], said: str
) -> None:
    with pytest.raises(StepError) as error:
        make_gate(dataclasses.replace(table(task), minimum=declared), NOT_GIVEN | given)
    assert said in str(error.value)


def test_a_good_model_has_no_reasons_against_it() -> None:
    assert reasons(GATE, GOOD) == []


@pytest.mark.parametrize("task", TASKS)
def test_where_nothing_is_asked_for_a_model_must_beat_saying_always_the_same(task: str) -> None:
    of, truth = table(task), rows(task)[table(task).target.name].to_numpy()
    gate = make_gate(of, NOT_GIVEN)

    def found(gate: Gate, predicted: pd.DataFrame) -> list[str]:
        metrics = metrics_of(of, truth, predicted) | {"calibration_error": 0.0}
        return reasons_against(gate, of, truth, predicted, metrics, NO_SLICES)

    same = said(of, np.full(len(truth), truth.mean() if task == REGRESSION else truth[0]))
    for name, value in probability_columns(of).items():
        same[name] = (truth == value).mean()
    (reason,) = found(gate, same)
    assert "of always saying" in reason
    better = same.copy()
    for name in probability_columns(of) or [of.target.name]:
        right = (truth == probability_columns(of)[name]).astype(float) if task != REGRESSION else truth
        better[name] = 0.9 * same[name] + 0.1 * right
    assert found(gate, better) == []
    if task != REGRESSION:  # what is asked for replaces it, were it less
        assert found(dataclasses.replace(gate, minimum={"accuracy": 0.01}), same) == []


def test_a_model_that_tells_who_of_a_rare_class_is_likely_is_of_use_though_it_never_says_that_class() -> None:
    generator, gate = np.random.default_rng(0), dataclasses.replace(make_gate(TITANIC, NOT_GIVEN), minimum={})
    probability = generator.beta(0.3, 5.7, 400)  # 5 % of them
    truth = (generator.random(400) < probability).astype(int)
    known = by_probability(TITANIC, np.minimum(probability, 0.49))
    assert metrics_of(TITANIC, truth, known)["accuracy"] == pytest.approx(1 - truth.mean())
    assert reasons_against(gate, TITANIC, truth, known, GOOD, NO_SLICES) == []
    guessed = by_probability(TITANIC, generator.permutation(known["probability"].to_numpy()))
    (reason,) = reasons_against(gate, TITANIC, truth, guessed, GOOD, NO_SLICES)
    assert reason.startswith("log loss ") and "how frequent each Survived is" in reason


def test_of_a_loss_the_minimum_is_the_most_that_it_may_be() -> None:
    of = table(REGRESSION)
    gate = make_gate(dataclasses.replace(of, minimum={"rmse": 5.0}), NOT_GIVEN)
    (reason,) = reasons(gate, {"r2": 0.9, "rmse": 12345.6}, of=of)
    assert reason == "RMSE 12346 is over the most that it may be, 5"
    assert reasons(gate, {"r2": -1.0, "rmse": 4.0}, of=of) == []


def test_all_reasons_are_said_together_with_their_figures() -> None:
    bad = {"accuracy": 0.5, "roc_auc": 0.5, "calibration_error": 0.3}
    by_sex = pd.DataFrame(
        [
            {"by": "Sex", "slice": "male", "count": 40, "accuracy": 0.3},
            {"by": "Sex", "slice": "female", "count": 29, "accuracy": 0.0},  # too few to count
        ]
    )
    truth = np.tile([0, 1], 50)
    right = by_probability(TITANIC, np.where(truth == 1, 0.9, 0.1))
    worse = compare(TITANIC, truth, by_probability(TITANIC, np.full(100, 0.4)), right)
    found = reasons(GATE, bad, by_sex)
    assert [reason.split()[0] for reason in found] == ["accuracy", "ROC", "calibration", "accuracy"]
    assert "0.300 on the 40 passengers of Sex male" in found[3]
    found = reasons_worse(GATE, TITANIC, worse, "the champion")
    assert [reason.split()[0] for reason in found] == ["log", "accuracy", "ROC"]
    assert "paired t = " in found[0]
    assert "McNemar p" in found[1]


def test_a_worse_fit_of_numbers_than_the_champions_is_a_reason_and_a_better_one_is_none() -> None:
    of = table(REGRESSION)
    gate, truth = make_gate(of, NOT_GIVEN), rows(REGRESSION)["price"].to_numpy()
    noise = np.random.default_rng(0).normal(0, 10, len(truth))
    near, far = said(of, truth + noise), said(of, truth + 2 * noise)
    error, fit = reasons_worse(gate, of, compare(of, truth, far, near), "the champion")
    assert error.startswith("absolute error is ")
    assert fit.startswith("R² is ")
    assert "Wilcoxon p" in fit
    assert reasons_worse(gate, of, compare(of, truth, near, far), "the champion") == []


def test_a_slice_is_only_held_against_a_model_where_chance_does_not_explain_it() -> None:
    small = pd.DataFrame([{"by": "Age", "slice": "child", "count": 30, "accuracy": 0.5}])
    assert reasons(GATE, GOOD, small) == []
    assert len(reasons(GATE, GOOD, small.assign(count=1000))) == 1


def test_a_little_worse_than_the_champion_is_tolerated() -> None:
    truth = np.tile([0, 1], 100)
    champion = np.where(truth == 1, 0.9, 0.1)
    challenger = champion.copy()
    challenger[0] = 0.8  # one mistake in 200
    found = compare(TITANIC, truth, by_probability(TITANIC, challenger), by_probability(TITANIC, champion))
    assert reasons_worse(GATE, TITANIC, found, "the champion") == []


def test_what_costs_more_than_chance_explains_is_a_reason_though_as_many_are_right() -> None:
    truth, champion = np.tile([0, 1], 100), np.tile([0.2, 0.8], 100)
    generator = np.random.default_rng(0)
    challenger = np.clip(champion + np.where(truth == 1, -1, 1) * generator.uniform(0, 0.2, 200), 0, 1)
    found = compare(TITANIC, truth, by_probability(TITANIC, challenger), by_probability(TITANIC, champion))
    assert (found["accuracy"], found["roc_auc"]) == (0, 0)
    (reason,) = reasons_worse(GATE, TITANIC, found, "the champion")
    assert reason.startswith("log loss is ")
    assert "more than chance explains" in reason
    back = compare(TITANIC, truth, by_probability(TITANIC, champion), by_probability(TITANIC, challenger))
    assert is_better(back) and not is_better(found)
    assert back["loss_t"] == -found["loss_t"]


def test_the_paired_t_is_that_of_the_textbook_and_finite_where_nothing_varies() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 50)
    assert paired_t(values) == pytest.approx(ttest_1samp(values, 0).statistic)
    assert paired_t(np.zeros(50)) == 0
    assert paired_t(np.full(50, 0.1)) == -paired_t(np.full(50, -0.1)) == 1e6


def test_rows_of_a_group_count_as_one_where_they_are_alike() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 50)
    groups = np.repeat(np.arange(50), 4)
    assert paired_t(np.repeat(values, 4), groups) == pytest.approx(paired_t(values))
    assert paired_t(values, np.arange(50)) == pytest.approx(paired_t(values))
    assert paired_t(values, np.zeros(50, int)) == 0  # one group tells nothing
    found = compare(
        TITANIC,
        np.tile([0, 1], 100),
        by_probability(TITANIC, np.tile([0.25, 0.8], 100)),
        by_probability(TITANIC, np.tile([0.2, 0.7], 100)),
        np.repeat(np.arange(100), 2),
    )
    assert abs(found["loss_t"]) == 1e6  # the difference of each pair is the same


def test_beside_the_anchor_a_challenger_must_look_better_where_the_champion_is_another() -> None:
    assert reason_below_anchor({"loss_t": 0.75}) == ""
    assert "paired t = 0.74, under 0.75" in reason_below_anchor({"loss_t": 0.74})


def test_a_row_costs_its_log_loss_or_its_absolute_error_and_no_row_outweighs_a_thousand() -> None:
    binary = by_probability(TITANIC, np.array([0.9, 0.25, 0.0]))
    assert losses(TITANIC, np.array([1, 0, 1]), binary) == pytest.approx(-np.log([0.9, 0.75, 0.001]))
    of = table(MULTICLASS)
    three = said(of, ["low", "top"]).assign(probability_low=0.7, probability_mid=0.2, probability_top=0.1)
    assert losses(of, np.array(["low", "mid"]), three) == pytest.approx(-np.log([0.7, 0.2]))
    of = table(REGRESSION)
    assert list(losses(of, np.array([1.0, 5.0]), said(of, np.array([3.0, 4.0])))) == [2, 1]


@pytest.mark.parametrize(
    ("t", "newer", "size", "said"),
    [
        (0.0, True, 1200, ""),  # equal, and as simple
        (0.0, True, 500, ""),
        (0.0, True, 1201, "and not simpler: 1,201 bytes, and 1,000 would be as many"),
        (0.0, False, 500, "which came after it"),
        (2.0, True, 9999, ""),  # better
        (2.0, False, 9999, ""),
    ],
)
def test_equal_is_enough_for_what_is_newer_and_as_simple(t: float, newer: bool, size: float, said: str) -> None:
    reason = reason_to_stay({"loss_t": t}, newer, size, 1000)
    assert said in reason and bool(said) == bool(reason)


def test_too_few_rows_unseen_by_both_is_a_reason() -> None:
    reason = reason_too_few(GATE, TITANIC, 12, "the champion")
    assert reason_too_few(GATE, TITANIC, 30, "the champion") == ""
    assert "only 12" in reason
    assert "split_seed" in reason


def test_a_champion_of_another_table_is_told_in_a_sentence() -> None:
    def model(of: Table, columns: tuple[str, ...] = ("size",)) -> Any:
        return SimpleNamespace(table=of, columns=columns)  # all that is asked of it

    ours = model(table(BINARY))
    refuse_other_table(ours, ours, rows(BINARY))
    with pytest.raises(StepError, match=r"predicts grade \(multiclass: low, mid, top\), and this model paid \(binary"):
        refuse_other_table(model(table(MULTICLASS)), ours, rows(BINARY))
    turned = dataclasses.replace(ours.table, positive=0)  # whoever reads its probability would read the other one's
    with pytest.raises(StepError, match=r"predicts paid \(binary: false, true; probability of false\)"):
        refuse_other_table(model(turned), ours, rows(BINARY))
    with pytest.raises(StepError, match=r"reads size, not in the holdout .* give the declaration another name"):
        refuse_other_table(ours, ours, rows(BINARY).drop(columns="size"))
    as_text = [one | ({"type": "string", "constraints": {}, "bins": []} if one["name"] == "size" else {})
               for one in table(BINARY).content["fields"]]  # fmt: skip
    other = parse_declaration(table(BINARY).content | {"fields": as_text}, "orders.yaml")
    with pytest.raises(StepError, match="reads size, not in the holdout or of another type"):
        refuse_other_table(model(other), ours, rows(BINARY))


@pytest.mark.parametrize(("task", "pictures"), [(BINARY, 3), (MULTICLASS, 1), (REGRESSION, 1)])
def test_the_report_escapes_what_comes_from_the_data_and_is_the_same_again(task: str, pictures: int) -> None:
    of, frame = dataclasses.replace(table(task), rows="<script>rows</script>"), rows(task, 100)
    frame["colour"] = "<script>alert(1)</script>"
    truth = frame[of.target.name].to_numpy()
    predicted = said(of, truth)
    found = slices(of, frame, predicted)
    verdict = {
        "verdict": "rejected", "summary": "a <b>", "reasons": ["<img src=x>"], "notes": [],
        "difference": compare(of, truth, predicted, predicted),
        "challenger": {"version": 1, "metrics": metrics_of(of, truth, predicted)}, "champion": None,
        "holdout": {"rows": 100}, "gate": {"min_slice_size": 30}, "largest_gaps": largest_gaps(found, 30),
    }  # fmt: skip
    drawn = {"challenger": predicted}
    first, second = (page(verdict, of, found, draw(of, truth, drawn)) for _ in range(2))
    assert first == second
    assert "<script" not in first
    assert "<img src=x" not in first
    assert first.count("data:image/png") == pictures
    nothing = page(verdict, of, found.iloc[:0], {})
    assert "The declaration has no slices" in nothing
    assert "Largest gaps" not in nothing
