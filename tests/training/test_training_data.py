"""What training reads and refuses, and who is held out."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import training_data
from declaration import parse_declaration
from holdout import in_holdout, in_holdout_rows
from make_sample import passengers
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION, TASKS, Table
from training_data import read_rows, split

from tests.example_tables import FIELDS, ROOT, TARGETS, TITANIC, rows, table


def write(of: Table, frame: pd.DataFrame, folder: Path) -> Path:
    of.write(frame, folder / "clean_data.csv")
    return folder / "clean_data.csv"


def test_the_holdout_does_not_depend_on_row_order_or_on_other_rows() -> None:
    ids = pd.Series(range(1, 2001))
    held = set(ids[in_holdout(ids, 0.2, 0)])
    shuffled = ids.sample(frac=1, random_state=1)
    assert set(shuffled[in_holdout(shuffled, 0.2, 0)]) == held
    more = pd.Series(range(1, 5001))
    assert {i for i in more[in_holdout(more, 0.2, 0)] if i <= 2000} == held


def test_a_holdout_of_texts_does_not_depend_on_row_order_either() -> None:
    keys = pd.Series([f"A-{number}" for number in range(2000)])
    held = set(keys[in_holdout(keys, 0.2, 0)])
    shuffled = keys.sample(frac=1, random_state=1)
    assert set(shuffled[in_holdout(shuffled, 0.2, 0)]) == held
    assert len(held) == pytest.approx(400, abs=60)


def test_the_holdout_has_about_the_share_asked_for_and_changes_with_split_seed() -> None:
    ids = pd.Series(range(1, 100_001))
    for seed in (0, 1, 2**31 - 1):
        assert in_holdout(ids, 0.2, seed).mean() == pytest.approx(0.2, abs=0.005)
    both = in_holdout(ids, 0.2, 0) & in_holdout(ids, 0.2, 1)
    assert both.mean() == pytest.approx(0.04, abs=0.003)


def test_a_larger_holdout_contains_the_smaller_one() -> None:
    ids = pd.Series(range(1, 2001))
    assert not (in_holdout(ids, 0.1, 7) & ~in_holdout(ids, 0.3, 7)).any()


def test_the_holdout_is_the_same_on_every_machine() -> None:
    ids = pd.Series(range(1, 61))
    assert list(ids[in_holdout(ids, 0.2, 0)]) == [1, 4, 18, 25, 27, 31, 35, 38, 43, 47, 54, 58]


def test_rows_that_belong_together_are_on_one_side_whatever_else_is_in_the_table() -> None:
    frame = passengers(900)
    held = in_holdout_rows(TITANIC, frame, 0.2, 0)
    assert frame.assign(held=held).groupby("Ticket")["held"].nunique().max() == 1
    assert held.mean() == pytest.approx(0.2, abs=0.05)
    part = frame.sample(300, random_state=1)
    assert (in_holdout_rows(TITANIC, part, 0.2, 0) == held[part.index]).all()


def test_a_row_of_no_group_goes_by_its_key_as_do_all_where_none_is_declared() -> None:
    frame = passengers(300)
    alone = in_holdout(frame["PassengerId"], 0.2, 0)
    some = frame.assign(Ticket=frame["Ticket"].where(frame.index % 2 == 0))
    held = in_holdout_rows(TITANIC, some, 0.2, 0)
    assert (held[1::2] == alone[1::2]).all()
    assert (held[::2] != alone[::2]).any()
    assert (in_holdout_rows(TITANIC, frame.drop(columns="Ticket"), 0.2, 0) == alone).all()


def test_a_group_that_is_a_number_is_the_same_with_gaps_or_without() -> None:
    of = parse_declaration(
        {"name": "orders", "primaryKey": "order", "group": "size", "fields": [*FIELDS, TARGETS[BINARY]]}, "orders.yaml"
    )
    frame = rows(BINARY).assign(size=np.arange(300.0) // 3)
    held = in_holdout_rows(of, frame, 0.2, 0)
    assert (held == in_holdout_rows(of, frame.astype({"size": int}), 0.2, 0)).all()
    assert (held[::3] == held[1::3]).all()


@pytest.mark.parametrize("task", TASKS)
def test_no_row_is_lost_or_in_both_parts(task: str) -> None:
    parts = split(table(task), rows(task), 0.2, 0, 10)
    assert sorted([*parts.train["order"], *parts.holdout["order"]]) == list(rows(task)["order"])


@pytest.mark.parametrize("task", TASKS)
def test_targets_and_gaps_are_read_as_they_were_written(task: str, tmp_path: Path) -> None:
    of, frame = table(task), rows(task)
    read, _ = read_rows(of, write(of, frame, tmp_path))
    assert read[of.target.name].tolist() == frame[of.target.name].tolist()
    assert read["size"].isna().equals(frame["size"].isna())
    assert read["size"].isna().any()


def test_the_rows_of_a_table_without_a_key_are_held_out_by_their_number(tmp_path: Path) -> None:
    fields = [{**one, "role": "ignored"} if one["name"] == "order" else one for one in FIELDS]
    of = parse_declaration({"name": "orders", "fields": [*fields, TARGETS[BINARY]]}, "orders.yaml")
    frame = rows(BINARY).assign(row=range(1, 301))
    numbered = frame[["row", *(one.name for one in of.fields)]]
    parts = split(of, read_rows(of, write(of, numbered, tmp_path))[0], 0.2, 0, 10)
    assert parts.holdout["row"].tolist()[:5] == [1, 4, 18, 25, 27]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d.drop(columns="Survived"), "has no column Survived"),
        (lambda d: d.drop(columns=["Age", "Sex"]), "has no column Sex, Age"),
        (lambda d: d.assign(Survived=d["Survived"].astype("Int64").mask(d.index < 3)), "Survived is empty in row 1"),
        (lambda d: d.assign(Survived=2), "Survived '2'"),
        (lambda d: d.assign(Survived=1), "only passengers with Survived survived"),
        (lambda d: d.head(10), "has 10 rows; at least 20"),
        (lambda d: d.assign(Age="old"), "is not clean .*old"),
        (lambda d: d.assign(Fare=np.inf), "Fare 'inf' in row 1"),
        (lambda d: d.assign(PassengerId=1), "PassengerId 1 more than once"),
        (lambda d: d.assign(PassengerId="x"), "PassengerId"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_sentence(
    tmp_path: Path, spoil: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    spoil(passengers(60)).to_csv(tmp_path / "clean_data.csv", index=False)
    with pytest.raises(StepError, match=words) as error:
        read_rows(TITANIC, tmp_path / "clean_data.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cell", ["31.12.2023", "2023-02-30", "2023-01-01T10:00:00+02:00", "soon"])
def test_a_date_that_data_cleaning_would_not_write_is_refused(cell: str, tmp_path: Path) -> None:
    of, frame = table(BINARY), rows(BINARY)
    frame.loc[7, "sold"] = cell
    with pytest.raises(StepError, match=f"is not clean: sold '{re.escape(cell)}' in row 8"):
        read_rows(of, write(of, frame, tmp_path))


@pytest.mark.parametrize(("task", "value", "words"), [(MULTICLASS, "low", "grade low"), (REGRESSION, 3.5, "price 3.5")])
def test_rows_with_one_target_teach_nothing(task: str, value: object, words: str, tmp_path: Path) -> None:
    of = table(task)
    frame = rows(task).assign(**{of.target.name: value})
    with pytest.raises(StepError, match=f"has only orders with {words}; others are needed"):
        read_rows(of, write(of, frame, tmp_path))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01\x80", b'a,b\n"1', b"<html><body>no</body></html>"])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(StepError, match=r"x\.csv"):
        read_rows(TITANIC, path)


def test_too_few_of_a_class_to_be_judged_are_refused_with_the_numbers_of_each() -> None:
    frame = passengers(20)
    frame["Survived"] = 0
    frame.loc[0, "Survived"] = 1
    with pytest.raises(StepError, match=r"\(\d+ died, \d survived\).*at least 10 of each Survived \(cv_folds\)"):
        split(TITANIC, frame, 0.2, 0, 2)


def test_every_class_of_the_declaration_is_needed() -> None:
    of, frame = table(MULTICLASS), rows(MULTICLASS)
    with pytest.raises(StepError, match=r"0 top\) to train on.*at least 20 of each grade"):
        split(of, frame[frame["grade"] != "top"], 0.2, 0, 20)


def test_numbers_need_as_many_rows_as_there_are_folds() -> None:
    with pytest.raises(StepError, match=r"to train on, \d+ orders held out; training needs at least 50 \(cv_folds\)"):
        split(table(REGRESSION), rows(REGRESSION, 40), 0.2, 0, 50)


def test_a_holdout_needs_two_classes() -> None:
    of, frame = table(BINARY), rows(BINARY)
    held = in_holdout(frame["order"], 0.2, 0)
    with pytest.raises(StepError, match="the holdout two different ones"):
        split(of, frame[~held | (frame["paid"] == 1)], 0.2, 0, 2)


def sample_list() -> pd.DataFrame:
    return TITANIC.read(ROOT / "data" / "titanic_sample.csv")


def test_a_sample_is_the_same_in_any_order_keeps_groups_whole_and_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "CHUNK_ROWS", 300)
    frame = pd.concat([sample_list()] * 4, ignore_index=True)
    frame["PassengerId"] = np.arange(1, len(frame) + 1)
    drawn = {}
    for name, ordered in (("file", frame), ("shuffled", frame.sample(frac=1, random_state=1))):
        path = write(TITANIC, ordered, tmp_path)
        for most in (200, 1000):
            sample, count = read_rows(TITANIC, path, most)
            assert count == 3600 and most * 0.8 < len(sample) <= most
            drawn[name, most] = set(sample["PassengerId"])
            ids = ordered["PassengerId"]
            assert sample["PassengerId"].tolist() == ids[ids.isin(drawn[name, most])].tolist()
    assert drawn["file", 200] == drawn["shuffled", 200] < drawn["file", 1000] == drawn["shuffled", 1000]
    inside = frame["PassengerId"].isin(drawn["file", 1000])
    assert (inside.groupby(frame["Ticket"]).nunique() == 1).all()


def test_who_is_drawn_has_nothing_to_do_with_who_is_held_out(tmp_path: Path) -> None:
    frame = pd.concat([sample_list()] * 10, ignore_index=True)
    frame["PassengerId"] = np.arange(1, len(frame) + 1)
    frame["Ticket"] = frame["PassengerId"].astype(str)
    sample, _ = read_rows(TITANIC, write(TITANIC, frame, tmp_path), 3000)
    assert in_holdout_rows(TITANIC, sample, 0.2, 0).mean() == pytest.approx(0.2, abs=0.03)


def test_fewer_rows_than_the_most_are_all_there(tmp_path: Path) -> None:
    of, frame = table(BINARY), rows(BINARY)
    path = write(of, frame, tmp_path)
    sample, count = read_rows(of, path, 300)
    assert count == 300
    pd.testing.assert_frame_equal(sample, read_rows(of, path)[0])
