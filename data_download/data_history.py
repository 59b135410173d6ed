"""data_download -e history: each version of the data, where it came from, and which models were trained on it."""

import csv
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from data_versions import COLUMNS, ProducingRun, TrainedModel, format_table, versions
from mlflow.entities import Run
from step import parse_parameters, run_step

STEP = "history"
DIGEST = "data.sha256"  # the tag of runs that produced data, and of model versions trained on them
CONTEXT = "mlflow.data.context"


def main() -> int:
    return run_step(STEP, show_history)


def show_history(run: mlflow.ActiveRun, folder: Path) -> None:
    """Print the versions of the data, and log them as data_history.csv."""
    model_name = parse_parameters(STEP, model_name=str.strip).model_name
    models = [model for model in trained_models() if model_name in ("", model.name)]
    rows = versions(producing_runs(), models)
    if model_name:
        rows = [row for row in rows if row["models"]]
    path = folder / "data_history.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    mlflow.log_artifact(str(path))
    print(format_table(rows) if rows else f"{STEP}: no data yet; run data_download or data_cleaning")


def producing_runs() -> Iterator[ProducingRun]:
    """Each finished run, in any experiment, that produced a version of the data."""
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{DIGEST}` LIKE '%' AND attributes.status = 'FINISHED'",
        order_by=["attributes.end_time ASC"],
        output_format="list",
    )
    for run in runs:
        found = run.inputs.dataset_inputs if run.inputs else []
        datasets = [(item.dataset, {tag.key: tag.value for tag in item.tags}) for item in found]
        inputs = {data.digest: source_uri(data.source) for data, tags in datasets if tags.get(CONTEXT) == "input"}
        file = next((data.name for data, tags in datasets if tags.get(CONTEXT) == "output"), "")
        if file:
            yield ProducingRun(
                sha256=run.data.tags[DIGEST],
                file=file,
                uri=f"runs:/{run.info.run_id}/{file}",
                when=datetime.fromtimestamp(run.info.end_time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                rows=row_count(run),
                source=run.data.tags.get("data.source", ""),
                inputs=inputs,
            )


def source_uri(source: str) -> str:
    """The address in a dataset's source, which MLflow keeps as JSON."""
    found = json.loads(source)
    return found.get("uri") or found.get("url") or "unknown"


def row_count(run: Run) -> int | None:
    """Rows of the data that the run made; None where its metrics do not say."""
    metrics = run.data.metrics
    if "rows_out" in metrics:
        return int(metrics["rows_out"])
    return max(0, int(metrics["lines"]) - 1) if "lines" in metrics else None


def trained_models() -> Iterator[TrainedModel]:
    """Every registered version that says what it was trained on, with the aliases that it carries now."""
    aliases = {model.name: model.aliases for model in mlflow.search_registered_models()}
    for version in mlflow.search_model_versions():
        if DIGEST in version.tags:
            number = str(version.version)
            names = sorted(alias for alias, named in aliases.get(version.name, {}).items() if str(named) == number)
            yield TrainedModel(version.name, number, version.tags[DIGEST], tuple(names))


if __name__ == "__main__":
    sys.exit(main())
