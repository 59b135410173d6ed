"""A small model and passengers of the tests' own, so that these need neither training nor the real list."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

FEATURES = ["Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare", "Embarked"]
REQUIREMENTS = [
    "mlflow==3.17.2",
    "numpy==2.4.6",
    "pandas==2.3.3",
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "skops==0.16.0",
]
TRUSTED = ["numpy.dtype", "numpy.ravel", "sklearn.tree._tree.Tree"]


def make_passengers(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    """Passengers in the schema of the list, with gaps, quotes and commas; women survive more often."""
    random = np.random.default_rng(seed)
    female = random.random(rows) < 0.35
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, rows + 1),
            "Survived": (random.random(rows) < np.where(female, 0.75, 0.2)).astype(int),
            "Pclass": random.choice([1, 2, 3], rows),
            "Name": [f'Doe, {"Miss" if f else "Mr"}. Jo "J{i}"' for i, f in enumerate(female)],
            "Sex": np.where(female, "female", "male"),
            "Age": np.where(random.random(rows) < 0.2, np.nan, random.integers(1, 70, rows) + 0.5),
            "SibSp": random.integers(0, 4, rows),
            "Parch": random.integers(0, 3, rows),
            "Ticket": [f"{i:06d}" for i in range(rows)],
            "Fare": random.gamma(2, 15, rows).round(4),
            "Cabin": np.where(random.random(rows) < 0.8, None, "C85"),
            "Embarked": random.choice(["C", "Q", "S"], rows),
        }
    )


def make_classifier(passengers: pd.DataFrame, kind: str = "logistic_regression", seed: int = 0):
    """A stock pipeline on the raw columns, fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("title", CountVectorizer(vocabulary=["Miss", "Mr"], lowercase=False), "Name"),
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["Pclass", "Age", "SibSp", "Parch", "Fare"]),
            (
                "category",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                ["Sex", "Embarked"],
            ),
        ]
    )
    last = LogisticRegression() if kind == "logistic_regression" else RandomForestClassifier(20, random_state=seed)
    return make_pipeline(columns, last).fit(passengers[FEATURES], passengers["Survived"])


def model_signature(passengers: pd.DataFrame):
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on gaps in whole numbers
        return infer_signature(passengers[FEATURES], passengers["Survived"].to_numpy())


def save_model(folder: Path, kind: str = "logistic_regression", **options) -> Path:
    """A model folder as mlflow.sklearn saves it with skops; not in any registry."""
    import mlflow

    passengers = make_passengers()
    mlflow.sklearn.save_model(
        make_classifier(passengers, kind),
        str(folder),
        **{
            "signature": model_signature(passengers),
            "pip_requirements": REQUIREMENTS,
            "skops_trusted_types": TRUSTED,
            **options,
        },
    )
    return folder
