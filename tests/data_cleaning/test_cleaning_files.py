"""Files as people send them: the same clean_data.csv whatever their oddities, or the exact refusal."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import clean_file as cleaning
import numpy as np
import pandas as pd
import pytest
from clean_file import Result
from csv_reading import inspect, open_text, read_chunks, read_header, read_with_arrow, read_with_csv
from declaration import read_declaration
from step_error import StepError

from tests.example_tables import TITANIC

COLUMNS = [one.name for one in TITANIC.fields]
SAMPLE = Path(__file__).resolve().parents[2] / "data" / "titanic_sample.csv"


@pytest.fixture(params=["sample", "real"])
def untouched(request: pytest.FixtureRequest) -> str:
    """The text of a good list."""
    path = SAMPLE if request.param == "sample" else request.getfixturevalue("real_list")
    return path.read_text(encoding="utf-8")


def clean_file(path: Path, folder: Path, **arguments: object) -> Result:
    return cleaning.clean_file(path, folder, TITANIC, **arguments)


def cleaned(content: str | bytes, folder: Path, **arguments: object) -> Result:
    folder.mkdir(exist_ok=True)
    path = folder / "in.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "out").mkdir(exist_ok=True)
    return clean_file(path, folder / "out", **arguments)


def clean_bytes(content: str | bytes, folder: Path, **arguments: object) -> bytes:
    result = cleaned(content, folder, **arguments)
    assert not result.checks.failures
    return (folder / "out" / "clean_data.csv").read_bytes()


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def written(rows: list[list[str]], **dialect: object) -> str:
    out = io.StringIO()
    csv.writer(out, **({"lineterminator": "\n"} | dialect)).writerows(rows)
    return out.getvalue()


def with_line(text: str, line: str, number: int = 10) -> str:
    """The text with a line put in, so that it is line `number` of the file."""
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: number - 1], line + "\n", *lines[number - 1 :]])


def mapped(change: Callable[[str, str], str]) -> Callable[[str], str]:
    """An oddity that changes cells: (column, cell) -> cell."""

    def apply(text: str) -> str:
        head, *rows = table(text)
        return written(
            [head, *([change(name, cell) for name, cell in zip(head, row, strict=True)] for row in rows)],
            quoting=csv.QUOTE_ALL,
        )

    return apply


def decimal_comma(name: str, cell: str) -> str:
    return cell.replace(".", ",") if name in ("Age", "Fare") else cell


def numbers_as_text(name: str, cell: str) -> str:
    return f" {cell}.0 " if name in ("PassengerId", "Pclass", "SibSp", "Parch") else cell


def renamed(text: str) -> str:
    _, rest = text.split("\n", 1)
    return f" passenger ID ,SURVIVED,p_class,name,sex,AGE,Sib Sp,PARCH,ticket,Fare ,cabin,EMBARKED\n{rest}"


ODDITIES: dict[str, Callable[[str], str | bytes]] = {
    "BOM": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no line end at the end": lambda text: text.rstrip("\n"),
    "semicolons": lambda text: written(table(text), delimiter=";"),
    "tabs": lambda text: written(table(text), delimiter="\t"),
    "bars": lambda text: written(table(text), delimiter="|"),
    "all quoted": lambda text: written(table(text), quoting=csv.QUOTE_ALL),
    "all quoted, CRLF": lambda text: written(table(text), quoting=csv.QUOTE_ALL, lineterminator="\r\n").encode(),
    "spaces after separators": lambda text: "\n".join(
        ", ".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row) for row in table(text)
    ),
    "NA": mapped(lambda name, cell: cell or "NA"),
    "?": mapped(lambda name, cell: cell or "?"),
    "NULL": mapped(lambda name, cell: cell or "NULL"),
    "quoted line ends": mapped(lambda name, cell: cell.replace(", ", ",\n") if name == "Name" else cell),
    "spaces around": mapped(lambda name, cell: f"  {cell}\u00a0"),
    "numbers as text": mapped(numbers_as_text),
    "capitals": mapped(lambda name, cell: cell.upper() if name == "Sex" else cell),
    "names in other case": renamed,
    "columns in other order": lambda text: written([row[::-1] for row in table(text)]),
    "extra columns": lambda text: written([[str(i), *row, f"x{i}"] for i, row in enumerate(table(text))]),
    "index column without a name": lambda text: written(
        [[str(i) if i else "", *row] for i, row in enumerate(table(text))]
    ),
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n") + "\n\n \n",
    "separators at the line's end": lambda text: (
        text.split("\n")[0] + "\n" + text.split("\n", 1)[1].replace("\n", ",\n")
    ),
    "exact duplicates": lambda text: text + text.split("\n", 1)[1],
    "a ragged row": lambda text: with_line(text, "9000,1,2,too,short"),
    "a row that is too long": lambda text: with_line(text, '9000,1,1,"A, Mr. B",male,1,0,0,T,1,C,S,surplus'),
    "an age below zero": lambda text: with_line(text, '9000,1,1,"A, Mr. B",male,-3,0,0,T,1,C,S'),
    "class 7": lambda text: with_line(text, '9000,1,7,"A, Mr. B",male,3,0,0,T,1,C,S'),
    "an ID twice": lambda text: with_line(text, '1,1,1,"Other, Mr. A",male,3,0,0,T,1,C,S'),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_oddity_gives_the_same_clean_data_as_the_untouched_list(untouched: str, oddity: str, tmp_path: Path) -> None:
    changed = ODDITIES[oddity](untouched)
    assert changed != untouched
    assert clean_bytes(changed, tmp_path / "changed") == clean_bytes(untouched, tmp_path / "untouched")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_windows_and_latin_encodings_give_the_same_as_utf_8(encoding: str, tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert not text.isascii()
    assert clean_bytes(text.encode(encoding), tmp_path / "a") == clean_bytes(text, tmp_path / "b")


@pytest.mark.parametrize(
    ("oddity", "refusal"),
    [
        (
            lambda text: "\n".join(",".join(row[:5] + row[6:]) for row in [table(text)[0]]) + "\n1",
            "missing column Age; ",
        ),
        (lambda text: text.split("\n", 1)[1], "missing columns PassengerId, Survived, Pclass"),
        (lambda text: text.replace("Pclass,", "Pclass,survived,", 1), "has the column Survived more than once"),
        (lambda text: "", "is empty"),
        (lambda text: b"\x1f\x8b\x08\x00" + text.encode(), "binary or packed"),
        (lambda text: text + '5000,1,1,"never closed,male\n', r"line \d+: a quote is opened here that is never closed"),
        (lambda text: "<html><body>nothing</body></html>", "missing columns PassengerId"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(oddity: Callable, refusal: str, tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    with pytest.raises(StepError, match=refusal):
        cleaned(oddity(text), tmp_path)


def test_an_unclosed_quote_is_named_with_its_line_in_a_large_file_too(tmp_path: Path) -> None:
    text = with_line(SAMPLE.read_text(encoding="utf-8").replace('"', ""), '9000,1,1,"open', 700)
    with pytest.raises(StepError, match="line 700: a quote"):
        cleaned(text, tmp_path, chunk_rows=100)


def test_an_empty_column_breaks_the_file(tmp_path: Path) -> None:
    text = mapped(lambda name, cell: "" if name in ("Age", "Sex") and cell != name else cell)
    result = cleaned(text(SAMPLE.read_text(encoding="utf-8")), tmp_path)
    assert result.checks.failures == ["columns Sex, Age: empty in every row; fill or correct the input"]
    assert not (tmp_path / "out" / "clean_data.csv").exists()
    assert (tmp_path / "out" / "checks.html").exists()


def test_an_empty_target_breaks_the_file_only_where_training_follows(tmp_path: Path) -> None:
    text = mapped(lambda name, cell: "" if name == "Survived" and cell != name else cell)
    content = text(SAMPLE.read_text(encoding="utf-8"))
    assert "column Survived: empty in every row" in cleaned(content, tmp_path / "a").checks.failures[0]
    assert not cleaned(content, tmp_path / "b", require_target=False).checks.failures


def test_a_header_without_rows_breaks_the_file(tmp_path: Path) -> None:
    result = cleaned(",".join(COLUMNS) + "\n", tmp_path)
    assert result.checks.failures == ["the input has a header but no rows; check that it is the whole file"]


def test_more_than_max_rejected_breaks_the_file_and_exactly_that_many_do_not(tmp_path: Path) -> None:
    head, *rows = SAMPLE.read_text(encoding="utf-8").splitlines()
    bad = [f'{9000 + i},1,7,"A, Mr. B",male,3,0,0,T,1,C,S' for i in range(10)]
    text = "\n".join([head, *rows[:190], *bad])
    assert not cleaned(text, tmp_path).checks.failures
    failure = cleaned(text, tmp_path, max_rejected=0.049).checks.failures[0]
    assert failure.startswith("10 of 200 rows were rejected (Pclass_not_allowed 10, first in line 192), more than")


def spoiled() -> str:
    """The sample with several things wrong, over many lines."""
    text = SAMPLE.read_text(encoding="utf-8")
    text = with_line(text, '9001,1,7,"Doe, Mr. ""J""\n second line",male,-3,0,0,T,1,C,S', 10)
    text = with_line(text, "9002,1,2,too,short", 20)
    text = with_line(text, "9003,1,1,A,male,1,0,0,T,1,C,S,and,more", 30)
    text = with_line(text, '1,1,1,"Other, Mr. A",male,3,0,0,T,1,C,S', 40)
    return with_line(text, text.splitlines()[1], 50)


def test_rejected_rows_are_kept_with_line_reason_and_their_own_cells(tmp_path: Path) -> None:
    cleaned(spoiled(), tmp_path)
    rows = table((tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8"))
    assert rows[0] == ["row", "line", "reason", *COLUMNS]
    assert [row[0] for row in rows[1:]] == ["9", "18", "28", "38", "48"], "the first row stands in line 2"
    assert [row[1:3] for row in rows[1:]] == [
        ["10", "Pclass_not_allowed; Age_out_of_range"],
        ["20", "ragged"],
        ["30", "ragged"],
        ["40", "PassengerId_duplicate"],
        ["50", "duplicate"],
    ]
    assert rows[1][6] == 'Doe, Mr. "J"\n second line'
    assert rows[2][3:8] == ["9002", "1", "2", "too", "short"]
    assert rows[3][-1] == "S,and,more"
    assert {len(row) for row in rows} == {15}


def test_the_checks_tell_everything_at_once(tmp_path: Path) -> None:
    result = cleaned(spoiled(), tmp_path)
    figures = result.checks.metrics()
    assert figures == {
        "rows_in": 905,
        "rows_out": 900,
        "rejected": 4,
        "share_rejected": pytest.approx(4 / 905),
        "duplicates": 1,
        "incomplete": 0,
        "warnings": 0,
        "rejected_Pclass_not_allowed": 1,
        "rejected_Age_out_of_range": 1,
        "rejected_PassengerId_duplicate": 1,
        "rejected_ragged": 2,
    }
    report = json.loads((tmp_path / "out" / "checks.json").read_text(encoding="utf-8"))
    age = next(check for check in report["checks"] if (check["column"], check["rule"]) == ("Age", "out_of_range"))
    assert (age["rows"], age["first_lines"], age["first_values"]) == (1, [10], ["-3"])
    log = result.checks.as_text()
    assert "Age_out_of_range" in log and "'-3'" in log and "checks, 5 broken" not in log.split("\n")[0]
    page = (tmp_path / "out" / "checks.html").read_text(encoding="utf-8")
    assert "out_of_range" in page and "20, 30" in page


@pytest.mark.parametrize("chunk_rows", [11, 100, 905])
def test_the_outputs_do_not_depend_on_the_size_of_the_chunks(chunk_rows: int, tmp_path: Path) -> None:
    for folder, rows in (("whole", 100_000), ("read_chunks", chunk_rows)):
        cleaned(spoiled(), tmp_path / folder, chunk_rows=rows)
    for name in ("clean_data.csv", "datapackage.json", "rejected.csv", "checks.json", "checks.html", "profile.html"):
        assert (tmp_path / "whole" / "out" / name).read_bytes() == (
            tmp_path / "read_chunks" / "out" / name
        ).read_bytes(), name


def test_clean_data_cleaned_again_is_the_same(tmp_path: Path) -> None:
    once = clean_bytes(spoiled(), tmp_path / "once")
    assert clean_bytes(once, tmp_path / "twice") == once


def test_clean_data_are_read_by_the_reader_of_the_other_steps(tmp_path: Path) -> None:
    clean_bytes(spoiled(), tmp_path)
    package = read_declaration(tmp_path / "out" / "datapackage.json")
    assert len(package.read(tmp_path / "out" / "clean_data.csv")) == 900
    assert package.json() == TITANIC.json()


def test_the_list_as_it_came_in_is_refused_by_that_reader(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").write_text(spoiled(), encoding="utf-8")
    with pytest.raises(StepError, match="run data_cleaning on it first"):
        TITANIC.read(tmp_path / "raw.csv")


def test_markup_in_the_data_stays_text_in_the_reports(tmp_path: Path) -> None:
    line = '9000,1,1,"A, Mr. B",<script>alert(1)</script>,3,0,0,T,1,<b>,S'
    cleaned(with_line(SAMPLE.read_text(encoding="utf-8"), line), tmp_path)
    cleaned(with_line(SAMPLE.read_text(encoding="utf-8"), line.replace("<script>alert(1)</script>", "male")), tmp_path)
    for name in ("checks.html", "profile.html"):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "<script" not in page and "<b>x" not in page, name


def test_extra_columns_can_be_kept(tmp_path: Path) -> None:
    text = ODDITIES["extra columns"](SAMPLE.read_text(encoding="utf-8"))
    head = clean_bytes(text, tmp_path, extra_columns="keep").decode().splitlines()[0]
    assert head == ",".join([*COLUMNS, "0", "x0"])


def test_the_real_list_keeps_891_rows_or_drops_to_183(real_list: Path, tmp_path: Path) -> None:
    assert clean_file(real_list, tmp_path).checks.rows_out == 891
    dropped = clean_file(real_list, tmp_path, missing="drop").checks
    assert (dropped.rows_out, dropped.incomplete, dropped.rejected) == (183, 708, 0)


def test_many_gaps_are_a_warning(tmp_path: Path) -> None:
    text = mapped(lambda name, cell: "" if name == "Sex" and cell == "female" else cell)
    result = cleaned(text(SAMPLE.read_text(encoding="utf-8")), tmp_path)
    assert not result.checks.failures
    assert result.checks.warnings()[0].startswith("Sex: ")


def test_the_profile_can_be_switched_off(tmp_path: Path) -> None:
    cleaned(SAMPLE.read_bytes(), tmp_path, profile=False)
    assert not (tmp_path / "out" / "profile.html").exists()


def test_the_fast_reader_gives_what_the_exact_one_does(tmp_path: Path) -> None:
    """On text made at random of all that makes CSV hard; leading spaces may differ, and are trimmed anyway."""
    path = tmp_path / "x.csv"
    marks = ["a", "1", ",", ",", ",", '"', '""', '"a"', '"a,b"', '"x""y"', " ", "é", "'", "\\", "\t", "\n"]
    taken = 0
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        body = "".join(generator.choice(marks, generator.integers(1, 40)))
        if seed % 2:  # whole rows, each cell a little of everything
            cells = ["".join(generator.choice(marks, generator.integers(0, 3))) for _ in range(6)]
            body = "\n".join(",".join(cell.replace("\n", "") for cell in cells[at : at + 3]) for at in (0, 3))
        path.write_text(f"PassengerId,Survived,Age\n1,2,3\n{body}", encoding="utf-8")
        source = inspect(path, COLUMNS)
        with open_text(path, source.encoding) as file:
            _, line = read_header(file, source.separator)
            lines = list(file)
        fast = read_with_arrow(source, lines, line)
        if fast is not None:
            taken += 1
            exact, used = read_with_csv(source, lines, iter(()), line)
            pd.testing.assert_frame_equal(unpadded(fast.cells), unpadded(exact.cells))
            assert fast.lines.tolist() == exact.lines.tolist()
            assert used == len(lines) and not exact.ragged
    assert taken > 50


def unpadded(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda cells: cells.str.lstrip(" "))


def test_the_plain_list_goes_through_the_fast_reader(tmp_path: Path) -> None:
    source = inspect(SAMPLE, COLUMNS)
    with open_text(SAMPLE, source.encoding) as file:
        read_header(file, source.separator)
        assert read_with_arrow(source, list(file), 1) is not None


def test_lines_are_those_of_the_file_after_quoted_line_ends_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('PassengerId,Name\n1,"a\nb"\n\n2,c\n3,"d\n\n"\n4,e\n', encoding="utf-8")
    for rows in (1, 2, 100):
        lines = [line for chunk in read_chunks(inspect(path, COLUMNS), rows) for line in chunk.lines.tolist()]
        assert lines == [2, 5, 6, 9]
