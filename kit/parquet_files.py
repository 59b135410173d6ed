"""Parquet files in and out: tables whose cells are checked as those of a CSV file are.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from parquet_text import SECONDS, NestedColumnsError, csv_chunks
from step_error import StepError, first_line
from table import Table, read_header

MAGIC = b"PAR1"
BATCH_ROWS = 50_000
BLOCK_BYTES = 8 << 20  # of a CSV that becomes a row group
TYPES = {"integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "date": pa.date32()}


def as_csv(path: Path, folder: Path) -> Path:
    """The rows of a Parquet file as CSV, in a file of `folder`; the path itself where it is not Parquet.

    Raises:
        StepError: it is damaged, or has columns that are no cells of a table, such as lists.
    """
    if not path.is_file():
        return path  # whoever reads it says so
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return path
    target = folder / f"{path.stem}.csv"
    try:
        with target.open("wb") as file:
            file.writelines(csv_chunks(path, BATCH_ROWS))
    except NestedColumnsError as error:
        raise StepError(f"{path.name} is no table of single values: {error} holds lists or records") from None
    except (pa.ArrowException, OSError) as error:
        raise StepError(f"{path.name} is no Parquet file that can be read ({first_line(error)}); correct it") from None
    return target


def write_parquet(source: Path, target: Path, types: Mapping[str, pa.DataType]) -> None:
    """A CSV file as this project writes it as Parquet, in row groups of some MB; a column without a type is text."""
    columns = read_header(source)
    read = pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: types.get(name, pa.string()) for name in columns},
        null_values=[""],
        strings_can_be_null=True,
        timestamp_parsers=[SECONDS],
    )
    with (
        pyarrow.csv.open_csv(source, read, parse, convert) as rows,
        pyarrow.parquet.ParquetWriter(target, rows.schema) as file,
    ):
        for batch in rows:
            file.write_batch(batch)


def declared_types(table: Table) -> dict[str, pa.DataType]:
    """The types of a clean table's columns."""
    return {
        one.name: pa.timestamp("ms") if one.type == "datetime" else TYPES.get(one.type, pa.string())
        for one in table.clean_fields
    }
