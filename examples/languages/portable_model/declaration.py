"""What a table is, declared once: dataset.yaml, read and checked. No MLflow here.

A declaration is a Table Schema (https://specs.frictionlessdata.io/table-schema/) with a few keys of ours. It travels as
`datapackage.json` beside a clean table, and as `dataset.json` in a model.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml
from step_error import StepError
from table import (
    BINARY,
    HOLDS,
    MISSING_VALUES,
    MULTICLASS,
    PREDICTED,
    REGRESSION,
    ROW_NUMBER,
    TASKS,
    Field,
    Table,
    raw_format,
    text_of,
)

TYPES = ("integer", "number", "boolean", "string", "date", "datetime")
ROLES = ("feature", "target", "key", "ignored")
TABLE_KEYS = {"name", "title", "description", "task", "row", "rows", "primaryKey", "missingValues", "fields"}
TABLE_KEYS |= {"group", "positive", "minimum", "intended_use", "limits", "$schema", "profile"}
FIELD_KEYS = {"name", "type", "title", "description", "format", "constraints"}
FIELD_KEYS |= {
    "missingValues",
    "decimalChar",
    "groupChar",
    "raw_decimalChar",
    "raw_groupChar",
    "raw_format",
    "role",
    "unit",
    "max_missing",
    "slice",
    "bins",
    "labels",
}
CONSTRAINTS = ("required", "unique", "minimum", "maximum", "enum", "pattern")
DECIMAL_CHARS, GROUP_CHARS = (",", "."), (",", ".", " ", "'")
MODEL_NAME = re.compile(r"[\w-][\w.-]{0,99}")


def read_declaration(path: Path) -> Table:
    """The table that dataset.yaml declares, or datapackage.json or dataset.json beside what came of it.

    Raises:
        StepError: it is not there, or not valid; everything that is wrong with it is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=CautiousLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise StepError(f"the declaration {str(path)!r} cannot be read ({error.strerror}); give dataset.yaml") from None
    except (ValueError, yaml.YAMLError) as error:
        raise StepError(f"{path.name} cannot be read ({' '.join(str(error).split())[:200]}); correct it") from None
    if isinstance(content, dict) and isinstance(content.get("resources"), list) and content["resources"]:
        content = content["resources"][0].get("schema")
    return parse_declaration(content, path.name)


def parse_declaration(content: Any, name: str) -> Table:
    """The table of a declaration that was read from a file of that `name`.

    Raises:
        StepError: it is not valid; everything that is wrong with it is named.
    """
    problems: list[str] = []
    if not isinstance(content, dict) or not isinstance(content.get("fields"), list) or not content["fields"]:
        raise StepError(f"{name} declares no table: it needs a list `fields`, each with a name and a type")
    content = without_row_numbers(content)
    refuse_unknown_keys(content, TABLE_KEYS, "", problems)
    key = content.get("primaryKey")
    key = key[0] if isinstance(key, list) and len(key) == 1 else key
    if isinstance(key, list):
        problems.append(f"primaryKey names {len(key)} columns; give one that names a row, or leave it out")
        key = None
    fields = [parse_field(one, key, problems) for one in content["fields"]]
    names = [one.name for one in fields]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        problems.append(f"the field {', '.join(twice)} is there more than once")
    for one in fields:
        if one.role in ("key", "target") and (one.name in PREDICTED or one.name.startswith("probability_")):
            problems.append(f"the {one.role} {one.name} has the name of a column of predictions.csv; rename it")
    if key is None and ROW_NUMBER in names:
        problems.append(f"the field {ROW_NUMBER} has the name of the rows' numbers; rename it, or give a primaryKey")
    if key is not None and key not in names:
        problems.append(f"primaryKey {key!r} is no field{nearest(str(key), names)}")
    if len(keys := [one.name for one in fields if one.role == "key"]) > 1:
        problems.append(f"{' and '.join(keys)} have both the role key; give it to one")
    targets = [one for one in fields if one.role == "target"]
    if len(targets) != 1:
        problems.append(
            f"{'no field has' if not targets else 'more than one field has'} the role target; give it to one"
        )
    if problems:
        raise StepError(f"{name}: {'; '.join(problems)}")
    target = targets[0]
    task = str(content.get("task") or task_of(target))
    refuse_target(target, task, problems)
    classes = ((0, 1) if target.type == "boolean" else target.enum) if task == BINARY else ()
    positive = content.get("positive", classes[-1] if classes else None)
    positive = int(positive) if isinstance(positive, bool) else positive
    if task == BINARY and not problems and positive not in classes:
        problems.append(f"positive {positive!r} is none of {target.name}'s values {', '.join(map(text_of, classes))}")
    group = str(content.get("group") or "")
    if group and (group not in names or group == target.name):
        problems.append(f"group {group!r} is no field{nearest(group, names)}, or is the target")
    minimum = content.get("minimum") or {}
    if not isinstance(minimum, dict) or not all(is_number(value) for value in minimum.values()):
        problems.append("minimum is not a block of metrics, each with a number")
    missing = missing_values_of(content.get("missingValues", list(MISSING_VALUES)), "", problems)
    limits = content.get("limits") or []
    if not isinstance(limits, list):
        problems.append("limits is not a list of sentences")
    model = str(content.get("name") or "model")
    if not MODEL_NAME.fullmatch(model):
        problems.append(f"name {model!r} is not made of letters, digits, dots, - and _")
    if problems:
        raise StepError(f"{name}: {'; '.join(problems)}")
    row = str(content.get("row") or "row")
    return Table(
        name=model,
        task=task,
        fields=tuple(fields),
        row=row,
        rows=str(content.get("rows") or f"{row}s"),
        title=str(content.get("title") or ""),
        description=str(content.get("description") or ""),
        group=group,
        positive=positive if task == BINARY else None,
        missing_values=missing,
        minimum={str(metric): float(value) for metric, value in minimum.items()},
        intended_use=str(content.get("intended_use") or ""),
        limits=tuple(map(str, limits)),
        content=content,
    )


def parse_field(content: Any, key: Any, problems: list[str]) -> Field:
    """A field; what is wrong with it is added to `problems`."""
    if not isinstance(content, dict) or not isinstance(content.get("name"), str) or not content["name"].strip():
        problems.append(f"the field {content!r} has no name"[:200])
        return Field("")
    name = content["name"]
    where = f"{name}: "
    refuse_unknown_keys(content, FIELD_KEYS, where, problems)
    kind = content.get("type", "string")
    if kind not in TYPES:
        problems.append(f"{where}type {kind!r} is none of {', '.join(TYPES)}{nearest(str(kind), TYPES)}")
        return Field(name)
    role = content.get("role", "key" if name == key else "feature")
    if role not in ROLES:
        problems.append(f"{where}role {role!r} is none of {', '.join(ROLES)}{nearest(str(role), ROLES)}")
    if (role == "key") != (name == key):
        problems.append(f"{where}the role key and primaryKey do not name the same field")
    if role == "key" and kind not in ("integer", "string"):
        problems.append(f"{where}a key holds whole numbers or text, no {kind}")
    rules = content.get("constraints") or {}
    if not isinstance(rules, dict):
        problems.append(f"{where}constraints is not a block of keys")
        rules = {}
    refuse_unknown_keys(rules, set(CONSTRAINTS), f"{where}constraints: ", problems)
    if rules.get("unique") and role != "key":
        problems.append(f"{where}unique is for the primary key alone")
    enum = values_of(kind, rules.get("enum") or [], where, problems)
    low, high = (bound(kind, rules.get(side), f"{where}{side} ", problems) for side in ("minimum", "maximum"))
    if low is not None and high is not None and not problems and low > high:  # type: ignore[operator]  # of one type
        problems.append(f"{where}minimum {low} is over maximum {high}")
    pattern = rules.get("pattern") or ""
    if not isinstance(pattern, str):
        problems.append(f"{where}pattern {pattern!r} is no text; put it in quotes")
        pattern = ""
    if pattern and kind != "string":
        problems.append(f"{where}pattern is for text, not for {kind}")
    try:
        re.compile(pattern)
    except re.error as error:
        problems.append(f"{where}pattern {pattern!r} is no regular expression ({error})")
    refuse_format(content, kind, where, problems)
    share = content.get("max_missing", 1.0)
    if not is_number(share) or not 0 <= share <= 1:
        problems.append(f"{where}max_missing {share!r} is not a share from 0 to 1")
        share = 1.0
    bins = content.get("bins") or []
    if not isinstance(bins, list) or not all(map(is_number, bins)) or sorted(set(bins)) != bins:
        problems.append(f"{where}bins is not a list of growing numbers")
        bins = []
    labels = content.get("labels") or {}
    if not isinstance(labels, dict):
        problems.append(f"{where}labels is not a block of a word for each value")
        labels = {}
    decimal_char, group_char = number_chars(content, kind, where, problems)
    missing = content.get("missingValues")
    return Field(
        name=name,
        type=kind,
        role=role,
        description=str(content.get("description") or ""),
        unit=str(content.get("unit") or ""),
        format=raw_format(content),
        required=bool(rules.get("required")) or role == "key",
        minimum=low,
        maximum=high,
        enum=enum,
        pattern=pattern,
        max_missing=float(share),
        slice=slices_of(content.get("slice"), kind, bool(enum) or kind == "boolean", where, problems),
        bins=tuple(map(float, bins)),
        labels={text_of(value): str(word) for value, word in labels.items()},
        decimal_char=decimal_char,
        group_char=group_char,
        missing_values=None if missing is None else missing_values_of(missing, where, problems),
    )


def number_chars(content: Mapping[str, Any], kind: str, where: str, problems: list[str]) -> tuple[str, str]:
    """What stands before a raw number's decimals and between its thousands; two empty texts where nothing is said."""
    said = [(key, content.get(f"raw_{key}") or content.get(key) or "") for key in ("decimalChar", "groupChar")]
    for (key, char), known in zip(said, (DECIMAL_CHARS, GROUP_CHARS), strict=True):
        if char and char not in known:
            problems.append(f"{where}{key} {char!r} is none of {'  '.join(map(repr, known))}")
        if char and kind not in ("integer", "number"):
            problems.append(f"{where}{key} is for numbers, not for {kind}")
    group_char = said[1][1]
    decimal_char = said[0][1] or ("." if group_char else "")
    if decimal_char and decimal_char == group_char:
        problems.append(f"{where}decimalChar and groupChar are both {group_char!r}; say both, and differently")
    return str(decimal_char), str(group_char)


def missing_values_of(words: Any, where: str, problems: list[str]) -> tuple[str, ...]:
    """What stands for a missing value, in lower case; an empty cell always does."""
    if not isinstance(words, list) or not all(isinstance(one, str) for one in words):
        problems.append(f"{where}missingValues is not a list of texts; put each in quotes")
        return ("",)
    return tuple(dict.fromkeys(["", *(one.strip().lower() for one in words)]))


def without_row_numbers(content: dict[str, Any]) -> dict[str, Any]:
    """The declaration of the raw table: without the key that a clean table was given for want of one."""
    fields = [one for one in content["fields"] if not (isinstance(one, dict) and one.get("generated"))]
    if len(fields) == len(content["fields"]):
        return content
    return {key: value for key, value in content.items() if key != "primaryKey"} | {"fields": fields}


def refuse_format(content: Mapping[str, Any], kind: str, where: str, problems: list[str]) -> None:
    """Add to `problems` where a date's format is none that dates can be read by."""
    pattern = raw_format(content)
    if pattern == "default" or kind not in ("date", "datetime"):
        return
    try:
        if "%" not in pattern:
            raise ValueError
        datetime.strptime(datetime(2024, 12, 31, 23, 59, 58).strftime(pattern), pattern)
    except ValueError:
        problems.append(f"{where}format {pattern!r} is none for dates; write it as in %d.%m.%Y")


def values_of(kind: str, values: Any, where: str, problems: list[str]) -> tuple[Any, ...]:
    """The values of `enum`, each of the field's type."""
    wanted: Any = {"integer": int, "number": (int, float), "string": str}.get(kind)
    if not isinstance(values, list) or (values and wanted is None):
        problems.append(f"{where}enum is {'not a list' if wanted else f'not for {kind}'}")
        return ()
    if wrong := [value for value in values if not isinstance(value, wanted or str) or isinstance(value, bool)]:
        hint = "; put it in quotes" if kind == "string" else ""
        problems.append(f"{where}enum has {wrong[0]!r}, which is no {HOLDS.get(kind, kind)}{hint}")
    return tuple(values)


def bound(kind: str, value: Any, what: str, problems: list[str]) -> float | str | None:
    """A minimum or maximum: a number, or a date as ISO text."""
    if value is None:
        return None
    if kind in ("date", "datetime"):
        text = value.isoformat() if isinstance(value, date | datetime) else str(value)
        try:
            datetime.fromisoformat(text)
        except ValueError:
            problems.append(f"{what}{text!r} is not a date such as 2024-12-31")
        return text
    if kind not in ("integer", "number") or not is_number(value):
        problems.append(
            f"{what}{value!r} is not a number" if kind in ("integer", "number") else f"{what}is not for {kind}"
        )
        return None
    return float(value) if isinstance(value, float) else int(value)


def slices_of(
    content: Any, kind: str, few_values: bool, where: str, problems: list[str]
) -> dict[str, tuple[float, float]] | None:
    """The groups of a field by which a model is judged; {} where each value is one, None where it has none."""
    if content is None or content is False:
        return None
    if content is True and few_values:
        return {}
    if not isinstance(content, dict) or kind not in ("integer", "number"):
        problems.append(
            f"{where}slice is true (of a field with few values), or names ranges of a number: {{young: [0, 30], …}}"
        )
        return None
    found = {}
    for name, ends in content.items():
        if not isinstance(ends, list) or len(ends) != 2 or not all(one is None or is_number(one) for one in ends):
            problems.append(f"{where}slice {name} is not a range such as [0, 30], the end not included (or null)")
            continue
        low, high = ends
        found[str(name)] = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    return found


def task_of(target: Field) -> str:
    """What kind of problem a target makes, where it is not said."""
    if target.type == "boolean" or len(target.enum) == 2:
        return BINARY
    return MULTICLASS if target.enum else REGRESSION


def refuse_target(target: Field, task: str, problems: list[str]) -> None:
    """Add to `problems` where the target cannot be what the task says."""
    if task not in TASKS:
        problems.append(f"task {task!r} is none of {', '.join(TASKS)}{nearest(task, TASKS)}")
    elif task == REGRESSION and (target.type not in ("integer", "number") or target.enum):
        problems.append(f"{target.name} is no number that can be predicted, but task is regression; use type number")
    elif task != REGRESSION and target.type not in ("integer", "string", "boolean"):
        problems.append(
            f"{target.name} has the type {target.type}, but the classes of task {task} are text or integers"
        )
    elif task != REGRESSION and (count := 2 if target.type == "boolean" else len(target.enum)) != 2 and task == BINARY:
        problems.append(f"{target.name} has {count} values in enum, and task binary needs two; list them")
    elif task == MULTICLASS and len(target.enum) < 3:
        problems.append(f"{target.name} has {len(target.enum)} values in enum, and task multiclass needs three or more")


def refuse_unknown_keys(content: Mapping[Any, Any], known: Iterable[str], where: str, problems: list[str]) -> None:
    for key in content:
        if key not in known:
            problems.append(f"{where}{str(key)[:40]!r} is no key of a declaration{nearest(str(key), known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?`, where something is near."""
    found = difflib.get_close_matches(name, sorted(known), 1)
    return f": did you mean {found[0]}?" if found else ""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class CautiousLoader(yaml.SafeLoader):
    """YAML without aliases, which can make a small file very large; `yes`, `no`, `on`, `off` and dates are text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not for declarations")
        return super().compose_node(parent, index)


CautiousLoader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag.rpartition(":")[2] not in ("bool", "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
CautiousLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|True|false|False"), list("tTfF"))
