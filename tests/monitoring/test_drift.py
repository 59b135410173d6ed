import make_sample
import numpy as np
import pandas as pd
import pytest
from drift import CATEGORY, NUMBER, Finding, column_kinds, compare, compare_accuracy, decide, holm, pool_rare_values


def verdict(reference, current, alpha=0.01, min_rows=100, min_effect=0.1):
    findings = compare(reference, current, column_kinds(reference), min_effect)
    return decide(findings, alpha, len(reference), len(current), min_rows)


def draw(passengers, seed, rows=200):
    """Reference and current: two parts that share no one."""
    order = np.random.default_rng(seed).permutation(len(passengers))
    return passengers.iloc[order[rows:]], passengers.iloc[order[:rows]]


@pytest.fixture(scope="module")
def passengers():
    return make_sample.passengers(900, seed=1)


def test_identifiers_free_text_and_the_outcome_are_left_out(passengers):
    assert column_kinds(passengers) == {
        "Pclass": CATEGORY,
        "Sex": CATEGORY,
        "Age": NUMBER,
        "SibSp": CATEGORY,
        "Parch": CATEGORY,
        "Fare": NUMBER,
        "Embarked": CATEGORY,
    }


def test_the_real_list_is_compared_by_its_seven_columns(real_list):
    assert list(column_kinds(pd.read_csv(real_list))) == ["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]


def test_draws_from_the_same_list_rarely_raise_the_flag(passengers):
    assert sum(verdict(*draw(passengers, seed)).drift_detected for seed in range(100)) <= 5


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("Age", lambda ages: ages + 15),
        ("Pclass", lambda classes: classes.map({1: 1, 2: 1, 3: 2})),
        ("Age", lambda ages: ages.where(ages.index % 2 == 0)),
        ("Embarked", lambda ports: ports.where(ports != "S", "X")),
    ],
)
def test_a_real_change_raises_it_and_names_the_column(passengers, column, change):
    for seed in range(20):
        reference, current = draw(passengers, seed)
        found = verdict(reference, current.assign(**{column: change(current[column])}))
        assert {name.removesuffix(" missing") for name in found.drifted} >= {column}


def test_on_the_real_list_false_alarms_are_rare_and_real_ones_certain(real_list):
    passengers = pd.read_csv(real_list)
    false = shifted = swapped = 0
    for seed in range(40):
        reference, current = draw(passengers, seed)
        false += verdict(reference, current).drift_detected
        shifted += verdict(reference, current.assign(Age=current["Age"] + 15)).drift_detected
        swapped += verdict(reference, current.assign(Pclass=4 - current["Pclass"])).drift_detected
    assert (false <= 2, shifted, swapped) == (True, 40, 40)


def test_too_few_rows_are_told_and_never_flagged(passengers):
    found = verdict(passengers, passengers.head(60).assign(Age=99.0))
    assert not found.drift_detected
    assert found.too_few == "60 rows are too few to judge; min_rows=100"
    assert min(finding.adjusted_p_value for finding in found.findings) < 1e-6


def test_a_change_too_small_to_matter_is_not_flagged_however_many_rows_show_it():
    random = np.random.default_rng(0)
    reference = pd.DataFrame({"Age": random.normal(30, 10, 200_000)})
    found = verdict(reference, reference + 0.5)
    assert found.findings[0].adjusted_p_value < 1e-6
    assert not found.drift_detected
    assert verdict(reference, reference + 0.5, min_effect=0.01).drift_detected


def test_holms_correction_is_that_of_the_book():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_rare_values_are_pooled_until_each_expects_enough():
    table = pool_rare_values(np.array([[100, 30], [50, 12], [3, 0], [2, 1], [1, 0]]))
    assert table.sum() == 199
    assert (table.sum(axis=1) * 43 / 199 >= 5).all()
    assert len(pool_rare_values(np.array([[1, 0], [0, 1]]))) == 1


def test_the_same_number_written_otherwise_is_no_drift():
    reference = pd.DataFrame({"Pclass": [1, 2, 3] * 100})
    assert not verdict(reference, reference.astype(float)).drift_detected


def test_the_share_of_drifted_columns_counts_a_column_once():
    findings = [
        Finding(name, "test", 0.5, p, 0.1) for name, p in [("Age", 0), ("Age missing", 0), ("Sex", 1), ("accuracy", 0)]
    ]
    found = decide(findings, 0.01, 500, 500, 100)
    assert found.drifted == ["Age", "Age missing", "accuracy"]
    assert found.drifted_share == 0.5


@pytest.mark.parametrize(
    ("right", "rows", "drifted"), [(160, 200, False), (155, 200, False), (120, 200, True), (190, 200, False)]
)
def test_only_a_clear_loss_of_accuracy_is_concept_drift(right, rows, drifted):
    finding = compare_accuracy(145, 180, right, rows, min_effect=0.05)
    assert decide([finding], 0.01, 700, rows, 100).drift_detected is drifted
