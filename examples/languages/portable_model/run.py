"""portable_model: a logistic regression in, the same as a table that any language can read out: model.csv.

A row of the table is a term. The model's answer is the logistic function of their sum, `intercept` included:

    number   weight * (the cell, or `fill` where it is empty)
    equals   weight where the cell, or `fill` where it is empty, is `value`
    count    weight * how often `pattern`, a regular expression, finds `value` (its first group) in the cell
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from saved_model import open_model
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from step import parse_parameters, run_step
from step_error import StepError
from table import BINARY, Table

STEP = "portable_model"
HEADER = ["kind", "column", "fill", "value", "pattern", "weight"]
Term = dict[str, Any]


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    model = open_model(parse_parameters(STEP, model=str).model)
    if model.companions:
        raise StepError("the model is corrected by companions, which no terms do; train it with group_correction=false")
    rows = [*names(model.table), *terms(model.estimator)]
    output = folder / "model.csv"
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    mlflow.log_artifact(str(output))
    mlflow.log_metric("terms", len(rows))
    mlflow.set_tags(model.tags())
    print(f"{STEP}: {model} as {len(rows)} rows")


def names(table: Table) -> Iterator[Term]:
    """The key, the target, and the two classes as they are written.

    Raises:
        StepError: the model is not for two classes.
    """
    if table.task != BINARY:
        raise StepError(f"the model is for the task {table.task}; give one for two classes")
    negative = next(one for one in table.classes if one != table.positive)
    yield {"kind": "key", "column": table.key.name}
    yield {"kind": "target", "column": table.target.name}
    yield {"kind": "negative", "value": table.class_text(negative)}
    yield {"kind": "positive", "value": table.class_text(table.positive)}


def terms(estimator: Any) -> Iterator[Term]:
    """The terms of a fitted scikit-learn pipeline: a ColumnTransformer and a LogisticRegression.

    Raises:
        StepError: it has a part that has no such form.
    """
    columns, final = (part for _, part in estimator.steps)
    if not isinstance(final, LogisticRegression):
        raise StepError(f"the model ends with {type(final).__name__}; train it with model=logistic_regression")
    weights = iter(final.coef_[0].tolist())
    yield {"kind": "intercept", "weight": final.intercept_[0].item()}
    for name, pipeline, inputs in columns.transformers_:
        if name == "remainder":
            continue
        parts = {type(part): part for _, part in pipeline.steps}
        fills = dict(zip(inputs, parts[SimpleImputer].statistics_.tolist(), strict=True))
        if counts := parts.get(CountVectorizer):
            for word in counts.get_feature_names_out():
                term = {"value": word, "pattern": counts.token_pattern, "weight": next(weights)}
                yield {"kind": "count", "column": inputs[0], "fill": fills[inputs[0]]} | term
        elif codes := parts.get(OneHotEncoder):
            for column, value in values_of(codes, inputs):
                weight = next(weights)
                yield {"kind": "equals", "column": column, "fill": fills[column], "value": value, "weight": weight}
        elif (scale := parts.get(StandardScaler)) and not {*parts} - {
            SimpleImputer,
            FunctionTransformer,
            StandardScaler,
        }:
            function = parts.get(FunctionTransformer)
            if function and function.func is not np.sum:
                raise StepError(f"{name} of the model has {function.func.__name__}, which has no form as a term")
            groups = [inputs] if function else [[column] for column in inputs]
            for group, mean, spread in zip(groups, scale.mean_.tolist(), scale.scale_.tolist(), strict=True):
                weight = next(weights) / spread
                yield {"kind": "intercept", "weight": -weight * mean}
                for column in group:
                    yield {"kind": "number", "column": column, "fill": fills[column], "weight": weight}
        else:
            raise StepError(f"{name} of the model ({', '.join(part.__name__ for part in parts)}) has no form as terms")


def values_of(codes: OneHotEncoder, columns: list[str]) -> Iterator[tuple[str, Any]]:
    """Each column and value that a OneHotEncoder has a number for, in its order."""
    for place, (column, values) in enumerate(zip(columns, codes.categories_, strict=True)):
        dropped = None if codes.drop_idx_ is None else codes.drop_idx_[place]
        for number, value in enumerate(values.tolist()):
            if number != dropped:
                yield column, value


if __name__ == "__main__":
    sys.exit(main())
