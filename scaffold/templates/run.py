"""@NAME@: a CSV file in, those of its rows that are wanted out."""

import csv
import sys
from pathlib import Path

import mlflow
from step import log_dataset, parse_parameters, requested_uri, run_step
from step_error import StepError

STEP = "@NAME@"


def main() -> int:
    try:
        parameters = parse_parameters(STEP, input=Path)
    except StepError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1

    def work(run: mlflow.ActiveRun, folder: Path) -> None:
        log_dataset(parameters.input, requested_uri(run, "input", parameters.input), "input")
        output = folder / "@NAME@.csv"
        rows_in, rows_out = select_rows(parameters.input, output)
        mlflow.log_metrics({"rows_in": rows_in, "rows_out": rows_out})
        mlflow.log_artifact(str(output))
        print(f"{STEP}: {rows_out} of {rows_in} rows")

    return run_step(STEP, work)


def wanted(row: list[str]) -> bool:
    """Say here which rows you want: now, those that are not empty."""
    return any(row)


def select_rows(source: Path, target: Path) -> tuple[int, int]:
    """Write the header and the rows that are wanted; how many rows there were, and how many were wanted.

    Raises:
        StepError: it is not a CSV file with a header.
    """
    rows_in = rows_out = 0
    with source.open(encoding="utf-8", newline="") as file, target.open("w", encoding="utf-8", newline="") as made:
        rows, writer = csv.reader(file, strict=True), csv.writer(made, lineterminator="\n")
        try:
            header = next(rows, None)
            if header is None:
                raise StepError(f"{source.name} is empty; give a CSV file with a header")
            writer.writerow(header)
            for row in rows:
                rows_in += 1
                if wanted(row):
                    rows_out += 1
                    writer.writerow(row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise StepError(f"{source.name} is not a CSV file in UTF-8 ({error}); clean it first") from None
    return rows_in, rows_out


if __name__ == "__main__":
    sys.exit(main())
