"""The one canonical way in which rows become CSV text, so that the same rows are the same bytes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def csv_lines(frame: pd.DataFrame) -> pa.Array:
    """One line of text for each row, without its line end.

    Numbers are the shortest text that reads back as the same number (22, 0.42), gaps are empty, and only a cell that
    holds a comma, a quote or a line end is quoted.
    """
    if frame.empty:
        return pa.array([], pa.string())
    return pc.binary_join_element_wise(*(cell_texts(frame[name]) for name in frame.columns), ",")


def cell_texts(values: pd.Series) -> pa.Array:
    """The cells of one column as they are written."""
    cells = pa.array(values, from_pandas=True)
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    if pa.types.is_floating(cells.type):
        cells = pc.add(cells, 0.0)  # there is no -0
    elif not pa.types.is_integer(cells.type):
        cells = quote(pc.cast(cells, pa.string()))
    return pc.fill_null(pc.cast(cells, pa.string()), "")


def quote(cells: pa.Array) -> pa.Array:
    needed = pc.match_substring_regex(cells, '[",\r\n]')
    if not pc.any(needed).as_py():
        return cells
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
    return pc.if_else(needed, quoted, cells)


def as_bytes(lines: pa.Array) -> bytes:
    """The lines in UTF-8, each ended by LF."""
    if not len(lines):
        return b""
    _, offsets, data = pc.binary_join_element_wise(lines, "", "\n").cast(pa.large_string()).buffers()
    size = int(np.frombuffer(offsets, np.int64)[len(lines)])
    return data.slice(0, size).to_pybytes()  # type: ignore[no-any-return]  # without types of its own


def header_line(columns: list[str]) -> bytes:
    return as_bytes(pc.binary_join_element_wise(*(quote(pa.array([name])) for name in columns), ","))
