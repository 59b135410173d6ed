"""The lists that ship are what the script writes, and look like the real one."""

from pathlib import Path

import make_sample
import pandas as pd
import pytest

DATA = Path(make_sample.__file__).parent
SAMPLE = pd.read_csv(DATA / "titanic_sample.csv")
TO_SCORE = pd.read_csv(DATA / "passengers_to_score.csv")


def test_the_script_writes_exactly_the_files_that_ship(tmp_path: Path) -> None:
    make_sample.main([str(tmp_path)])
    for name in ("titanic_sample.csv", "passengers_to_score.csv", "messy.csv", "today.csv"):
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_sizes_and_columns() -> None:
    assert SAMPLE.shape == (900, 12)
    assert list(SAMPLE) == make_sample.COLUMNS
    assert TO_SCORE.shape == (200, 11)
    assert list(TO_SCORE) == [name for name in make_sample.COLUMNS if name != "Survived"]


def test_passenger_ids_are_unique_over_both_files() -> None:
    assert pd.concat([SAMPLE, TO_SCORE])["PassengerId"].is_unique


@pytest.mark.parametrize("frame", [SAMPLE, TO_SCORE], ids=["sample", "to_score"])
def test_gaps_and_oddities_are_those_of_the_real_list(frame: pd.DataFrame) -> None:
    missing = frame.isna().mean()
    assert 0.1 < missing["Age"] < 0.3
    assert 0.7 < missing["Cabin"] < 0.85
    assert frame["Embarked"].isna().sum() == 2
    assert frame["Ticket"].duplicated().sum() > 10
    assert frame["Name"].str.contains('"').any()
    assert frame["Name"].str.fullmatch(r"[^,.]+, [A-Z][a-z]+\. .+").all()


def test_survival_is_near_the_published_rates() -> None:
    adults = SAMPLE[~SAMPLE["Name"].str.contains("Master")]
    rate = adults.groupby(["Sex", "Pclass"])["Survived"].mean()
    assert rate["female", 1] > 0.9
    assert rate["female", 3] == pytest.approx(0.46, abs=0.12)
    assert rate["male", 1] == pytest.approx(0.33, abs=0.1)
    assert rate["male", 2] < 0.2


def test_families_share_name_ticket_and_fare() -> None:
    family = SAMPLE[(SAMPLE["SibSp"] + SAMPLE["Parch"]) > 0].groupby("Ticket")
    assert (family["Fare"].nunique() == 1).all()
    surnames = family["Name"].agg(lambda names: names.str.split(",").str[0].nunique())
    assert (surnames == 1).mean() > 0.95
