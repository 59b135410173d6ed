"""A Parquet file as CSV.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

SECONDS = "%Y-%m-%dT%H:%M:%S"


class NestedColumnsError(Exception):
    """Columns hold lists or records; the text names them."""


def csv_chunks(path: Path, rows: int) -> Iterator[bytes]:
    """The table as CSV in UTF-8, its header first, then so many rows at a time.

    Texts stand in quotes, a gap is an empty cell, dates and times are as ISO 8601 has them.

    Raises:
        NestedColumnsError: its values are no cells of a table.
        pyarrow.ArrowException, OSError: the file is damaged.
    """
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        if nested := [field.name for field in schema if pa.types.is_nested(field.type)]:
            raise NestedColumnsError(", ".join(nested))
        yield csv_of(schema.empty_table())
        for batch in file.iter_batches(rows):
            columns = [written(column) for column in batch.columns]
            yield csv_of(pa.RecordBatch.from_arrays(columns, names=schema.names), header=False)


def written(column: pa.Array) -> pa.Array:
    """The column as Arrow writes it, but for points in time: with a T, and with no more digits than there are."""
    if not pa.types.is_timestamp(column.type):
        return column
    zone = "%z" if column.type.tz else ""
    seconds = pc.cast(column, pa.timestamp("s", column.type.tz), safe=False)
    is_whole = pc.equal(pc.cast(seconds, column.type), column)
    return pc.if_else(is_whole, pc.strftime(seconds, SECONDS + zone), pc.strftime(column, SECONDS + zone))


def csv_of(rows: pa.Table | pa.RecordBatch, *, header: bool = True) -> bytes:
    text = io.BytesIO()
    pyarrow.csv.write_csv(rows, text, pyarrow.csv.WriteOptions(include_header=header))
    return text.getvalue()
