"""The passenger list as it must be: the one declaration that the checks and the data dictionary are made from.

`python schema.py` prints the data dictionary as a Markdown table.
"""

import sys

import pandas as pd
import pandera.pandas as pa

TARGET = "Survived"
KEY = "PassengerId"
TEXT = pd.StringDtype("pyarrow")


def column(
    dtype: object,
    *checks: pa.Check,
    description: str,
    unit: str = "-",
    nullable: bool = True,
    unique: bool = False,
    max_missing: float = 0.0,
) -> pa.Column:
    """A column; `max_missing` is the share of empty cells above which a warning is given."""
    return pa.Column(
        dtype,
        list(checks),
        description=description,
        nullable=nullable,
        unique=unique,
        metadata={"unit": unit, "max_missing": max_missing},
    )


# Int64 holds whole numbers and gaps. Nothing but the key and the target is required of a row: the model fills gaps,
# with what it learns from the training rows alone.
SCHEMA = pa.DataFrameSchema(
    {
        KEY: column(
            "Int64",
            pa.Check.in_range(0, 2**53),  # beyond that, a number read as text is not held exactly
            description="Number of the passenger on the list; each occurs once.",
            nullable=False,
            unique=True,
        ),
        TARGET: column(
            "Int64",
            pa.Check.isin([0, 1]),
            description="Whether the passenger was saved: 1 yes, 0 no. Needed for training, not for scoring.",
            nullable=False,
        ),
        "Pclass": column(
            "Int64",
            pa.Check.isin([1, 2, 3]),
            description="Class of the ticket.",
            max_missing=0.05,
        ),
        "Name": column(
            TEXT,
            description="`Surname, Title. Given names`; a wife under her husband's name, with her own in brackets.",
            max_missing=0.05,
        ),
        "Sex": column(TEXT, pa.Check.isin(["female", "male"]), description="Sex.", max_missing=0.05),
        "Age": column(
            "float64",
            pa.Check.in_range(0, 120),
            description="Age; below one year as a fraction, `.5` where it was estimated.",
            unit="years",
            max_missing=0.5,
        ),
        "SibSp": column(
            "Int64",
            pa.Check.in_range(0, 20),
            description="Brothers, sisters and spouses aboard.",
            unit="persons",
            max_missing=0.05,
        ),
        "Parch": column(
            "Int64",
            pa.Check.in_range(0, 20),
            description="Parents and children aboard.",
            unit="persons",
            max_missing=0.05,
        ),
        "Ticket": column(
            TEXT, description="Number of the ticket; families and friends may share one.", max_missing=0.05
        ),
        "Fare": column(
            "float64",
            pa.Check.in_range(0, 10_000),
            description="Price of the whole ticket, for all who travel on it.",
            unit="pounds (1912)",
            max_missing=0.05,
        ),
        "Cabin": column(TEXT, description="Cabin or cabins; the letter is the deck.", max_missing=0.95),
        "Embarked": column(
            TEXT,
            pa.Check.isin(["C", "Q", "S"]),
            description="Port: C Cherbourg, Q Queenstown, S Southampton.",
            max_missing=0.05,
        ),
    },
    name="passengers",
)
KINDS = {"Int64": "whole number", "float64": "number"}  # anything else is text


def kind(name: str) -> str:
    """What a column holds: `whole number`, `number` or `text`."""
    return KINDS.get(str(SCHEMA.columns[name].dtype), "text")


def rule(check: pa.Check) -> str:
    """The name of what a value that fails the check is: the second half of a reason such as `Age_out_of_range`."""
    return {"in_range": "out_of_range", "isin": "not_allowed"}[str(check.name)]


def allowed(name: str) -> str:
    """The values that a column may have, in words; empty where any will do."""
    for check in SCHEMA.columns[name].checks:
        if check.name == "isin":
            return ", ".join(str(value) for value in check.statistics["allowed_values"])
        low, high = check.statistics["min_value"], check.statistics["max_value"]
        return f"{low} to {high}"
    return ""


def row_schema(names: list[str], *, require_target: bool) -> pa.DataFrameSchema:
    """The part of the schema that a single row can break, for the columns `names`; uniqueness needs all rows."""
    columns = {name: SCHEMA.columns[name] for name in names if name in SCHEMA.columns}
    schema = pa.DataFrameSchema(columns).update_column(KEY, unique=False)
    if TARGET in columns and not require_target:
        schema = schema.update_column(TARGET, nullable=True)
    return schema


def data_dictionary() -> str:
    """The schema as a Markdown table, one line for each column."""
    lines = ["| column | holds | unit | allowed | empty cells | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for name, declared in SCHEMA.columns.items():
        gaps = f"up to {declared.metadata['max_missing']:.0%}" if declared.nullable else "none"
        values = ("unique, " if declared.unique else "") + (allowed(name) or "any")
        lines.append(
            f"| `{name}` | {kind(name)} | {declared.metadata['unit']} | {values} | {gaps} | {declared.description} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    sys.stdout.write(data_dictionary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
