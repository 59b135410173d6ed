"""train.py CLEAN MODEL [SEED]: a forest of 200 trees on raw columns, fitted once, judged once on a holdout."""

import sys

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

FEATURES = ["Name", "Age", "Fare", "Pclass", "SibSp", "Parch", "Sex"]


def forest(seed: int) -> Pipeline:
    """What training's random_forest is made of: titles, numbers, family size, sex; 200 trees."""
    titles = CountVectorizer(
        vocabulary=["Master", "Miss", "Mr", "Mrs"],
        lowercase=False,
        token_pattern=r"\b([A-Z][a-z]+)\.",  # noqa: S106 (a regular expression, no password)
    )
    size = FunctionTransformer(np.sum, kw_args={"axis": 1, "keepdims": True})
    columns = ColumnTransformer(
        [
            ("title", titles, "Name"),
            ("number", SimpleImputer(strategy="median"), ["Age", "Fare", "Pclass", "SibSp", "Parch"]),
            ("family", make_pipeline(SimpleImputer(strategy="constant", fill_value=0), size), ["SibSp", "Parch"]),
            ("sex", OneHotEncoder(handle_unknown="ignore", drop="if_binary"), ["Sex"]),
        ],
        sparse_threshold=0,
    )
    return make_pipeline(columns, RandomForestClassifier(n_estimators=200, min_samples_leaf=3, random_state=seed))


def train(clean: str, seed: int) -> tuple[Pipeline, float, float]:
    """The fitted model, and its accuracy and ROC AUC on the fifth of the passengers that it has not seen."""
    passengers = pd.read_csv(clean)
    fitted_on, held_out = train_test_split(passengers, test_size=0.2, random_state=0, stratify=passengers["Survived"])
    model = forest(seed).fit(fitted_on[FEATURES], fitted_on["Survived"])
    probability = model.predict_proba(held_out[FEATURES])[:, 1]
    accuracy = accuracy_score(held_out["Survived"], probability > 0.5)
    return model, accuracy, roc_auc_score(held_out["Survived"], probability)


if __name__ == "__main__":
    import skops.io

    model, accuracy, auc = train(sys.argv[1], int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    skops.io.dump(model, sys.argv[2])
    print(f"accuracy {accuracy:.3f}, ROC AUC {auc:.3f}")
