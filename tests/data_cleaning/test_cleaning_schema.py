"""The declared schema, and the dictionary and profile made from it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import schema
from cleaning import clean
from data_profile import Profile

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "titanic_sample.csv"


def test_every_column_has_a_description_a_unit_and_a_limit_of_gaps() -> None:
    assert len(schema.SCHEMA.columns) == 12
    for column in schema.SCHEMA.columns.values():
        assert column.description and column.metadata["unit"]
        assert 0 <= column.metadata["max_missing"] < 1


def test_the_dictionary_has_one_line_for_each_column() -> None:
    lines = schema.data_dictionary().splitlines()
    assert [line.split("`")[1] for line in lines[2:]] == list(schema.SCHEMA.columns)
    assert {line.count(" | ") for line in lines} == {5}


def test_the_command_prints_the_dictionary() -> None:
    done = subprocess.run([sys.executable, schema.__file__], capture_output=True, check=True)
    assert done.stdout.decode() == schema.data_dictionary()


def test_the_profile_tells_what_pandas_tells() -> None:
    frame = clean(pd.read_csv(SAMPLE)).passengers
    profile = Profile()
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
    frame = clean(pd.read_csv(SAMPLE).drop(columns="Survived"), require_target=False).passengers
    profile = Profile()
    profile.add(frame)
    assert profile.correlation("Age") is None and profile.association("Sex") is None
    assert "<svg" in profile.html() and "saved, of" in profile.html() and "% saved" not in profile.html()
