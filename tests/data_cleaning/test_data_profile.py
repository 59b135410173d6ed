"""The profile of a clean table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cleaning import clean
from data_profile import Profile
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import TITANIC, rows, table

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "titanic_sample.csv"


def test_the_profile_tells_what_pandas_tells() -> None:
    frame = clean(pd.read_csv(SAMPLE), TITANIC).rows
    profile = Profile(TITANIC)
    for start in range(0, len(frame), 100):
        profile.add(frame[start : start + 100])
    assert profile.missing == frame.isna().sum().to_dict()
    for name in ("Age", "Fare", "Pclass"):
        assert profile.correlation(name) == pytest.approx(frame[name].corr(frame["Survived"].astype(float)))
    rows, known, saved = profile.buckets["Sex"]["female"]
    women = frame[frame["Sex"] == "female"]
    assert (rows, known, saved) == (len(women), len(women), women["Survived"].sum())
    assert profile.association("Sex") == pytest.approx(
        abs((frame["Sex"] == "male").astype(float).corr(frame["Survived"].astype(float)))
    )
    assert sum(rows for rows, _, _ in profile.buckets["Age"].values()) == len(frame)


def test_the_profile_does_without_a_target() -> None:
    frame = clean(pd.read_csv(SAMPLE).drop(columns="Survived"), TITANIC, require_target=False).rows
    profile = Profile(TITANIC)
    profile.add(frame)
    assert profile.correlation("Age") is None and profile.association("Sex") is None
    assert "<svg" in profile.html() and "% survived" not in profile.html()


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_the_profile_tells_how_columns_go_with_a_target_of_any_kind(task: str, tmp_path: Path) -> None:
    of = table(task)
    of.write(rows(task), tmp_path / "orders.csv")
    frame = clean(pd.read_csv(tmp_path / "orders.csv", dtype=str), of).rows
    profile = Profile(of)
    profile.add(frame[:100])
    profile.add(frame[100:])
    if task == REGRESSION:
        assert profile.correlation("size") == pytest.approx(frame["size"].corr(frame["price"]))
        assert profile.association("colour") is None and "mean price" in profile.html()
    else:
        counts = pd.crosstab(frame["colour"], frame[of.target.name]).to_numpy()
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
        smaller = min(counts.shape) - 1
        assert profile.association("colour") == pytest.approx(
            (((counts - expected) ** 2 / expected).sum() / counts.sum() / smaller) ** 0.5
        )
    assert (profile.correlation("size") is None) == (task == MULTICLASS)
