"""`make dataset CSV=… TARGET=…`: look at a CSV, write dataset.yaml, and say what was decided and why.

    python -m scaffold.new_dataset sales.csv churned

Also the two lines of config.yaml that name the data. The files that were there are kept beside, as *.bak.
"""

import argparse
import difflib
import math
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from scaffold.table_facts import Column, Facts, look_at

ROOT = Path(__file__).resolve().parents[1]
MAX_SLICES = 2  # columns by which models are judged, of those with few values
MAX_SLICE_VALUES = 5


class DatasetError(Exception):
    """The declaration cannot be made; the text is meant for the user."""


def main() -> int:
    parser = argparse.ArgumentParser("python -m scaffold.new_dataset", description=__doc__.split("\n")[0])
    parser.add_argument("csv")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        remarks = write_declaration(Path(given.csv), given.target, given.root.resolve(), ask_on_terminal)
    except DatasetError as error:
        print(f"dataset: {error}", file=sys.stderr)
        return 2
    print("\n".join(remarks))
    return 0


def write_declaration(csv: Path, target: str, root: Path, ask: Callable[[str, Sequence[str]], str]) -> list[str]:
    """Write `root`/dataset.yaml and the two lines of config.yaml; returns what was decided, a line each.

    `ask` gets a question and the answers there are, the first of which is assumed where nobody answers.

    Raises:
        DatasetError: no such file or column, no rows, or a target that cannot be predicted.
    """
    from step_error import StepError

    if not csv.is_file():
        raise DatasetError(
            f"CSV={csv} names no file; give the path of a CSV file, as in make dataset CSV=sales.csv TARGET=paid"
        )
    try:
        facts = look_at(csv)
    except StepError as error:
        raise DatasetError(str(error)) from None
    names = [column.name for column in facts.columns]
    if not target:
        target = ask(f"Which column of {csv.name} is to be predicted?", ["", *names])
        if not target:
            raise DatasetError(f"TARGET is not given; name the column that is to be predicted: {', '.join(names[:30])}")
    if target not in names:
        near = difflib.get_close_matches(target, names, 1)
        hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(names[:30])}"
        raise DatasetError(f"{csv.name} has no column {target!r}{hint}")
    if "row" in names and not any(column.name == "row" and column.names_rows for column in facts.columns):
        raise DatasetError(
            f"{csv.name} has a column row, which is what rows' numbers are called here; rename it in the file"
        )
    if facts.rows < 20:
        raise DatasetError(f"{csv.name} has {facts.rows} rows; at least 20 are needed to train and judge a model")
    content, remarks = decide(facts, target, ask)
    check(content)
    path = csv.resolve()
    shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    config = with_lines(root / "config.yaml", {"data_url": shown, "current": shown})
    kept = [keep(root / name) for name in ("dataset.yaml", "config.yaml")]
    (root / "dataset.yaml").write_text(as_yaml(content, csv.name, target), encoding="utf-8")
    (root / "config.yaml").write_text(config, encoding="utf-8")
    return [
        *remarks,
        f"config.yaml  data_url and current are {shown}; give current the rows to be scored, when there are others",
        "written      dataset.yaml, and two lines of config.yaml"
        + (f"; what was there is in {' and '.join(filter(None, kept))}" if any(kept) else ""),
        "next         make run",
    ]


def ask_on_terminal(question: str, answers: Sequence[str]) -> str:
    """The answer of whoever sits at the terminal; the first one where nobody does, or with Enter."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return answers[0]
    print(f"{question}\n  {' | '.join(filter(None, answers))}")
    while True:
        said = input(f"[{answers[0]}] " if answers[0] else "> ").strip()
        if not said or said in answers:
            return said or answers[0]
        print(f"{said!r} is none of these")


def decide(facts: Facts, target: str, ask: Callable[[str, Sequence[str]], str]) -> tuple[dict[str, Any], list[str]]:
    """The declaration's content, and a line for each column that says what it is and why.

    Raises:
        DatasetError: the target cannot be predicted.
    """
    width = max(len(column.name) for column in facts.columns)
    told: list[str] = [f"{facts.name}: {facts.rows} rows, {len(facts.columns)} columns{facts.remark}"]
    key = find_key(facts, target, ask, told)
    name = re.sub(r"[^\w-]+", "_", Path(facts.name).stem).strip("_-").lower() or "model"
    content: dict[str, Any] = {"name": name, "title": Path(facts.name).stem.replace("_", " ").capitalize()}
    content["task"], aim, why = decide_target(facts, target, ask)
    if content["task"] == "binary":
        content["positive"] = aim.pop("positive")
    if key:
        content["primaryKey"] = key.name
    words = sorted({word for column in facts.columns for word in column.missing_words})
    if words:
        from table import MISSING_VALUES

        content["missingValues"] = [*MISSING_VALUES, *words]
    fields = []
    slices = 0
    for column in facts.columns:
        if column.name == target:
            field, reason = aim, why
        elif key and column.name == key.name:
            field, reason = (
                {"role": "key", "constraints": key_rules(column)},
                "names a row: no two are alike, none is empty",
            )
        else:
            field, reason = decide_column(column, facts.alone(column, target, content["task"]))
            few = field.get("role") is None and len(field.get("constraints", {}).get("enum", [])) in range(
                2, MAX_SLICE_VALUES + 1
            )
            if few and slices < MAX_SLICES:
                field["slice"] = True
                slices += 1
        kind = field.pop("type", column.type)
        if kind in ("integer", "number") and column.decimal_char:
            field["decimalChar"] = column.decimal_char
            if column.group_char:
                field["groupChar"] = column.group_char
            reason += f"; written as 1{column.group_char}234{column.decimal_char}5"
        fields.append({"name": column.name, "type": kind, **field})
        role = field.get("role", "feature")
        told.append(f"{column.name:<{width}}  {kind:<8}  {role:<8}  {reason}")
    content["fields"] = fields
    if words:
        told.append(f"also missing: {', '.join(map(repr, words))}, which stand among numbers")
    if not key:
        told.append("no column names a row: rows are numbered in the order of the file (column `row`)")
    return content, told


def find_key(facts: Facts, target: str, ask: Callable[[str, Sequence[str]], str], told: list[str]) -> Column | None:
    """The column that names a row; None where there is none."""
    found = [column for column in facts.columns if column.names_rows and column.name != target]
    if len(found) < 2:
        return found[0] if found else None
    names = [column.name for column in found]
    chosen = ask("More than one column could name a row. Which one does?", names)
    told.append(f"key: {chosen}; {', '.join(name for name in names if name != chosen)} could be, too")
    return next(column for column in found if column.name == chosen)


def key_rules(column: Column) -> dict[str, Any]:
    rules: dict[str, Any] = {"required": True, "unique": True}
    if column.type == "integer" and column.low is not None and column.low >= 0:
        rules["minimum"] = 0
    return rules


def decide_target(
    facts: Facts, target: str, ask: Callable[[str, Sequence[str]], str]
) -> tuple[str, dict[str, Any], str]:
    """The task, the target's field, and why.

    Raises:
        DatasetError: it is always the same, or neither a number nor one of a few values.
    """
    column = facts.column(target)
    values = column.values
    empty = f"; {column.empty} rows without it will be rejected" if column.empty else ""
    if column.empty > 0.05 * facts.rows:
        empty += f", more than 5 %: set data_cleaning.max_rejected={math.ceil(100 * column.empty / facts.rows) / 100}"
    if column.distinct < 2:
        raise DatasetError(
            f"{target} is {'empty' if not column.distinct else 'the same'} in every row; nothing can be learned of it"
        )
    if column.type == "boolean":
        return (
            "binary",
            {"role": "target", "positive": True},
            f"true or false: two classes, of which true is meant{empty}",
        )
    classes = column.type in ("integer", "string") and column.distinct <= (10 if column.type == "integer" else 30)
    if classes and column.type == "integer" and column.distinct > 2:
        question = f"{target} has {column.distinct} different whole numbers. Are they classes, or a quantity?"
        classes = ask(question, ["classes", "quantity"]) == "classes"
        empty += "; assumed: take `enum` away for a quantity" if classes else ""
    if not classes and column.type not in ("integer", "number"):
        raise DatasetError(
            f"{target} has {column.distinct} different values of type {column.type}: neither a number nor a few classes"
        )
    if not classes:
        unit = {"unit": column.unit} if column.unit else {}
        return (
            "regression",
            {"role": "target", "type": "number", **unit},
            f"{column.distinct} different numbers: a number{empty}",
        )
    if rare := [str(value) for value in values if column.counts[str(value)] < 10]:
        few = ", ".join(rare[:5])
        empty += f"; FEWER THAN 10 ROWS of {few}, which training refuses: join them with others, or leave them out"
    field: dict[str, Any] = {"role": "target", "constraints": {"required": True, "enum": values}}
    if column.distinct == 2:
        field["positive"] = positive = positive_of(values, column)
        return "binary", field, f"two values, of which {positive!r} is the one whose probability is told{empty}"
    return "multiclass", field, f"{column.distinct} classes: {', '.join(map(str, values))[:60]}{empty}"


def positive_of(values: list[Any], column: Column) -> Any:
    """The value that is meant: 1, yes, … or the rarer one."""
    said = [value for value in values if str(value).lower() in ("1", "yes", "y", "true", "t", "positive", "pos")]
    return said[0] if len(said) == 1 else min(values, key=lambda value: column.counts[str(value)])


def decide_column(column: Column, alone: float) -> tuple[dict[str, Any], str]:
    """A column's field beside its name and type, and why; `alone`: how well it predicts the target, 0 to 1."""
    field: dict[str, Any] = {}
    if not column.distinct:
        return {"role": "ignored"}, "empty in every row: left out"
    if column.unit:
        field["unit"] = column.unit
    if column.format:
        field["format"] = column.format
    why_not = reason_against(column, alone)
    if why_not:
        return {**field, "role": "ignored"}, f"{column.distinct} different values; {why_not}"
    field |= limits(column)
    if column.empty:
        field["max_missing"] = column.max_missing
    reason = f"{column.said}{f', {column.empty} empty' if column.empty else ''}"
    return field, reason


def reason_against(column: Column, alone: float) -> str:
    """Why models should not read the column; "" where nothing speaks against it."""
    if column.distinct == 1:
        return "the same in every row: left out"
    if alone > 0.99:
        return (
            f"GIVES THE TARGET AWAY (alone it predicts {alone:.1%} of it): left out; if it is known before the target "
            "is, delete its `role: ignored`"
        )
    if column.free_text:
        return "free text: left out, unless its `role: ignored` is deleted"
    return "an identifier: left out" if column.identifier else ""


def limits(column: Column) -> dict[str, Any]:
    """What cells may be: the few values there are, or a range with margin."""
    if column.few_values:
        return {"constraints": {"enum": column.values}}
    if column.bounds is None:
        return {}
    low, high = column.bounds
    found: dict[str, Any] = {"constraints": {"minimum": low, "maximum": high}}
    if column.bins:
        found["bins"] = column.bins
    return found


def check(content: dict[str, Any]) -> None:
    """Raises DatasetError where what was decided is no declaration that the steps take (which would be our mistake)."""
    from declaration import parse_declaration
    from step_error import StepError

    try:
        parse_declaration(content, "dataset.yaml")
    except StepError as error:
        raise DatasetError(f"the declaration that was made is not valid: {error}") from None


def as_yaml(content: dict[str, Any], csv: str, target: str) -> str:
    """The declaration as a file to be read and edited: what belongs together in one line."""
    lines = [
        f"# What {csv} is: a Table Schema (https://specs.frictionlessdata.io/table-schema/) with a few keys of ours,",
        f"# which docs/your-data.md explains. Made by `make dataset CSV={csv} TARGET={target}`; edit it as you like.",
        "",
    ]
    lines += [f"{key}: {flow(value)}" for key, value in content.items() if key != "fields"]
    lines += ["", "fields:"]
    for field in content["fields"]:
        lead = "  - "
        for key, value in field.items():
            lines.append(f"{lead}{key}: {flow(value)}")
            lead = "    "
    return "\n".join(lines) + "\n"


def flow(value: object) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False).strip()
    return text.removesuffix("...").strip()


def with_lines(config: Path, values: dict[str, str]) -> str:
    """config.yaml with the values of keys at its top changed, and what is said of them.

    Raises:
        DatasetError: it has no such line.
    """
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    for key, value in values.items():
        written = f"{key}: {flow(value)}".replace("\\", r"\\")
        text, count = re.subn(rf"^{key}:[^#\n]*?(?=\s*(#.*)?$)", written, text, count=1, flags=re.MULTILINE)
        if not count:
            raise DatasetError(f"config.yaml has no line `{key}:` that could be changed; nothing was written")
    return text


def keep(path: Path) -> str:
    """Copy a file beside itself under a name that is free; its name, "" where there is nothing to keep."""
    if not path.is_file():
        return ""
    copy = path.with_name(f"{path.name}.bak")
    number = 1
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.bak{number}")
    shutil.copy2(path, copy)
    return copy.name


if __name__ == "__main__":
    sys.exit(main())
