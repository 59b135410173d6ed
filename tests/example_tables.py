"""Small tables of the three tasks, as data_cleaning leaves them, and models of them that need no training step."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from declaration import parse_declaration, read_declaration
from table import BINARY, MULTICLASS, REGRESSION, Table

ROOT = Path(__file__).resolve().parents[1]
TITANIC = read_declaration(ROOT / "dataset.yaml")
FIELDS: list[dict[str, Any]] = [
    {"name": "order", "type": "string", "role": "key"},
    {"name": "size", "type": "number", "constraints": {"minimum": 0, "maximum": 100}, "bins": [0, 25, 50, 75, 100]},
    {"name": "colour", "type": "string", "constraints": {"enum": ["red", "green", "blue"]}, "slice": True},
    {"name": "sold", "type": "date"},
    {"name": "returned", "type": "boolean", "role": "feature"},
    {"name": "shop", "type": "string"},
    {"name": "comment", "type": "string", "role": "ignored"},
]
TARGETS: dict[str, dict[str, Any]] = {
    BINARY: {"name": "paid", "type": "boolean", "role": "target"},
    MULTICLASS: {"name": "grade", "type": "string", "role": "target", "constraints": {"enum": ["low", "mid", "top"]}},
    REGRESSION: {"name": "price", "type": "number", "role": "target", "unit": "euro"},
}


def table(task: str) -> Table:
    """A declaration of orders, whose target is paid (true or false), grade (three texts) or price (a number)."""
    content = {"name": f"orders-{task}", "row": "order", "primaryKey": "order", "fields": [*FIELDS, TARGETS[task]]}
    return parse_declaration(content, "orders.yaml")


def rows(task: str, count: int = 300, seed: int = 0) -> pd.DataFrame:
    """That many orders, as `Table.read` gives them; size and colour tell most of the target, some cells are empty."""
    generator = np.random.default_rng(seed)
    size = generator.uniform(0, 100, count).round(1)
    colour = generator.choice(["red", "green", "blue"], count)
    value = size + 30 * (colour == "red") + generator.normal(0, 12, count)
    target: dict[str, Any] = {
        BINARY: (value > 60).astype("int64"),
        MULTICLASS: pd.cut(value, [-np.inf, 40, 80, np.inf], labels=["low", "mid", "top"]).astype(object),
        REGRESSION: value.round(2),
    }
    frame = pd.DataFrame(
        {
            "order": [f"A-{seed}-{number:05}" for number in range(count)],
            "size": np.where(generator.random(count) < 0.1, np.nan, size),
            "colour": pd.Series(colour, dtype=object),
            "sold": pd.Series(
                pd.date_range("2023-01-01", periods=count, freq="31h").strftime("%Y-%m-%d"), dtype=object
            ),
            "returned": (generator.random(count) < 0.3).astype(float),
            "shop": pd.Series(generator.choice([f"shop {n}" for n in range(40)], count), dtype=object),
            "comment": pd.Series([np.nan] * count, dtype=object),
        }
    )
    return frame.assign(**{table(task).target.name: target[task]})


def fit(of: Table, frame: pd.DataFrame, seed: int = 0) -> Any:
    """A stock pipeline on the table's numbers and small sets of values, fitted."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    kind = RandomForestRegressor if of.task == REGRESSION else RandomForestClassifier
    texts = [one.name for one in of.features if one.enum and not one.numeric]
    numbers = [one.name for one in of.features if one.numeric]
    columns = ColumnTransformer(
        [
            ("number", SimpleImputer(), numbers),
            (
                "text",
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                texts,
            ),
        ]
    )
    model = make_pipeline(columns, kind(20, min_samples_leaf=3, random_state=seed))
    return model.fit(frame[model_columns(of)], frame[of.target.name])


def model_columns(of: Table) -> list[str]:
    return [one.name for one in of.features if one.numeric or one.enum]


def save_model(folder: Path, of: Table, frame: pd.DataFrame, seed: int = 0) -> Path:
    """A model folder as training leaves it; in no registry."""
    return save_fitted(folder, of, frame, fit(of, frame, seed))


def save_fitted(folder: Path, of: Table, frame: pd.DataFrame, estimator: Any) -> Path:
    """`save_model` of one that was fitted to `frame`."""
    import skops_flavor

    names = model_columns(of)
    skops_flavor.save_model(
        folder,
        estimator,
        of,
        names,
        background=frame[[of.key.name, *names]].head(12),
        companions=None,
        example=frame[names].head(2),
        pip_requirements=["mlflow==3.17.2", "scikit-learn==1.9.1", "skops==0.16.0"],
        python_version="3.11.0",
    )
    return folder


def register_model(of: Table, frame: pd.DataFrame, alias: str = "", seed: int = 0) -> str:
    """A version of the registered model of the table's name, in the store of the test; its number.

    As training does it: with train.csv and holdout.csv beside the model, the metrics of the holdout, and tags.
    """
    import mlflow
    from holdout import in_holdout_rows
    from predictions import predict, score
    from recording import Record

    held = in_holdout_rows(of, frame, 0.2, 0)
    train, rest = frame[~held], frame[held]
    with mlflow.start_run() as run:
        folder = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///")).parent / f"lists-{run.info.run_id}"
        folder.mkdir()
        of.write(train, folder / "train.csv")
        of.write(rest, folder / "holdout.csv")
        estimator, record = fit(of, train, seed), Record(folder)
        save_fitted(folder / "model", of, train, estimator)
        said = predict(estimator, of, rest[model_columns(of)])
        rows_of = {"rows_train": len(train), "rows_holdout": len(rest)}
        record.metrics = rows_of | score(of, rest[of.target.name], said)
        tags = {"split_seed": "0", "test_size": "0.2", "data.sha256": "0" * 64, "rows_train": str(len(train))}
        record.model = {"path": "model", "name": of.name, "tags": tags}
        record.log(run.info.run_id)
    version = str(mlflow.get_run(run.info.run_id).data.tags["model.version"])
    if alias:
        mlflow.MlflowClient().set_registered_model_alias(of.name, alias, version)
    return version
