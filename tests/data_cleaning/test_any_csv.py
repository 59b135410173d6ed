"""Any bytes at all are read as rows, or refused in a sentence; a table of any cells is read as it was written."""

import csv
import io
import os
from pathlib import Path

import pytest
from csv_reading import SEPARATORS, inspect, read_chunks, refuse_duplicate_columns
from hypothesis import example, given, settings
from hypothesis import strategies as st
from step_error import StepError

EXAMPLES = int(os.environ.get("PIPELINE_EXAMPLES", "300"))
NAMES = ["alpha", "beta", "gamma"]
TEXT = st.text(
    st.sampled_from(" ab0.é\u20ac\u3042'=\"" + SEPARATORS + "\r\n") | st.characters(codec="utf-8"), max_size=8
)
CELL = TEXT.map(lambda text: text.replace("\0", ""))
PIECES = st.lists(st.sampled_from(['"', *SEPARATORS, "\n", "\r\n", "\r", " ", "a", "0", '""', "é", "\0"]), max_size=40)
LINES = PIECES.map("".join).map(lambda text: ",".join(NAMES) + "\n" + text)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "shift_jis", "utf-7")
FILES = st.binary(max_size=60) | st.builds(
    lambda text, name: text.encode(name, "replace"), LINES, st.sampled_from(ENCODINGS)
)


def rows(path: Path, size: int, encoding: str = "") -> list[tuple[int, list[str]]] | str:
    """Each row's line in the file and its cells, read `size` rows at a time; the sentence where it is refused."""
    try:
        source = inspect(path, NAMES, encoding)
        refuse_duplicate_columns(source.columns)
        found = []
        for chunk in read_chunks(source, size):
            cells = zip(*(chunk.cells.iloc[:, place] for place in range(len(source.columns))), strict=True)
            found += zip(chunk.lines.tolist(), map(list, cells), strict=True)
            found += [(row.line, row.cells) for row in chunk.ragged]
        return [(line, [cell.lstrip(" ") for cell in cells]) for line, cells in sorted(found)]
    except StepError as error:
        return str(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "in.csv"


@settings(max_examples=EXAMPLES, deadline=None)
@given(content=FILES, encoding=st.sampled_from(["", "", *ENCODINGS]))
@example(content=b"\0\0\0\xd8\0\0", encoding="utf-16")  # without a byte-order mark
@example(content=b"alpha\n1\n\x1f", encoding="")  # a blank line, or a row of one cell
@example(content=b'alpha,beta\n5" pipe,"a cell\nof two lines"\n6,b\n', encoding="")  # parted inside the quotes
@example(content=b'alpha,beta\n5" pipe,"never closed', encoding="")
@example(content=b'alpha,beta\n\n5" pipe,"never closed\n\n', encoding="")  # and a blank line makes up for a line end
def test_any_bytes_are_rows_or_a_sentence_however_many_are_read_at_a_time(path, content, encoding):
    path.write_bytes(content)
    at_once = rows(path, 1000, encoding)
    assert rows(path, 1, encoding) == at_once
    assert rows(path, 3, encoding) == at_once


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    table=st.lists(st.tuples(CELL, CELL, CELL), max_size=8),
    separator=st.sampled_from(SEPARATORS),
    written=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), *((csv.QUOTE_ALL, end) for end in ("\n", "\r\n", "\r"))]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    size=st.integers(1, 9),
)
def test_no_cell_of_any_table_is_lost_or_changed(path, table, separator, written, encoding, size):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=written[0], lineterminator=written[1])
    expected = []
    for row in [NAMES, *table]:
        line = text.getvalue().replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
        writer.writerow(row)
        # One kind of line end, and no spaces before a cell: as documented.
        cells = [cell.replace("\r\n", "\n").replace("\r", "\n").lstrip(" ") for cell in row]
        expected.append((line, cells))
    path.write_bytes(text.getvalue().encode(encoding))
    assert rows(path, size) == expected[1:]
