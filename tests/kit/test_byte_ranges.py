"""Rows read range by range are the rows of the whole file."""

import csv
from pathlib import Path

import pytest
from byte_ranges import ByteRange, byte_ranges, can_be_cut, first_lines, line_ends
from hypothesis import given, settings
from hypothesis import strategies as st

CELLS = st.text(alphabet='",;\r\n aé\ufeff', max_size=12)


def rows(path: Path, part: ByteRange, separator: str, skip_spaces: bool) -> list[list[str]]:
    with part.open(path, "utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=separator, skipinitialspace=skip_spaces))


@pytest.mark.parametrize("skip_spaces", [False, True])
@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(CELLS, max_size=30), size=st.integers(1, 40), separator=st.sampled_from(",;"))
def test_the_ranges_have_the_rows_and_the_lines_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], size: int, separator: str, skip_spaces: bool
) -> None:
    path = tmp_path_factory.mktemp("ranges") / "in.csv"
    data = "".join(pieces).encode()
    path.write_bytes(data)
    parts = list(byte_ranges(path, separator, ByteRange(0, 0), size, skip_spaces=skip_spaces))
    whole = rows(path, ByteRange(0, len(data)), separator, skip_spaces)
    assert [row for part in parts for row in rows(path, part, separator, skip_spaces)] == whole
    assert [part.end for part in parts] == [part.start for part in parts[1:]] + [len(data)]
    assert [part.line for part in parts] == [line_ends(data[: part.start]) for part in parts]


def test_a_well_formed_file_is_cut_near_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    row = '1,"Smith, ""Jo""\r\nMr",2\r\n'
    path.write_bytes(("a,b,c\r\n" + row * 1000).encode())
    parts = list(byte_ranges(path, ",", first_lines(path, 1), 1000))
    assert parts[0].start == 7
    assert parts[0].line == 1
    assert len(parts) == -(-len(row) * 1000 // (1000 - 1000 % len(row)))
    assert all(part.size % len(row) == 0 for part in parts)


def test_a_quote_that_is_never_closed_leaves_the_rest_in_one_range(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b"1,2\n" * 100 + b'"open,2\n' + b"3,4\n" * 10_000)
    *_, last = byte_ranges(path, ",", ByteRange(0, 0), 100)
    assert (last.start, last.end, last.line) == (400, path.stat().st_size, 100)


@pytest.mark.parametrize(
    ("encoding", "can"),
    [("utf-8", True), ("utf-8-sig", True), ("ascii", True), ("cp1252", True), ("iso8859-1", True), ("koi8-r", True)]
    + [(name, False) for name in ("utf-16", "utf-32", "utf-7", "shift_jis", "gb18030", "big5", "iso2022_jp", "hz")]
    + [("cp037", False), ("euc_jp", False)],
)
def test_only_what_has_a_byte_for_each_quote_and_line_end_is_cut(encoding: str, can: bool) -> None:
    assert can_be_cut(encoding, ",") == can
    assert not can_be_cut(encoding, "§")
