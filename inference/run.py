"""inference: a model and a clean table in, predictions.csv out.

One row for each row of the file that the table was made from, in the same order. A row that data_cleaning rejected has
no prediction, and the reason in a further column `error`.
"""

import argparse
import sys
from pathlib import Path

import pyarrow as pa
from batch_scoring import Totals, score_file
from parquet_files import as_csv, declared_types, write_parquet
from predictions import probability_columns
from recording import Record, record_step
from saved_model import SavedModel, open_model
from sharing import Sharing
from spark import ENGINES
from step import boolean, choice, fetch, number, parse_parameters, whole
from step_error import StepError
from table import CLEAN_FIRST, REGRESSION

STEP = "inference"


def main() -> int:
    return record_step(STEP, work)


def work(record: Record, folder: Path) -> None:
    arguments = parse_parameters(
        STEP,
        model=str,
        input=Path,
        rejected=str,
        shadow=str,
        canary=number(0, 1),
        challenger=str,
        model_version_column=boolean,
        reasons=boolean,
        max_errors=number(0, 1),
        chunk_rows=whole(1, 10_000_000),
        workers=whole(0, 1024),
        engine=choice(*ENGINES),
        master=str.strip,
        parquet=boolean,
    )
    original, source = arguments.input, record.requested("input", arguments.input)
    arguments.input = as_csv(original, folder)
    model = open_model(arguments.model, record.registered("model"))
    challenger_uri = arguments.challenger or f"models:/{model.table.name}@challenger"
    challenger = open_model(challenger_uri) if arguments.canary > 0 else None
    shadow = open_model(arguments.shadow, record.registered("shadow")) if arguments.shadow else None
    (output := folder / "output").mkdir()
    predictions, differences = output / "predictions.csv", output / "shadow_differences.csv"
    try:
        totals = score(arguments, model, challenger, shadow, predictions, differences)
    except StepError as error:
        if not str(error).endswith(CLEAN_FIRST):
            raise
        raise StepError(f"{error}: mlflow run data_cleaning -P input={source} -P require_target=false") from None
    metrics = totals.metrics(shadow is not None, arguments.canary > 0)
    if arguments.parquet:
        types = declared_types(model.table) | dict.fromkeys(probability_columns(model.table), pa.float64())
        write_parquet(predictions, output / "predictions.parquet", types)
    record.take(output)
    record.metrics = metrics
    for role, one in (("model", model), ("challenger", challenger), ("shadow", shadow)):
        record.tags |= one.tags(role) if one else {}
    record.read("input", original, "scoring")
    record.datasets.append({"path": predictions.name, "context": "output"})
    refuse_many_errors(totals, arguments.max_errors)
    print_summary(totals, metrics, model)


def score(
    arguments: argparse.Namespace,
    model: SavedModel,
    challenger: SavedModel | None,
    shadow: SavedModel | None,
    predictions: Path,
    differences: Path,
) -> Totals:
    """Score the input with a progress bar; `differences` is written where there is a shadow model."""
    from tqdm import tqdm

    with tqdm(desc=STEP, unit=f" {model.table.rows}", unit_scale=True, disable=None, leave=False) as bar:
        return score_file(
            arguments.input,
            predictions,
            model,
            rejected=fetch(arguments.rejected, "rejected") if arguments.rejected else None,
            challenger=challenger,
            canary=arguments.canary,
            shadow=shadow,
            differences=differences if shadow else None,
            model_version_column=arguments.model_version_column,
            reasons=arguments.reasons,
            chunk_rows=arguments.chunk_rows,
            progress=bar.update,
            sharing=Sharing(arguments.workers, arguments.engine, arguments.master),
        )


def refuse_many_errors(totals: Totals, max_errors: float) -> None:
    """Raises StepError if more than that share of the rows has no prediction; it names why."""
    if totals.error_share > max_errors:
        count = totals.rows - totals.scored - totals.duplicates
        raise StepError(
            f"{count} of {totals.rows} {totals.table.rows} ({totals.error_share:.1%}) have no prediction, more than "
            f"max_errors={max_errors:g} allows ({reasons(totals)}); correct them where they come from, or allow more "
            "(the column error of predictions.csv says which they are)"
        )


def reasons(totals: Totals) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in totals.errors.most_common(10))


def print_summary(totals: Totals, metrics: dict[str, float], model: SavedModel) -> None:
    table = totals.table
    if table.task == REGRESSION:
        what = f"{table.target.name} {metrics.get('mean_prediction', 0):.6g} on average"
    else:
        counts = (f"{totals.predicted[table.class_text(one)]} {table.class_label(one)}" for one in table.classes)
        what = f"predicted: {', '.join(counts)}"
    print(f"{STEP}: {totals.scored} of {totals.rows} {table.rows} scored by {model}, {what}")
    if totals.errors:
        print(f"{STEP}: {totals.rows - totals.scored} have no prediction, see the column error ({reasons(totals)})")
    if "shadow_mean_absolute_difference" in metrics:
        agrees = f"agrees on {metrics['shadow_agreement']:.1%}" if "shadow_agreement" in metrics else "was compared"
        print(f"{STEP}: the shadow model {agrees}, {metrics['shadow_mean_absolute_difference']:.4g} apart on average")


if __name__ == "__main__":
    sys.exit(main())
