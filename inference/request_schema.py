"""What a request may hold, made from the declaration: for people and programs to read at /docs and /openapi.json.

It is not what rows are judged by: that is row_checks, as in data_cleaning.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from predictions import probability_columns
from pydantic import BaseModel, ConfigDict, create_model
from pydantic import Field as Described
from pydantic.json_schema import models_json_schema
from request_rows import CSV, JSON
from table import DATE_FORMATS, REGRESSION, Field, Table

TYPES: dict[str, Any] = {"integer": int, "number": float, "boolean": bool}  # in JSON; the others are text
REFERENCE = "#/components/schemas/{model}"


class Refusal(BaseModel):
    """Every answer of 400 or more."""

    error_code: str
    message: str


def request_body(table: Table, columns: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """OpenAPI's `requestBody` for rows of these columns, and the schemas that it refers to, by name."""
    fields = [table.by_name[name] for name in columns]
    row: Any = row_model(table, fields)
    records: Any = list[row]
    cells = dict[str, list[Any]]
    split = create_model("Split", columns=(list[str], ...), data=(list[list[Any]], ...))
    forms = [
        create_model("Records", dataframe_records=(records, ...)),
        create_model("SplitTable", dataframe_split=(split, ...)),
        create_model("Instances", instances=(records | cells, ...)),
        create_model("Inputs", inputs=(records | cells | row, ...)),
    ]
    _, schemas = models_json_schema([(form, "validation") for form in forms], ref_template=REFERENCE)
    choices = [{"$ref": REFERENCE.format(model=form.__name__)} for form in forms]
    example = {one.name: example_value(one) for one in fields}
    content = {
        JSON: {"schema": {"oneOf": choices}, "example": {"dataframe_records": [example]}},
        CSV: {"schema": {"type": "string", "description": f"A header, and a line for each {table.row}."}},
    }
    return {"required": True, "content": content}, schemas["$defs"]


def row_model(table: Table, fields: list[Field]) -> type[BaseModel]:
    """A row as it is sent: every column must be there, and may be null where the model fills gaps."""
    # Names of our own, with the columns' as aliases: a column may be called anything.
    declared: dict[str, Any] = {
        f"column_{place}": (
            described_type(one),
            Described(
                alias=one.name,
                title=one.name,
                description=" ".join(filter(None, [one.description, f"In {one.unit}." if one.unit else ""])),
                examples=[example_value(one)],
            ),
        )
        for place, one in enumerate(fields)
    }
    return create_model("Row", __config__=ConfigDict(title=table.row), __doc__=table.description or None, **declared)


def described_type(one: Field) -> Any:
    """The type of a cell with its limits, in the words of JSON Schema."""
    limits: dict[str, Any] = {"unit": one.unit, "enum": list(one.enum), "pattern": one.pattern}
    if one.type in TYPES:
        limits |= {"minimum": one.minimum, "maximum": one.maximum}
    elif one.format == "default":
        limits["format"] = {"date": "date", "datetime": "date-time"}.get(one.type)
    limits = {key: value for key, value in limits.items() if value not in (None, "", [])}
    kind: Any = TYPES.get(one.type, str)
    kind = Annotated[kind, Described(json_schema_extra=limits)]
    return kind if one.required else kind | None


def example_value(one: Field) -> Any:
    """A value that the column may have; None where only its own people could think of one."""
    if one.enum:
        return one.enum[0]
    if one.type == "boolean":
        return True
    if one.type in ("date", "datetime"):
        moment = datetime.fromisoformat(str(one.minimum or one.maximum or "2024-12-31"))
        return moment.strftime(DATE_FORMATS[one.type] if one.format == "default" else one.format)
    if one.type == "string":
        return None if one.pattern else "text"
    low, high = one.minimum, one.maximum
    if low is not None and high is not None:
        middle = (float(low) + float(high)) / 2
        return int(middle) if one.type == "integer" else middle
    return next((value for value in (low, high) if value is not None), 1)


def answer_model(table: Table, versions: bool = False) -> type[BaseModel]:
    """What an answer holds: the prediction of each row, in their order; and which version it is of."""
    target = replace(table.target, required=True)
    kind = float if table.task == REGRESSION else described_type(target)
    columns: dict[str, Any] = {"column_0": (kind, described_by(target.name, target.description))}
    for place, (name, value) in enumerate(probability_columns(table).items(), 1):
        columns[f"column_{place}"] = (float, described_by(name, f"Probability of: {table.class_label(value)}."))
    more = Described(
        None, title="reasons", description="The three columns that add most to it, where they are asked for."
    )
    columns["reasons"] = (dict[str, float] | None, more)
    if versions:
        columns["version"] = (str, described_by("model_version", "Which model answered."))
    prediction: Any = create_model("Prediction", **columns)
    return create_model("Answer", predictions=(list[prediction], ...))


def described_by(name: str, description: str) -> Any:
    return Described(alias=name, title=name, description=description)
