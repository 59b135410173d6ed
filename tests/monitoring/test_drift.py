from dataclasses import replace

import make_sample
import numpy as np
import pandas as pd
import pytest
from declaration import parse_declaration
from drift import (
    CATEGORY,
    MISSING,
    NUMBER,
    TEXT,
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
from grouped_rows import design_effects, group_codes, means_p_value
from table import BINARY, Field

from tests.example_tables import TITANIC, rows, table


def verdict(reference, current, alpha=0.01, min_rows=100, min_effect=0.05, of=TITANIC):
    kinds = column_kinds(of, reference)
    groups = group_codes(of, reference), group_codes(of, current)
    findings = compare(comparable(of, reference, kinds), comparable(of, current, kinds), kinds, min_effect, groups)
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


def test_text_is_compared_by_its_shape_what_names_a_group_by_its_gaps_and_key_and_target_not_at_all(passengers):
    assert column_kinds(TITANIC, passengers) == {
        "Pclass": CATEGORY,
        "Name": TEXT,
        "Sex": CATEGORY,
        "Age": NUMBER,
        "SibSp": CATEGORY,
        "Parch": CATEGORY,
        "Ticket": MISSING,
        "Fare": NUMBER,
        "Cabin": TEXT,
        "Embarked": CATEGORY,
    }


def test_the_real_list_is_compared_as_the_sample_is(passengers, real_list):
    assert column_kinds(TITANIC, TITANIC.read(real_list)) == column_kinds(TITANIC, passengers)


def test_what_a_column_is_compared_by_is_as_declared():
    found = column_kinds(table(BINARY), rows(BINARY))
    assert found == {
        "size": NUMBER, "colour": CATEGORY, "sold": NUMBER, "returned": CATEGORY, "shop": TEXT, "comment": MISSING,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "values", "kind"),
    [
        (Field("a", "integer"), [1, 2, 3] * 20, CATEGORY),
        (Field("a", "integer"), [*range(13), 1], NUMBER),
        (Field("a", "integer"), range(60), MISSING),
        (Field("a", "number"), [0.5, 1.5] * 20, NUMBER),
        (Field("a", "number", enum=(0.5, 1.5)), [0.5, 1.5] * 20, CATEGORY),
        (Field("a", enum=tuple(map(str, range(40)))), [*map(str, range(40))], CATEGORY),
        (Field("a"), [*map(str, range(40))], TEXT),
        (Field("a", "number"), [np.nan] * 40, MISSING),
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
    assert sum(verdict(*draw(passengers, seed)).drift_detected for seed in range(40)) <= 2


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("Age", lambda ages: ages + 15),
        ("Pclass", lambda classes: classes.map({1: 1, 2: 1, 3: 2})),
        ("Age", lambda ages: ages.where(ages.index % 2 == 0)),
        ("Embarked", lambda ports: ports.where(ports != "S", "X")),
        ("Name", lambda names: names.str.replace(r"(Mrs|Mr|Miss|Master)[.] ", "", regex=True)),
        ("Cabin", lambda cabins: cabins.where(cabins.isna(), "unknown deck")),
        ("Cabin", lambda cabins: cabins.fillna("E10")),
        ("Ticket", lambda tickets: tickets.where(tickets.index % 3 != 0)),
    ],
)
def test_a_real_change_raises_it_and_names_the_column(passengers, column, change):
    for seed in range(6):
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


def parties(passengers, seed, rows):
    """Reference and current: two parts that share no ticket."""
    tickets = passengers["Ticket"].unique()
    places = pd.Series(np.random.default_rng(seed).permutation(len(tickets)), index=tickets)
    order = passengers["Ticket"].map(places)
    place = int(np.searchsorted(order.value_counts().sort_index().cumsum(), rows))
    return passengers[order > place], passengers[order <= place]


@pytest.mark.parametrize("drawn", [draw, parties])
def test_false_alarms_are_rare_where_people_come_in_their_parties_too(passenger_list, drawn):
    passengers = TITANIC.read(passenger_list)
    alarms, told = 0, replace(TITANIC, group="")
    for seed in range(40):
        alarms += verdict(*drawn(passengers, seed, 200)).drift_detected
    assert alarms <= 1
    if drawn is parties:
        untold = sum(verdict(*drawn(passengers, seed, 200), of=told).drift_detected for seed in range(40))
        assert untold > 2, "what the declaration says of groups makes the difference"


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("Age", lambda ages, _: ages + 3),
        ("Sex", lambda sexes, chance: sexes.mask(chance < 0.14, "female")),
        ("Cabin", lambda cabins, chance: cabins.where(chance < 0.10 / 0.23)),
    ],
)
def test_two_thousand_rows_show_small_changes(passenger_list, column, change):
    passengers = TITANIC.read(passenger_list)
    tickets = passengers["Ticket"].unique()
    found = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        chosen = pd.DataFrame({"Ticket": random.choice(tickets, 1600), "party": np.arange(1600).astype(str)})
        current = chosen.merge(passengers, on="Ticket").head(2000)
        current["Ticket"] += " " + current["party"]
        current[column] = change(current[column], pd.Series(random.random(len(current))))
        drifted = verdict(passengers, current[passengers.columns]).drifted
        found += column in {name.removesuffix(" missing") for name in drifted}
    assert found >= 7


def test_rows_that_are_groups_of_their_own_are_tested_as_in_the_books():
    from scipy.stats import chi2_contingency, mannwhitneyu

    random = np.random.default_rng(0)
    before, after = random.integers(0, 3, 300), random.integers(0, 3, 200)
    alone = [np.arange(300), np.arange(200)]
    table = [np.bincount(before), np.bincount(after)]
    found = means_p_value(np.eye(3)[before], np.eye(3)[after], alone)
    assert found == pytest.approx(chi2_contingency(table, correction=False).pvalue)
    before, after = random.normal(0, 1, 300), random.normal(0.2, 1, 200)
    ranks = np.argsort(np.argsort(np.concatenate([before, after])))[:, None]
    found = means_p_value(ranks[:300], ranks[300:], alone)
    assert found == pytest.approx(mannwhitneyu(before, after, method="asymptotic").pvalue, rel=0.05)


def test_copies_of_a_row_in_its_group_tell_no_more_than_the_row():
    random = np.random.default_rng(0)
    before, after = random.normal(0, 1, (300, 1)), random.normal(0.3, 1, (200, 1))
    once = means_p_value(before, after, [np.arange(300), np.arange(200)])
    copies = [np.repeat(values, 4, axis=0) for values in (before, after)]
    groups = [np.repeat(np.arange(len(values)), 4) for values in (before, after)]
    assert means_p_value(*copies, groups) == pytest.approx(once, rel=0.01)
    assert means_p_value(*copies, [np.arange(1200), np.arange(800)]) < once / 100
    assert design_effects(copies[0][:, 0], groups[0], groups[1]) == pytest.approx((4, 4))
    assert design_effects(before[:, 0], np.arange(300), groups[1]) == (1, 1)


def test_rows_without_a_group_are_groups_of_their_own():
    frame = pd.DataFrame({"Ticket": ["A", np.nan, "A", np.nan]})
    codes = group_codes(TITANIC, frame)
    assert codes[0] == codes[2] and codes.nunique() == 3
    assert group_codes(replace(TITANIC, group=""), frame).nunique() == 4


def test_the_words_of_a_text_are_not_chosen_by_one_side():
    """Of many equally frequent words, those chosen as the reference's commonest would be rarer in the other."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(14)])
    p_values = []
    for _ in range(60):
        texts = pd.Series(random.choice(words, 600))
        p_values.append(compare_values("a", TEXT, texts[:300], texts[300:], 0.05).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.12


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
    assert holm([0.01, 0.04], np.array([0.25, 0.75])) == pytest.approx([0.04, 0.04])
    assert holm([0.01, 0.03], np.array([0.2, 0.8])) == pytest.approx([0.0375, 0.0375]), "0.03 / 0.8 comes first"


def test_half_of_alpha_goes_by_what_a_column_is_worth_to_the_model():
    findings = [Finding(name, "t", 0.5, 0.003, 0.05) for name in "abcd"]
    assert not decide(findings, 0.01, 900, 900, 100).drift_detected
    worth = decide(findings, 0.01, 900, 900, 100, {"a": 0.9, "b": -0.1, "other": 5}).findings
    assert [one.adjusted_p_value for one in worth] == pytest.approx([0.0048, 0.009, 0.009, 0.009])
    assert sum(one.drifted for one in worth) == 4, "what is left of alpha goes to the others (Holm)"


def test_rare_values_are_pooled_until_each_expects_enough():
    counts = [[100, 50, 3, 2, 1], [30, 12, 0, 1, 0]]
    codes = np.concatenate([np.repeat(np.arange(5), side) for side in counts])
    alone = [np.arange(156), np.arange(43)]
    assert np.unique(pool_rare_values(codes, alone), return_counts=True)[1].tolist() == [130, 69]
    assert len(set(pool_rare_values(np.array([0, 1]), [np.arange(1), np.arange(1)]))) == 1
    families = [np.arange(156), np.repeat([500, 501], [30, 13])]
    assert len(set(pool_rare_values(codes, families))) == 1, "two families tell as much as two rows"


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
    finding = compare_accuracy(145 / 180, 180, np.arange(rows) < right, min_effect=0.05)
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
