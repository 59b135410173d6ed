"""Fixtures: a small model, and made-up passengers to score."""

from collections.abc import Callable
from pathlib import Path

import make_sample
import numpy as np
import pandas as pd
import pytest

from tests.inference.small_model import (
    REQUIREMENTS,
    TRUSTED,
    make_classifier,
    model_signature,
    save_model,
)


@pytest.fixture(scope="session")
def passengers() -> pd.DataFrame:
    return make_sample.passengers(200).fillna(np.nan)  # as they are read from a CSV


@pytest.fixture
def passengers_csv(passengers: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "passengers.csv"
    passengers.drop(columns="Survived").to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def register(store: str, passengers: pd.DataFrame) -> Callable[..., str]:
    """Train and register a version of `titanic`, under an alias if one is given; the version."""
    import mlflow

    def make(alias: str = "", kind: str = "logistic_regression", rows: int = 200) -> str:
        with mlflow.start_run():
            info = mlflow.sklearn.log_model(
                make_classifier(passengers.head(rows), kind),
                name="model",
                signature=model_signature(passengers),
                pip_requirements=REQUIREMENTS,
                registered_model_name="titanic",
                skops_trusted_types=TRUSTED,
            )
        version = str(info.registered_model_version)
        if alias:
            mlflow.MlflowClient().set_registered_model_alias("titanic", alias, version)
        return version

    return make
