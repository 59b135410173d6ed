"""Steps share no code, so some constants are written down more than once: they must stay the same."""

import champion_lineage
import cleaning
import comparison
import evaluation_model
import model_files
import pandas as pd
import passenger_rows
import pyarrow as pa
import pytest
import schema
import skops_flavor
import training_data
from hypothesis import given
from hypothesis import strategies as st
from passenger_rows import RULES


def test_every_step_that_opens_a_model_trusts_what_training_saves_and_nothing_else():
    saved = set(skops_flavor.TRUSTED_TYPES)
    for types in (model_files.TRUSTED_TYPES, champion_lineage.TRUSTED_TYPES, evaluation_model.TRUSTED_TYPES):
        assert set(types) == saved


def test_no_step_trusts_a_type_that_can_run_code():
    """Plain data, or functions of numbers alone."""
    for types in (model_files.TRUSTED_TYPES, champion_lineage.TRUSTED_TYPES, evaluation_model.TRUSTED_TYPES):
        assert all(name.startswith(("numpy.", "sklearn.")) for name in types)
        assert not {"load", "fromfile", "memmap", "genfromtxt", "save"} & {name.split(".")[-1] for name in types}


@given(st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=50), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_evaluation_knows_the_holdout_of_training(passenger_ids, test_size, split_seed):
    ids = pd.Series(passenger_ids, dtype="int64")
    theirs, ours = (f(ids, test_size, split_seed) for f in (training_data.in_holdout, comparison.in_holdout))
    assert list(theirs) == list(ours)


@pytest.mark.parametrize("name", schema.SCHEMA.columns)
def test_inference_scores_the_values_that_data_cleaning_lets_through(name):
    declared, rule = schema.SCHEMA.columns[name], RULES.get(name)
    if not declared.checks:
        assert rule is None
        return
    if name == schema.TARGET:
        assert rule is None, "it is not looked at"
        return
    (check,) = declared.checks
    if check.name == "isin":
        assert set(rule.allowed) == set(check.statistics["allowed_values"])
    elif name == schema.KEY:
        assert (rule.low, passenger_rows.MAX_EXACT_INTEGER) == (
            check.statistics["min_value"],
            check.statistics["max_value"],
        )
    else:
        assert (rule.low, rule.high) == (check.statistics["min_value"], check.statistics["max_value"])
        assert rule.whole == (schema.kind(name) == "whole number")
    assert rule.required == (not declared.nullable)


NEVER_EMPTY = ["0", "x", "nil", "n.a.", "#na", "--", "<n/a>", "nane", "-nan", "none of them"]
SPELLINGS = sorted(
    {
        f"{before}{change(text)}{after}"
        for text in [*cleaning.MISSING_TEXTS.to_pylist(), *passenger_rows.MISSING, *NEVER_EMPTY]
        for change in (str, str.lower, str.upper, str.title, str.swapcase, lambda text: text[:1] + text[1:].upper())
        for before, after in (("", ""), (" ", "  "))
    }
)


def empty_to_data_cleaning(column: str, cells: list[str]) -> list[bool]:
    return cleaning.clean_text(column, pd.Series(cells, dtype="object")).is_null().to_pylist()


@pytest.mark.parametrize(
    ("column", "kind"),
    [("Name", passenger_rows.TEXT), ("Age", passenger_rows.NUMBER), ("Pclass", passenger_rows.WHOLE)],
)
def test_a_cell_that_data_cleaning_takes_for_empty_is_empty_to_inference_too(column, kind):
    expected = empty_to_data_cleaning(column, SPELLINGS)
    found = passenger_rows.from_text(pa.array(SPELLINGS), kind).empty.tolist()
    assert dict(zip(SPELLINGS, found, strict=True)) == dict(zip(SPELLINGS, expected, strict=True))
    empty = {text for text, is_empty in zip(SPELLINGS, expected, strict=True) if is_empty}
    assert empty >= {"NONE", "Nan", "<NA>", "nULL", " NA  "}
    assert not empty & set(NEVER_EMPTY)


def test_a_text_of_json_is_empty_where_that_of_a_csv_is():
    found = passenger_rows.from_objects(SPELLINGS, passenger_rows.TEXT).empty.tolist()
    assert found == empty_to_data_cleaning("Name", SPELLINGS)


@given(st.lists(st.text("nNaAuUlLoOeE/#<>-? ", max_size=6), min_size=1, max_size=50))
def test_no_other_spelling_is_empty_to_one_of_them_alone(cells):
    expected = empty_to_data_cleaning("Name", cells)
    assert passenger_rows.from_text(pa.array(cells), passenger_rows.TEXT).empty.tolist() == expected
    assert passenger_rows.from_objects(cells, passenger_rows.TEXT).empty.tolist() == expected


def test_training_reads_whole_numbers_where_the_schema_has_them():
    features = [*training_data.INTEGERS, *training_data.DECIMALS, *training_data.TEXTS]
    assert sorted(features) == sorted(training_data.FEATURES)
    assert {name for name in features if schema.kind(name) == "whole number"} == set(training_data.INTEGERS)
    assert {name for name in features if schema.kind(name) == "number"} == set(training_data.DECIMALS)
