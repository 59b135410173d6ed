import csv_chunks
import pytest
from csv_chunks import InputError, read_chunks


def rows_of(path, columns=("a", "b"), chunk_rows=1000):
    return [tuple(row.values()) for table, _ in read_chunks(path, columns, chunk_rows) for row in table.to_pylist()]


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str):
        path = tmp_path / "in.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_columns_are_found_by_name_whatever_their_order_and_others_left_out(file):
    assert rows_of(file("x, b ,a\n1,2,3\n")) == [("3", "2")]


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n1,"x, ""y""\nz"\n2,\n',
        '\ufeffa,b\n1,"x, ""y""\nz"\n2,\n',
        'a,b\n\n1,"x, ""y""\nz"\n\n2,',
    ],
)
def test_quotes_line_breaks_byte_order_mark_and_blank_lines_are_read_as_meant(file, content):
    assert rows_of(file(content)) == [("1", 'x, "y"\nz'), ("2", "")]


def test_windows_line_ends_are_read(file):
    assert rows_of(file("a,b\r\n1,2\r\n3,4\r\n")) == [("1", "2"), ("3", "4")]


def test_text_that_looks_like_a_number_or_like_nothing_stays_text(file):
    assert rows_of(file("a,b\n007,NA\n")) == [("007", "NA")]


@pytest.mark.parametrize("block", [3, 7, 20, 64, 1000])
def test_rows_do_not_depend_on_where_the_blocks_end(file, monkeypatch, block):
    content = "a,b\n" + "".join(f'{i},"x\n""{i}"", y"\n' for i in range(50))
    monkeypatch.setattr(csv_chunks, "BLOCK_BYTES", max(block, 5))
    assert rows_of(file(content), chunk_rows=7) == [(str(i), f'x\n"{i}", y') for i in range(50)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n3\n", "has 1 cells in line 3 where the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "has 3 cells in line 3 where the header has 2"),
        ('a,b\n"1\n1",2\n3\n', "has 1 cells in line 4 where"),
        ('a,b\n1,2\n3,"4\n5,6\n', "broken in the row that starts in line 3"),
        (b"a,b\n1,2\n3,\xe9\n", "not UTF-8 in line 3"),
        (b"\xe9,b\n1,2\n", "not UTF-8 in line 1"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a;b\n1;2\n", "has no column a, b (it has: a;b)"),
        ("a,c\n1,2\n", "has no column b (it has: a, c)"),
        ("a,b,a\n1,2,3\n", "has the column a more than once"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(file, content, said):
    with pytest.raises(InputError) as caught:
        rows_of(file(content))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_is_right_far_into_a_file_of_many_blocks(file, monkeypatch):
    monkeypatch.setattr(csv_chunks, "BLOCK_BYTES", 100)
    content = "a,b\n" + "1,2\n" * 500 + "3\n" + "1,2\n" * 500
    with pytest.raises(InputError, match="1 cells in line 502 "):
        rows_of(file(content))


def test_a_quote_that_never_closes_ends_the_reading_of_a_huge_file(file, monkeypatch):
    monkeypatch.setattr(csv_chunks, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(csv_chunks, "MAX_ROW_BYTES", 5000)
    with pytest.raises(InputError, match="starts in line 2"):
        rows_of(file('a,b\n1,"2\n' + "1,2\n" * 200_000))


def test_a_header_alone_has_no_rows(file):
    assert rows_of(file("a,b\n")) == []


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.csv"):
        rows_of(tmp_path / "missing.csv")
