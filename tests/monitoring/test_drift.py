from dataclasses import replace

import make_sample
import numpy as np
import pandas as pd
import pytest
from declaration import BINARY, Field, parse_declaration
from drift import (
    CATEGORY,
    NUMBER,
    Finding,
    column_kinds,
    comparable,
    compare,
    compare_accuracy,
    compare_errors,
    compare_values,
    decide,
    holm,
    pool_rare_values,
    title,
)

from tests.example_tables import TITANIC, rows, table


def verdict(reference, current, alpha=0.01, min_rows=100, min_effect=0.1, of=TITANIC):
    kinds = column_kinds(of, reference)
    findings = compare(comparable(of, reference, kinds), comparable(of, current, kinds), kinds, min_effect)
    return decide(findings, alpha, len(reference), len(current), min_rows)


def draw(passengers, seed, rows=200):
    """Reference and current: two parts that share no one."""
    order = np.random.default_rng(seed).permutation(len(passengers))
    return passengers.iloc[order[rows:]], passengers.iloc[order[:rows]]


@pytest.fixture(scope="module")
def passengers(tmp_path_factory):
    path = tmp_path_factory.mktemp("passengers") / "clean_data.csv"
    make_sample.write(make_sample.passengers(900, seed=1), path)
    return TITANIC.read(path)


def test_identifiers_free_text_and_the_outcome_are_left_out(passengers):
    assert column_kinds(TITANIC, passengers) == {
        "Pclass": CATEGORY,
        "Sex": CATEGORY,
        "Age": NUMBER,
        "SibSp": CATEGORY,
        "Parch": CATEGORY,
        "Fare": NUMBER,
        "Embarked": CATEGORY,
    }


def test_the_real_list_is_compared_by_its_seven_columns(real_list):
    found = column_kinds(TITANIC, TITANIC.read(real_list))
    assert list(found) == ["Pclass", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]


def test_what_a_column_is_compared_by_is_as_declared():
    found = column_kinds(table(BINARY), rows(BINARY))
    assert found == {"size": NUMBER, "colour": CATEGORY, "sold": NUMBER, "returned": CATEGORY}, "40 shops are too many"


@pytest.mark.parametrize(
    ("one", "values", "kind"),
    [
        (Field("a", "integer"), [1, 2, 3] * 20, CATEGORY),
        (Field("a", "integer"), [*range(13), 1], NUMBER),
        (Field("a", "integer"), range(60), None),
        (Field("a", "number"), [0.5, 1.5] * 20, NUMBER),
        (Field("a", "number", enum=(0.5, 1.5)), [0.5, 1.5] * 20, CATEGORY),
        (Field("a", enum=tuple(map(str, range(40)))), [*map(str, range(40))], CATEGORY),
        (Field("a"), [*map(str, range(40))], None),
        (Field("a", "number"), [np.nan] * 40, None),
    ],
)
def test_few_whole_numbers_are_compared_by_their_shares_and_numbers_of_rows_not_at_all(one, values, kind):
    of = replace(table(BINARY), fields=(one,))
    assert column_kinds(of, pd.DataFrame({"a": pd.Series(values)})).get("a") == kind


def test_values_are_compared_as_they_are_written():
    content = {"fields": [{"name": name, "type": kind} for name, kind in TYPES.items()]}
    content["fields"].append({"name": "t", "type": "number", "role": "target"})
    frame = pd.DataFrame(
        {"n": [3.0, np.nan], "b": [1.0, 0.0], "d": ["1970-01-03", np.nan], "m": ["0001-01-01T12:00:00"] * 2}
    )
    kinds = {"n": CATEGORY, "b": CATEGORY, "d": NUMBER, "m": NUMBER}
    found = comparable(parse_declaration(content, "t.yaml"), frame, kinds)
    assert found["n"].tolist()[0] == "3" and found["n"].isna().tolist() == [False, True]
    assert found["b"].tolist() == ["true", "false"]
    assert found["d"].tolist()[0] == 2 and found["d"].isna().tolist() == [False, True]
    assert found["m"].tolist() == [-719162, -719162]


TYPES = {"n": "integer", "b": "boolean", "d": "date", "m": "datetime"}


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
    passengers = TITANIC.read(real_list)
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
    ages = pd.Series(np.random.default_rng(0).normal(30, 10, 200_000))

    def drifted(min_effect):
        return decide([compare_values("Age", NUMBER, ages, ages + 0.5, min_effect)], 0.01, 200_000, 200_000, 100)

    assert drifted(0.1).findings[0].adjusted_p_value < 1e-6
    assert not drifted(0.1).drift_detected
    assert drifted(0.01).drift_detected


def test_a_column_named_as_a_finding_is_told_from_it():
    assert [title(name) for name in ("size", "target", "prediction", "size missing")] == [
        "size", "column target", "column prediction", "column size missing",
    ]  # fmt: skip


def test_holms_correction_is_that_of_the_book():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_rare_values_are_pooled_until_each_expects_enough():
    table = pool_rare_values(np.array([[100, 30], [50, 12], [3, 0], [2, 1], [1, 0]]))
    assert table.sum() == 199
    assert (table.sum(axis=1) * 43 / 199 >= 5).all()
    assert len(pool_rare_values(np.array([[1, 0], [0, 1]]))) == 1


def test_the_share_of_drifted_columns_counts_a_column_once():
    findings = [
        Finding(name, "test", 0.5, p, 0.1)
        for name, p in [("Age", 0), ("Age missing", 0), ("Sex", 1), ("accuracy", 0), ("target", 0)]
    ]
    found = decide(findings, 0.01, 500, 500, 100)
    assert found.drifted == ["Age", "Age missing", "accuracy", "target"]
    assert found.drifted_share == 0.5


@pytest.mark.parametrize(
    ("right", "rows", "drifted"), [(160, 200, False), (155, 200, False), (120, 200, True), (190, 200, False)]
)
def test_only_a_clear_loss_of_accuracy_is_concept_drift(right, rows, drifted):
    finding = compare_accuracy(145, 180, right, rows, min_effect=0.05)
    assert decide([finding], 0.01, 700, rows, 100).drift_detected is drifted


@pytest.mark.parametrize(
    ("factor", "effect", "drifted"), [(1, 0, False), (1.05, 0.05, False), (1.5, 0.5, True), (9, 1, True)]
)
def test_only_a_clear_rise_of_the_errors_is_concept_drift(factor, effect, drifted):
    errors = np.abs(np.random.default_rng(0).normal(0, 10, 400))
    finding = compare_errors(errors, errors * factor, min_effect=0.1)
    assert finding.statistic == pytest.approx(effect)
    assert decide([finding], 0.01, 700, 400, 100).drift_detected is drifted


def test_a_model_that_makes_no_errors_has_not_become_worse():
    finding = compare_errors(np.zeros(100), np.zeros(100), min_effect=0.1)
    assert (finding.statistic, finding.p_value) == (0, 1)
    assert compare_errors(np.zeros(100), np.ones(100), min_effect=0.1).statistic == 1
