"""Fixtures: made-up passengers as a clean table, and small models of them."""

import logging
from collections.abc import Callable
from pathlib import Path

import make_sample
import pandas as pd
import pytest

from tests.example_tables import TITANIC, register_model, save_model


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server says reaches `caplog`, whatever a store opened in this process before did to loggers."""
    for name in ("inference", "inference.requests", "uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)


@pytest.fixture(scope="session")
def passengers(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    path = tmp_path_factory.mktemp("passengers") / "clean_data.csv"
    make_sample.passengers(200).to_csv(path, index=False)
    return TITANIC.read(path)


@pytest.fixture
def passengers_csv(passengers: pd.DataFrame, tmp_path: Path) -> Path:
    """The passengers without their outcomes, as data_cleaning leaves those that are to be scored."""
    path = tmp_path / "passengers.csv"
    TITANIC.write(passengers.drop(columns="Survived"), path)
    return path


@pytest.fixture(scope="session")
def model_folder(passengers: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "model", TITANIC, passengers)


@pytest.fixture
def register(store: str, passengers: pd.DataFrame) -> Callable[..., str]:
    """Train and register a version of `titanic`, under an alias if one is given; the version."""
    return lambda alias="", seed=0: register_model(TITANIC, passengers, alias, seed)
