"""data_cleaning against a bare chunked pandas read-and-write of the same file: time, and peak resident memory.

    python benchmarks/cleaning_scale.py [--rows 1000000 10000000] [--repeats 1]

The file is the sample that ships, repeated with new PassengerIds. Each measurement is a process of its own; its start
and imports are part of it. Byte-code is allowed (PYTHONDONTWRITEBYTECODE is unset).
"""

import argparse
import csv
import itertools
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from results import timed

ROOT = Path(__file__).resolve().parent.parent
OURS = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from clean_file import clean_file
from declaration import read_declaration
table = read_declaration(pathlib.Path(sys.argv[1], "..", "dataset.yaml"))
result = clean_file(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), table)
assert not result.checks.failures and result.checks.rows_out == int(sys.argv[4]), result.checks.metrics()
"""
BARE = """
import sys, pandas as pd
with open(sys.argv[3] + "/bare.csv", "w", newline="") as out:
    for number, chunk in enumerate(pd.read_csv(sys.argv[2], chunksize=100_000)):
        chunk.to_csv(out, index=False, header=number == 0)
"""


def generate(path: Path, rows: int) -> None:
    with (ROOT / "data" / "titanic_sample.csv").open(encoding="utf-8", newline="") as file:
        head, *sample = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        endless = itertools.islice(itertools.cycle(sample), rows)
        writer.writerows([number, *row[1:]] for number, row in enumerate(endless, start=1))


def measure(program: str, *arguments: object) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak resident MiB of a Python program."""
    return timed([sys.executable, "-c", program, *map(str, arguments)])


def compare(rows: int, repeats: int) -> dict:
    """Medians for a file of `rows` rows: `bare` and `ours` with seconds, cpu (seconds) and mib; the file's `mb`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.csv"
        generate(path, rows)
        measured = {"bare": [], "ours": []}
        for _ in range(repeats):  # in turn, so that a slower minute hits both
            measured["bare"].append(measure(BARE, "", path, folder))
            measured["ours"].append(measure(OURS, ROOT / "data_cleaning", path, folder, rows))
        found = {"mb": path.stat().st_size / 1e6}
        for which, results in measured.items():
            seconds, cpu, mib = zip(*results, strict=True)
            found[which] = {"seconds": statistics.median(seconds), "cpu": statistics.median(cpu), "mib": max(mib)}
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    head = [
        "rows",
        "MB",
        "pandas s",
        "ours s",
        "ratio",
        "processor ratio",
        "ours s per million",
        "pandas MiB",
        "ours MiB",
    ]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for rows in arguments.rows:
        found = compare(rows, arguments.repeats)
        bare, ours = found["bare"], found["ours"]
        figures = [
            f"{rows}",
            f"{found['mb']:.0f}",
            f"{bare['seconds']:.1f}",
            f"{ours['seconds']:.1f}",
            f"{ours['seconds'] / bare['seconds']:.2f}",
            f"{ours['cpu'] / bare['cpu']:.2f}",
            f"{ours['seconds'] / rows * 1e6:.2f}",
            f"{bare['mib']:.0f}",
            f"{ours['mib']:.0f}",
        ]
        print(f"| {' | '.join(figures)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
