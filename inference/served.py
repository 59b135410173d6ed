"""inference -e served: what a server has answered, as a list like any other, to be watched and trained on.

current.csv has the rows as they were sent, predictions.csv what was answered, comparison.json how versions, and the
shadow, differ. Of rows with the same key the last one counts.
"""

import csv
import json
import sys
from pathlib import Path

import mlflow
import pandas as pd
from batch_scoring import Totals, compare
from predictions import probability_columns, score
from saved_model import champion_uri, open_model
from serving_log import SERVED, SHADOW, answer_columns, asked_columns, header
from step import fetch, parse_parameters, run_step, whole
from step_error import StepError, first_line
from table import BINARY, REGRESSION, Table, metric_name

STEP = "inference"


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    arguments = parse_parameters(STEP, log=Path, model=str, labels=str, max_rows=whole(1, 100_000_000))
    model = open_model(arguments.model or champion_uri())
    table = model.table
    rows, pieces = read_pieces(arguments.log, table, arguments.max_rows)
    labels = read_labels(fetch(arguments.labels, "labels"), table) if arguments.labels else None
    compared = compare_versions(rows, table, labels)
    outputs = folder / "outputs"
    outputs.mkdir()
    current = rows[asked_columns(table)]
    unknown = [one.name for one in table.fields if one.role == "ignored" and (current[one.name] == "").all()]
    current.drop(columns=unknown).to_csv(outputs / "current.csv", index=False, lineterminator="\n")
    answers = rows[[SERVED + name for name in answer_columns(table)]].set_axis(answer_columns(table), axis=1)
    answers.insert(0, table.key.name, keys(rows, table))
    answers.to_csv(outputs / "predictions.csv", index=False, lineterminator="\n")
    (outputs / "comparison.json").write_text(json.dumps(compared, indent=2, ensure_ascii=False) + "\n")
    mlflow.log_artifacts(str(outputs))
    mlflow.log_metrics({"rows": len(rows), "pieces": pieces} | metrics(compared))
    print(f"{STEP}: {len(rows)} {table.rows} of {pieces} pieces")
    for name, figures in compared.items():
        print(f"{STEP}: {name}: {', '.join(f'{figure} {value:.6g}' for figure, value in figures.items())}")


def read_pieces(folder: Path, table: Table, max_rows: int) -> tuple[pd.DataFrame, int]:
    """The newest rows, at most `max_rows` (whole pieces but for the oldest), as text in the columns of `header`; and of
    how many pieces. A row's key occurs once.

    Raises:
        StepError: there are none, or one is not of this table's server.
    """
    if not folder.is_dir():
        raise StepError(f"log={str(folder)!r} is no folder; give the one that a server was given as log")
    names, found, count = header(table), [], 0
    paths = sorted(folder.glob("served-*.csv"))
    for path in reversed(paths):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                first, *lines = csv.reader(file, strict=True)
        except (OSError, ValueError, csv.Error) as error:
            raise StepError(f"{path.name} cannot be read ({first_line(error)}); take it out of the log") from None
        if first != names or any(len(line) != len(names) for line in lines):
            raise StepError(
                f"{path.name} was logged by a server of another table than {table.name} is now; take it out of the log"
            )
        found.append(pd.DataFrame(lines, columns=names, dtype=str))
        count += len(lines)
        if count >= max_rows:
            break
    if not found:
        raise StepError(f"log={str(folder)!r} has no closed piece yet; wait until log_rows or log_seconds have passed")
    rows = pd.concat(found[::-1]).iloc[-max_rows:]
    if table.has_key:
        rows = rows[~rows[table.key.name].str.strip().duplicated(keep="last")]
    return rows.reset_index(drop=True), len(found)


def keys(rows: pd.DataFrame, table: Table) -> pd.Series:
    """As data_cleaning will have them."""
    if table.has_key:
        text = rows[table.key.name].str.strip()
        return text.astype("int64") if table.key.type == "integer" else text
    return pd.Series(rows.index + 1, index=rows.index)


def read_labels(path: Path, table: Table) -> pd.Series:
    """The outcomes that are known, by the key as text."""
    try:
        found = pd.read_csv(path, dtype=str, usecols=[table.key.name, table.target.name]).dropna()
        outcomes = found[table.target.name].set_axis(keys(found, table).astype(str))
        return table.parse_target(outcomes[~outcomes.index.duplicated(keep="last")])
    except (OSError, ValueError) as error:
        raise StepError(
            f"labels {path.name} has no {table.key.name} and {table.target.name} ({first_line(error)}); give such a CSV"
        ) from None


def compare_versions(rows: pd.DataFrame, table: Table, labels: pd.Series | None) -> dict[str, dict[str, float]]:
    """For each version that answered, and each shadow: on how many rows, what it says, how it differs from what was
    answered, and how right it was where labels are known.
    """
    found: dict[str, dict[str, float]] = {}
    for by in (SERVED, SHADOW):
        for version, own in rows[rows[f"{by}model_version"] != ""].groupby(f"{by}model_version", sort=True):
            said = predictions(own, table, by)
            figures = {"rows": float(len(own))} | averages(said, table)
            if by == SHADOW:
                totals = Totals(table, scored=len(own))
                compare(totals, own.index.to_series(), predictions(own, table, SERVED), said)
                differs = totals.metrics(shadow=True, canary=False)
                figures |= {name: value for name, value in differs.items() if name.startswith(SHADOW)}
            if labels is not None:
                text = keys(own, table).astype(str)
                known = text.isin(labels.index)
                figures["labelled"] = float(known.sum())
                if known.any():
                    truth = labels.loc[text[known]]
                    judged = said[known].assign(
                        **{table.target.name: table.parse_target(said[known][table.target.name])}
                    )
                    figures |= score(table, truth, judged)
            found[f"{by.removesuffix('_')} version {version}"] = figures
    return found


def predictions(rows: pd.DataFrame, table: Table, by: str) -> pd.DataFrame:
    """What was said, the target's classes as they are written."""
    columns = {name: rows[by + name].astype(float) for name in probability_columns(table)}
    target = rows[by + table.target.name]
    return pd.DataFrame({table.target.name: target.astype(float) if table.task == REGRESSION else target} | columns)


def averages(said: pd.DataFrame, table: Table) -> dict[str, float]:
    if table.task == REGRESSION:
        return {"mean_prediction": float(said[table.target.name].mean())}
    words = {value: table.class_text(value) for value in table.classes}
    shares = {f"share_{table.class_label(v)}": float((said[table.target.name] == words[v]).mean()) for v in words}
    (column,) = probability_columns(table) if table.task == BINARY else [""]
    return shares | ({"mean_probability": float(said[column].mean())} if column else {})


def metrics(compared: dict[str, dict[str, float]]) -> dict[str, float]:
    """With names that MLflow takes."""
    found = {f"{who} {name}": value for who, figures in compared.items() for name, value in figures.items()}
    return {metric_name(name): value for name, value in found.items()}


if __name__ == "__main__":
    sys.exit(main())
