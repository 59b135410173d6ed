"""Bytes for the reader of raw CSV files, chosen by which lines of it they reach: `make fuzz`, for ten minutes.

It ends at the first fault. What holds is what tests/data_cleaning/test_any_csv.py says of bytes that are drawn blindly.
"""

import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "data_cleaning")]
with atheris.instrument_imports(include=["csv_reading", "csv"]):
    from tests.data_cleaning.test_any_csv import ENCODINGS, rows

FILE = Path(tempfile.mkdtemp(), "in.csv")


def try_bytes(data: bytes) -> None:
    """The first byte chooses the encoding that is said, and how many rows are read at a time."""
    chosen, content = data[:1] or b"\0", data[1:]
    encoding = ["", *ENCODINGS][chosen[0] % (len(ENCODINGS) + 1)]
    FILE.write_bytes(content)
    found = rows(FILE, 1 + chosen[0] // 32, encoding)
    assert found == rows(FILE, 1000, encoding), (encoding, content)


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_bytes)
    atheris.Fuzz()
