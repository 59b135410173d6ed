"""What training reads and refuses, and who is held out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from make_sample import passengers
from training_data import TrainingError, in_holdout, read_passengers, split


def write(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_csv(folder / "clean_data.csv", index=False)
    return folder / "clean_data.csv"


def test_the_holdout_does_not_depend_on_row_order_or_on_other_rows() -> None:
    ids = pd.Series(range(1, 2001))
    held = set(ids[in_holdout(ids, 0.2, 0)])
    shuffled = ids.sample(frac=1, random_state=1)
    assert set(shuffled[in_holdout(shuffled, 0.2, 0)]) == held
    more = pd.Series(range(1, 5001))
    assert {i for i in more[in_holdout(more, 0.2, 0)] if i <= 2000} == held


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


def test_no_passenger_is_lost_or_in_both_parts() -> None:
    frame = passengers(400)
    parts = split(frame, 0.2, 0)
    assert sorted([*parts.train["PassengerId"], *parts.holdout["PassengerId"]]) == list(frame["PassengerId"])


def test_empty_cells_are_read_as_missing_and_whole_numbers_as_such(tmp_path: Path) -> None:
    frame = read_passengers(write(passengers(400), tmp_path))
    assert frame["Age"].isna().any()
    assert frame["Age"].dtype == frame["Fare"].dtype == np.float64
    assert frame["Pclass"].dtype == np.int64


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d.drop(columns="Survived"), "has no column Survived"),
        (lambda d: d.drop(columns=["Age", "Sex"]), "has no column Sex, Age"),
        (lambda d: d.assign(Survived=d["Survived"].mask(d.index < 3)), "3 rows without Survived"),
        (lambda d: d.assign(Survived=2), "values other than 0 and 1: 2"),
        (lambda d: d.assign(Survived=1), "only Survived=1"),
        (lambda d: d.head(10), "has 10 rows; at least 20"),
        (lambda d: d.assign(Age="old"), "text where numbers belong, in Age"),
        (lambda d: d.assign(Fare=np.inf), "infinite values in Fare"),
        (lambda d: d.assign(PassengerId=1), "repeated"),
        (lambda d: d.assign(PassengerId="x"), "PassengerId"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_sentence(tmp_path: Path, spoil: object, words: str) -> None:
    with pytest.raises(TrainingError, match=words) as error:
        read_passengers(write(spoil(passengers(60)), tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01\x80", b'a,b\n"1', b"<html><body>no</body></html>"])
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"x\.csv"):
        read_passengers(path)


def test_a_holdout_with_one_outcome_is_refused() -> None:
    frame = passengers(20)
    frame["Survived"] = 0
    frame.loc[0, "Survived"] = 1
    with pytest.raises(TrainingError, match="both outcomes"):
        split(frame, 0.2, 0)
