"""A small model of the tests' own, fitted on a list of data/make_sample.py, so that they need no training."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from make_sample import passengers

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


def make_classifier(frame: pd.DataFrame, kind: str = "logistic_regression", seed: int = 0):
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
    return make_pipeline(columns, last).fit(frame[FEATURES].fillna(np.nan), frame["Survived"])


def model_signature(frame: pd.DataFrame):
    from mlflow.models import infer_signature

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on gaps in whole numbers
        return infer_signature(frame[FEATURES], frame["Survived"].to_numpy())


def save_model(folder: Path, kind: str = "logistic_regression", **options) -> Path:
    """A model folder as mlflow.sklearn saves it with skops; not in any registry."""
    import mlflow

    frame = passengers(200)
    mlflow.sklearn.save_model(
        make_classifier(frame, kind),
        str(folder),
        **{
            "signature": model_signature(frame),
            "pip_requirements": REQUIREMENTS,
            "skops_trusted_types": TRUSTED,
            **options,
        },
    )
    return folder
