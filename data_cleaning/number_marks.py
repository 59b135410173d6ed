"""What commas and points mean in each column of numbers, over all chunks: a column that leaves it open is refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from row_checks import NUMBER, OPEN_NUMBER, matches
from table import Table

OPEN_POINT = r"^\s*[+-]?[1-9][0-9]{0,2}\.[0-9]{3}\s*$"  # 1.234, which is 1234 where a comma stands before decimals

Mark = tuple[int, str]  # the line and the cell where something was first seen


class NumberMarks:
    """The first decimal comma and the first point that may be one between thousands, in columns that say neither.

    Each row is read by itself, and `7,25` and `1.234` both can be; in one column they tell that it may be wrong.
    """

    def __init__(self, table: Table) -> None:
        self.names = [one.name for one in table.fields if one.type == "number" and not one.decimal_char]
        self.commas: dict[str, Mark] = {}
        self.points: dict[str, Mark] = {}

    def add(self, cells: pd.DataFrame, lines: np.ndarray) -> None:
        """Look at a chunk of text: columns by the declaration's names, and the line of each row."""
        for name in self.names:
            if name not in cells or (name in self.commas and name in self.points):
                continue
            texts = as_texts(cells[name])
            if name not in self.points and pc.any(pc.match_substring(texts, ".")).as_py():
                note_first(self.points, name, matches(texts, OPEN_POINT), texts, lines)
            if name not in self.commas and pc.any(pc.match_substring(texts, ",")).as_py():
                texts = pc.utf8_trim_whitespace(texts)
                decimal = matches(texts, NUMBER) & matches(texts, ",") & ~matches(texts, OPEN_NUMBER)
                note_first(self.commas, name, decimal, texts, lines)

    def merge(self, other: "NumberMarks") -> None:
        """Take in what was seen in rows that come later in the file."""
        self.commas = other.commas | self.commas
        self.points = other.points | self.points

    def failures(self) -> list[str]:
        """A sentence for each column that has both."""
        texts = []
        for name in [name for name in self.names if name in self.commas and name in self.points]:
            (comma_line, comma), (point_line, point) = self.commas[name], self.points[name]
            texts.append(
                f"{name} has commas before decimals ({comma} in line {comma_line}), so that {point} in line "
                f"{point_line} may be in thousands; write all of them alike, or say decimalChar and "
                "groupChar in the declaration"
            )
        return texts


def as_texts(cells: pd.Series) -> pa.Array:
    texts = pa.array(cells, pa.large_string(), from_pandas=True)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def note_first(seen: dict[str, Mark], name: str, found: np.ndarray, texts: pa.Array, lines: np.ndarray) -> None:
    if found.any():
        place = int(found.argmax())
        seen[name] = (int(lines[place]), texts[place].as_py().strip())
